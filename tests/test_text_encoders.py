"""Steering a pipeline's text encoders: every family, its prompt and not its negative prompt, and what can't work."""

from contextlib import contextmanager

import pytest
import torch
from tiny import GENERATION, hooks_in, open_steerer, tiny_concept, tiny_pipeline
from tiny import draw as draw_tiny
from torch import nn
from zoo import FAMILIES, draw, pictures

import dsas_diffusion as dsas
from dsas_diffusion.cli import main
from dsas_diffusion.hooks.sites import find_sites
from dsas_diffusion.hooks.text_encoders import TextEncoders, TextReader

PROMPTS = ["zzz zuzu", "eee oror"]


@pytest.fixture(scope="module", params=FAMILIES.values(), ids=list(FAMILIES))
def family(request):
    return request.param


@pytest.fixture(scope="module")
def pipe(family):
    return family.build()


def fitted(pipe, generation=None, **settings) -> dsas.Steerer:
    return open_steerer(pipe, sites="text-encoder", generation=generation, **settings)


@pytest.fixture(scope="module")
def steerer(family, pipe):
    return fitted(pipe, {**family.generation, **pictures(family)})


def hooks_left(pipe) -> int:
    """How many the pipeline's models carry."""
    return hooks_in(*(part for part in pipe.components.values() if isinstance(part, nn.Module)))


@contextmanager
def first_states(encoders: TextEncoders):
    """What each encoder's first block hands out, call by call."""
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in encoders}
    handles = []
    for name in encoders:
        path = next(site.path for site in find_sites(encoders, f"{name}.*") if site.kind == "text-block")

        def look(module, args, output, name=name):
            seen[name].append((output if isinstance(output, torch.Tensor) else output[0]).clone())

        handles.append(encoders.get_submodule(path).register_forward_hook(look))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def test_the_prompt_is_steered_and_nothing_else(family, pipe, steerer, tmp_path):
    encoders = TextEncoders.of(pipe)
    with first_states(encoders) as before:
        plain = draw(family, pipe, PROMPTS)
    own = hooks_left(pipe)  # with these Transformers keeps hidden states, from the first time that they are asked for
    with first_states(encoders) as same, steerer.attached(pipe, 0.0):
        assert torch.equal(draw(family, pipe, PROMPTS), plain)
    with first_states(encoders) as after, steerer.attached(pipe):
        steered = draw(family, pipe, PROMPTS)
    assert not torch.equal(steered, plain)
    for name, calls in before.items():
        assert all(map(torch.equal, same[name], calls))
        unchanged = [torch.equal(one, other) for one, other in zip(after[name], calls, strict=True)]
        assert unchanged == [False, *[True] * (len(calls) - 1)]  # the prompt's call, then the negative prompt's
    assert hooks_left(pipe) == own
    assert not {"check_inputs", "encode_prompt", "prepare_latents"} & vars(pipe).keys()
    assert torch.equal(draw(family, pipe, PROMPTS), plain)
    steerer.save_pretrained(tmp_path / "steerer")
    with dsas.Steerer.from_pretrained(tmp_path / "steerer").attached(pipe):
        assert torch.equal(draw(family, pipe, PROMPTS), steered)


def test_each_prompt_has_its_own_strength(family, pipe, steerer):
    plain = draw(family, pipe, PROMPTS)
    with steerer.attached(pipe):
        steered = draw(family, pipe, PROMPTS)
    with steerer.attached(pipe, [4.0, 0.0]):
        mixed = draw(family, pipe, PROMPTS)
    assert torch.allclose(mixed[0], steered[0], atol=1e-5)
    assert family.same_beside_others(mixed[1], plain[1])


def test_padding_is_neither_averaged_nor_steered():
    family = FAMILIES["pixart_sigma"]  # hands its text encoder an attention mask
    pipe = family.build()
    encoders, masks = TextEncoders.of(pipe), []
    handle = pipe.text_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: masks.append(kwargs["attention_mask"].bool()), with_kwargs=True
    )
    steerer = fitted(pipe, family.generation)
    handle.remove()
    assert not all(mask.all() for mask in masks)
    with first_states(encoders) as before:
        draw(family, pipe, PROMPTS)
    masks.clear()
    handle = pipe.text_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: masks.append(kwargs["attention_mask"].bool()), with_kwargs=True
    )
    with first_states(encoders) as after, steerer.attached(pipe):
        draw(family, pipe, PROMPTS)
    handle.remove()
    changed = (before["text_encoder"][0] != after["text_encoder"][0]).any(-1)
    assert torch.equal(changed, masks[0])


@pytest.fixture(scope="module")
def tiny():
    pipe = tiny_pipeline()
    return pipe, fitted(pipe)


def test_a_denoiser_and_its_text_encoders_are_steered_together(tiny):
    pipe, words = tiny
    places = dsas.fit(pipe, tiny_concept(), gate="always", map_from="pooled", progress=False, strength=2.0,
                     generation=GENERATION)  # fmt: skip
    plain = draw_tiny(pipe, PROMPTS)
    dsas.load_steering(pipe, words, "words")
    only_words = draw_tiny(pipe, PROMPTS)
    dsas.load_steering(pipe, places, "places")
    both = draw_tiny(pipe, PROMPTS)
    dsas.set_steering(pipe, {"words": 4.0})
    assert torch.equal(draw_tiny(pipe, PROMPTS), only_words)
    dsas.set_steering(pipe, ["words", "places"])
    assert torch.equal(draw_tiny(pipe, PROMPTS), both)
    dsas.unload_steering(pipe)
    assert torch.equal(draw_tiny(pipe, PROMPTS), plain)
    assert not torch.equal(both, only_words)
    assert hooks_left(pipe) == 0


def test_a_learned_gate_knows_the_concept(tiny):
    learned = fitted(tiny[0], gate="auto", tau=0.5)
    assert learned.manifest["gate"]["name"] == "logistic"
    assert learned.manifest["fit"]["samples"] == {"source": 5, "target": 5, "control": 6}  # a sample is a prompt
    with learned.attached(tiny[0], record_gates=True) as run:
        draw_tiny(tiny[0], PROMPTS)
    maps = run.gate_maps()
    assert maps.keys() == learned.sites.keys()
    assert {tuple(m.shape[:3]) for m in maps.values()} == {(1, len(PROMPTS), 1)}  # one step, and a row of tokens


def test_maps_are_trained_through_the_text_encoders():
    pipe = FAMILIES["sdxl"].build()
    steerer = fitted(
        pipe,
        FAMILIES["sdxl"].generation,
        method="lineas",
        training=dsas.Training(iterations=20, batch=5, learning_rate=0.01),
    )
    losses = steerer.manifest["fit"]["training"]["losses"]
    assert losses[-1]["transport"] < 0.9 * losses[0]["transport"]
    assert {path.split(".")[0] for path in steerer.sites} == {"text_encoder", "text_encoder_2"}


def test_embeddings_handed_in_are_refused(tiny):
    pipe, steerer = tiny
    prompt, negative = pipe.encode_prompt(PROMPTS, "cpu", 1, True)
    with pytest.raises(dsas.InputError, match="no prompt was encoded"), steerer.attached(pipe):
        pipe(prompt_embeds=prompt, negative_prompt_embeds=negative, num_inference_steps=2, output_type="latent")
    assert hooks_left(pipe) == 0


@pytest.mark.parametrize("name", ["sd", "flux", "qwenimage"])
def test_a_run_that_failed_after_encoding_is_forgotten(name):
    family = FAMILIES[name]
    pipe = family.build()
    steerer = fitted(pipe, family.generation)
    with steerer.attached(pipe):
        steered = draw(family, pipe, PROMPTS)
    with steerer.attached(pipe):
        with pytest.raises(ValueError, match="generators"):
            pipe(prompt=PROMPTS, generator=[torch.Generator()] * 3, **family.generation)
        assert torch.equal(draw(family, pipe, PROMPTS), steered)


def test_texts_encoded_one_after_the_other_by_hand_are_prompts():
    pipe = FAMILIES["flux"].build()  # its encode_prompt takes one text
    with fitted(pipe, FAMILIES["flux"].generation).attached(pipe):
        first, *_ = pipe.encode_prompt(PROMPTS[:1], device="cpu")
        second, *_ = pipe.encode_prompt(PROMPTS[:1], device="cpu")
    assert torch.equal(first, second)
    assert not torch.equal(pipe.encode_prompt(PROMPTS[:1], device="cpu")[0], first)


def test_a_second_reader_sees_the_method_behind_the_first_ones_tap(tiny):
    pipe = tiny[0]
    first, second = TextReader(pipe), TextReader(pipe)
    try:
        for reader in (first, second):
            pipe.encode_prompt(["zzz"], "cpu", 1, True)
            assert reader.call.conditional.stop == 0  # the last text encoded was the negative prompt
    finally:
        first.remove()
        second.remove()
    assert hooks_left(pipe) == 0


def test_prompts_can_be_encoded_by_hand(tiny):
    pipe, steerer = tiny
    with steerer.attached(pipe):
        steered = draw_tiny(pipe, PROMPTS)
    with steerer.attached(pipe):
        pipe.encode_prompt(["another"], "cpu", 1, True)
        prompt, negative = pipe.encode_prompt(PROMPTS, "cpu", 1, True)
    generators = [torch.Generator().manual_seed(i) for i in range(len(PROMPTS))]  # those of draw_tiny
    settings = {**GENERATION, "generator": generators, "output_type": "pt"}
    assert torch.equal(pipe(prompt_embeds=prompt, negative_prompt_embeds=negative, **settings).images, steered)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sites": ["text-encoder", "auto"]}, "is in a text encoder and 'auto' in the denoiser"),
        ({"sites": "text_encoder_7.*"}, "matches nothing"),
        ({"gate": "patch"}, "places of a picture"),
        ({"steps": [0]}, "steps chooses a part"),
        ({"map_from": "core"}, "map_from='core' chooses a part"),
        ({"batch_size": -1}, "batch_size is -1"),
    ],
)
def test_what_needs_pictures_is_refused(tiny, settings, message):
    with pytest.raises(dsas.InputError, match=message):
        dsas.fit(tiny[0], tiny_concept(), progress=False, **{"sites": "text-encoder", **settings})
    assert hooks_left(tiny[0]) == 0


def test_a_window_is_refused(tiny):
    pipe, steerer = tiny
    with pytest.raises(dsas.InputError, match="run once, before the first"):
        steerer.attach(pipe, start=0.5)


def test_a_pipeline_without_text_encoder_is_refused(tiny):
    pipe = tiny_pipeline()
    pipe.text_encoder = None
    with pytest.raises(dsas.InputError, match="no text encoder to steer"):
        fitted(pipe)
    with pytest.raises(dsas.InputError, match="no text encoder to steer"):
        tiny[1].attach(pipe)


def test_another_text_encoder_is_refused(tiny):
    other = FAMILIES["flux"].build()
    with pytest.raises(dsas.InputError, match="its class is CLIPTextModel \\+ T5EncoderModel, not CLIPTextModel"):
        tiny[1].attach(other)
    own = tiny_pipeline()
    with torch.no_grad():
        for module in own.text_encoder.modules():
            if isinstance(module, nn.LayerNorm):
                module.bias += 1
    with pytest.raises(dsas.InputError, match="fitted on other weights"):
        tiny[1].attach(own)


def test_inspect_lists_them(tmp_path, capsys):
    tiny_pipeline().save_pretrained(tmp_path / "model")
    assert main(["inspect", "--model", str(tmp_path / "model"), "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "CLIPTextModel: " in shown
    assert "text-block" in shown
