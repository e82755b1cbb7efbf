"""Steering language models: every family; prompt and continuation; padding, cache, beams, rows; what can't work."""

from dataclasses import replace

import pytest
import torch
from tiny import GENERATION, tiny_concept, tiny_pipeline
from tiny_texts import COMMON, CONTROL, DECODERS, OTHERS, SOURCE, WORDS, model, rudeness, tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

import dsas_diffusion as dsas
from dsas_diffusion.backends.language import check_vocabulary, generate, tokenized
from dsas_diffusion.gates.image_mean import ImageMeanGate
from dsas_diffusion.hooks.language import LanguageReader
from dsas_diffusion.hooks.sites import all_sites, find_sites
from dsas_diffusion.methods.linear_act import LinearAcT
from dsas_diffusion.prompts import Prompt

TEXTS = [SOURCE[0], SOURCE[2], CONTROL[0]]
GREEDY = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}


@pytest.fixture(scope="module", params=DECODERS)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def lm(family):
    return model(family)


def fitted(lm, **settings) -> dsas.Steerer:
    """Open everywhere, so that every token that may change does."""
    settings = {"gate": "always", "strength": 4.0, **settings}
    return dsas.fit(lm, rudeness(), tokenizer=tokenizer(), progress=False, batch_size=4, **settings)


def continued(lm, texts=TEXTS, **generation) -> list[str]:
    return [made for batch in generate(lm, tokenizer(), texts, generation={**GREEDY, **generation}) for made in batch]


def states(lm, texts=TEXTS, side: str = "left") -> list[torch.Tensor]:
    """Each text's last hidden states, padding left out."""
    batch = tokenizer(side)(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
    if lm.can_generate():  # as `generate` does; else positions are counted from the padding on
        batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        found = lm.base_model(**batch).last_hidden_state
    return [row[mask.bool()] for row, mask in zip(found, batch["attention_mask"], strict=True)]


def hooks_left(lm) -> int:
    modules = list(lm.modules())
    own = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)
    return own + sum(len(m._diffusers_hook.hooks) for m in modules if hasattr(m, "_diffusers_hook"))


def test_steering_changes_texts_and_leaves_no_trace(lm, tmp_path):
    plain, before = continued(lm), states(lm)
    left = hooks_left(lm)
    steerer = fitted(lm)
    with steerer.attached(lm, 0.0):
        assert continued(lm) == plain
        assert all(map(torch.equal, states(lm), before))
    with steerer.attached(lm):
        steered, after = continued(lm), states(lm)
    assert steered != plain
    assert all((one - other).abs().max() > 0.01 for one, other in zip(before, after, strict=True))
    assert hooks_left(lm) == left
    assert "generate" not in vars(lm)
    assert all(map(torch.equal, states(lm), before))
    steerer.save_pretrained(tmp_path / "steerer")
    with dsas.Steerer.from_pretrained(tmp_path / "steerer").attached(lm):
        assert continued(lm) == steered


@pytest.mark.parametrize("preset", ["blocks", "attention", "attention-heads", "mlps", "norms"])
def test_every_kind_of_site_is_found_and_steers(lm, preset):
    before = states(lm)
    steerer = fitted(lm, sites=preset)
    layers = lm.config.get_text_config().num_hidden_layers
    each = {"blocks": 1, "attention": 1, "attention-heads": 4, "mlps": 1}
    if preset in each:
        assert len(find_sites(lm, preset)) == each[preset] * layers
    assert not any("vision" in site.path for site in all_sites(lm))
    with steerer.attached(lm):
        after = states(lm)
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_padding_matters_on_neither_side(lm):
    steerer = fitted(lm, gate="logistic", tau=0.5)
    with steerer.attached(lm):
        alone = [states(lm, [text])[0] for text in TEXTS]
        sides = [states(lm, TEXTS, side) for side in ("left", "right")]
    for together in sides:
        for one, other in zip(together, alone, strict=True):
            assert torch.allclose(one, other, atol=1e-3)


def test_a_position_is_gated_once_with_a_cache_and_the_same_without(lm):
    steerer = fitted(lm, gate="logistic", tau=0.5)
    with steerer.attached(lm):
        assert continued(lm) == continued(lm, use_cache=False)


@pytest.fixture(scope="module")
def llama():
    return model("llama")


@pytest.mark.parametrize("tokens", ["prompt", "last", "continuation", "both"])
def test_a_part_of_the_text_is_steered(llama, tokens):
    path = "model.layers.1"  # the last block, so that steering it changes nothing that it is handed
    steerer = fitted(llama, sites=path)
    changes = []

    def compare(module, args, kwargs, output):
        with torch.no_grad():
            changes.append((output - type(module).forward(module, *args, **kwargs)).abs().amax() > 0.01)

    with steerer.attached(llama, tokens=tokens):
        handle = llama.get_submodule(path).register_forward_hook(compare, with_kwargs=True)
        continued(llama, SOURCE[:1], use_cache=False, max_new_tokens=2, min_new_tokens=2)
        handle.remove()
    whole = {"prompt": [True, True], "last": [True, True], "continuation": [False, True], "both": [True, True]}
    assert changes == whole[tokens]


def test_calls_say_what_is_prompt_and_what_continues_it(llama):
    calls = []
    batch = tokenized(llama, tokenizer(), TEXTS)
    with LanguageReader(llama, calls.append) as reader:
        llama.generate(**batch, **GREEDY, pad_token_id=0)
        runs = {id(reader.run)}
        cached = [(call.step, call.tokens, call.prompt) for call in calls]
        calls.clear()
        llama.generate(**batch, **GREEDY, pad_token_id=0, use_cache=False)
        whole = [(call.step, call.tokens, call.prompt) for call in calls]
        runs.add(id(reader.run))
        calls.clear()
        llama(**batch)
        assert [(call.step, call.prompt) for call in calls] == [(0, 6)]
    assert cached == [(0, 6, 6), *((step, 1, 0) for step in range(1, 5))]
    assert whole == [(step, 6 + step, 6) for step in range(5)]
    assert len(runs) == 2


def test_beams_and_samples_of_a_prompt_have_its_strength(llama):
    steerer = fitted(llama)
    plain = continued(llama, num_beams=3)
    with steerer.attached(llama, [0.0, 4.0, 0.0]):
        mixed = continued(llama, num_beams=3)
    with steerer.attached(llama, 4.0):
        steered = continued(llama, num_beams=3)
    assert mixed == [plain[0], steered[1], plain[2]]
    assert mixed[1] != plain[1]
    with steerer.attached(llama, [0.0, 4.0, 0.0]):
        sampled = list(
            generate(llama, tokenizer(), TEXTS, generation={**GREEDY, "num_return_sequences": 2, "num_beams": 2})
        )
    assert len(sampled[0]) == 6


def test_sampling_is_the_same_for_the_same_seed(llama):
    state = torch.get_rng_state()
    texts = [continued(llama, do_sample=True) for _ in range(2)]
    assert texts[0] == texts[1]
    assert torch.equal(torch.get_rng_state(), state)


def test_learning_from_the_continuation(llama):
    learned = {
        tokens: fitted(llama, tokens=tokens, generation=GREEDY).sites["model.layers.1"].method.shift
        for tokens in ("prompt", "continuation", "both")
    }
    assert not any(torch.allclose(learned["both"], learned[part]) for part in ("prompt", "continuation"))
    lengths = torch.tensor([len(tokenizer()(text)["input_ids"]) for text in SOURCE + CONTROL])
    assert lengths.min() > 1


def test_learning_from_the_last_token_of_the_prompt(llama):
    steerer = fitted(llama, tokens="last", sites="model.layers.1")
    assert steerer.manifest["text"]["tokens"] == "last"
    shift = steerer.sites["model.layers.1"].method.shift

    def last(texts: tuple[str, ...]) -> torch.Tensor:
        with BlockOutputs(llama) as seen:
            states(llama, list(texts))
        return seen.outputs[0][:, -1].mean(0)  # padded on the left

    prompts = rudeness()
    assert torch.allclose(shift, last(prompts.texts("target")) - last(prompts.texts("source")), atol=1e-4)


class BlockOutputs:
    """What the second decoder layer hands out, call by call."""

    def __init__(self, lm):
        self.block, self.outputs = lm.get_submodule("model.layers.1"), []

    def __enter__(self):
        self.handle = self.block.register_forward_hook(lambda module, args, output: self.outputs.append(output))
        return self

    def __exit__(self, *_):
        self.handle.remove()


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_last_token_is_found_on_either_side_of_padding(llama, side):
    before = states(llama, TEXTS, side)
    with fitted(llama, sites="model.layers.1").attached(llama, tokens="last"):
        after = states(llama, TEXTS, side)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[:-1], other[:-1])
        assert not torch.equal(one[-1], other[-1])


@pytest.mark.parametrize("read", [None, "model.layers.0"])
@pytest.mark.parametrize("tokens", ["prompt", "last"])
def test_a_gate_that_averages_decides_on_the_prompt(llama, tokens, read):
    """And keeps to it: with a cache it sees one token at a time, without it the whole text each time."""
    steerer = fitted(llama, gate=ImageMeanGate(dead_zone=0.5), tau=0.5, tokens=tokens, read=read)
    with steerer.attached(llama):
        assert continued(llama) == continued(llama, use_cache=False)
    decided = []
    with steerer.attached(llama) as attachment:
        site = attachment.concepts["rude"].sites[-1]
        handle = llama.get_submodule("model.layers.1").register_forward_hook(
            lambda *_: decided.append(site._decided["score"].clone())
        )
        continued(llama)
        handle.remove()
    assert len(decided) == GREEDY["max_new_tokens"]
    assert all(torch.equal(later, decided[0]) for later in decided)
    assert decided[0].unique().numel() > 1


@pytest.mark.parametrize("gate", ["image_mean", "cast"])
def test_gates_that_average_see_no_padding(llama, gate):
    steerer = fitted(llama, gate=gate, tau=0.5, sites="model.layers.1")
    with steerer.attached(llama):
        alone = [states(llama, [text])[0] for text in TEXTS]
        together = states(llama, TEXTS)
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one, other, atol=1e-3)


def test_an_encoder_decoder_model_is_steered_in_both_parts():
    lm = model("t5")
    plain = continued(lm)
    steerer = fitted(lm, sites="encoder.*")
    with steerer.attached(lm):
        assert continued(lm) != plain
    assert continued(lm) == plain
    decoder = fitted(lm, sites="decoder.block.*", tokens="both", generation=GREEDY)
    with decoder.attached(lm):
        assert continued(lm) != plain
    assert continued(lm) == plain


def test_an_encoder_is_fitted_and_read():
    lm = model("bert")
    steerer = fitted(lm)
    before = states(lm, side="right")
    with steerer.attached(lm):
        after = states(lm, side="right")
    assert not torch.allclose(before[0], after[0])
    with pytest.raises(dsas.InputError, match="generates no text"):
        continued(lm)


@pytest.mark.parametrize("gates", [False, True])
def test_maps_and_gates_are_trained_through_the_model(llama, gates):
    training = dsas.Training(iterations=30, gates=gates, batch=8)
    settings = {"method": "lineas", "gate": "logistic", "tau": 0.5, "training": training}
    steerer = fitted(llama, **settings)
    about = steerer.manifest["fit"]["training"]
    assert about["losses"][-1]["transport"] < 0.8 * about["losses"][0]["transport"]
    plain = continued(llama)
    with steerer.attached(llama):
        assert continued(llama) != plain
    assert all(parameter.requires_grad for parameter in llama.parameters())


def test_chat_templates():
    lm, words = model("llama"), tokenizer()
    words.chat_template = "{% for m in messages %}you {{ m.content }} house{% endfor %}"
    plain = tokenized(lm, words, ["a fool"], chat=True)["input_ids"]
    assert words.decode(plain[0]) == "you a fool house"
    settings = {"progress": False, "gate": "always", "sites": "model.layers.0"}
    shifts = [
        dsas.fit(lm, rudeness(), tokenizer=words, chat=chat, **settings).sites["model.layers.0"].method.shift
        for chat in (False, True)
    ]
    assert not torch.allclose(*shifts)


def test_beams_and_returned_sequences_of_a_prompt_have_its_strength(llama):
    steerer = fitted(llama)
    asked = {"num_return_sequences": 2, "num_beams": 3}
    plain = continued(llama, **asked)
    with steerer.attached(llama):
        steered = continued(llama, **asked)
    with steerer.attached(llama, [0.0, 4.0, 0.0]):
        mixed = continued(llama, **asked)
    assert mixed == plain[:2] + steered[2:4] + plain[4:]
    assert plain[2:4] != steered[2:4]


@pytest.mark.parametrize("samples", [1, 3])
def test_samples_of_a_prompt_have_its_strength(llama, samples):
    steerer = fitted(llama)
    asked = {"do_sample": True, "num_return_sequences": samples}
    plain = continued(llama, **asked)
    with steerer.attached(llama, 0.0):
        assert continued(llama, **asked) == plain
    with steerer.attached(llama):
        steered = continued(llama, **asked)
    with steerer.attached(llama, [4.0, 0.0, 4.0]):
        mixed = continued(llama, **asked)
    rows = [slice(i * samples, (i + 1) * samples) for i in range(3)]
    assert mixed == steered[rows[0]] + plain[rows[1]] + steered[rows[2]]
    assert steered != plain


def test_steering_as_an_adapter(llama):
    left, plain = hooks_left(llama), continued(llama)
    steerer = fitted(llama)
    with steerer.attached(llama, 2.0):
        expected = continued(llama)
    dsas.load_steering(llama, steerer, "rude")
    dsas.set_steering(llama, {"rude": 2.0})
    assert continued(llama) == expected
    dsas.disable_steering(llama)
    assert continued(llama) == plain
    dsas.unload_steering(llama)
    assert continued(llama) == plain != expected
    assert hooks_left(llama) == left


def test_a_number_of_strengths_that_does_not_fit_is_refused(llama):
    steerer, before = fitted(llama), hooks_left(llama)
    told = pytest.raises(dsas.InputError, match="strength has 2 numbers, but 3 texts are made at once")
    with told, steerer.attached(llama, [1.0, 2.0]):
        continued(llama)
    assert hooks_left(llama) == before


@pytest.mark.parametrize("settings", [{}, {"use_cache": False}, {"num_beams": 2}, {"do_sample": True}])
def test_chat_templates_are_steered_as_other_texts(settings):
    lm, words = model("llama"), tokenizer()
    words.chat_template = "{% for m in messages %}you {{ m.content }} house{% endfor %}"
    steerer = dsas.fit(lm, rudeness(), tokenizer=words, chat=True, gate="always", strength=4.0, progress=False)
    assert steerer.manifest["text"]["chat"] is True
    written = [f"you {text} house" for text in TEXTS]
    bare = tokenizer()
    bare.backend_tokenizer.post_processor = None  # the template stands in for the token that texts begin with
    with steerer.attached(lm):
        chat = next(generate(lm, words, TEXTS, generation={**GREEDY, **settings}, chat=True))
        plain = next(generate(lm, bare, written, generation={**GREEDY, **settings}))
    assert chat == plain
    assert chat != next(generate(lm, words, TEXTS, generation={**GREEDY, **settings}, chat=True))


def no_pad():
    words = tokenizer()
    words.pad_token = None
    return words


def larger():
    words = tokenizer()
    words.add_tokens(["strange", "stranger"])
    return words


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokenizer": None}, "no tokenizer was given"),
        ({"tokenizer": no_pad()}, "has no pad token"),
        ({"tokenizer": larger()}, "has 22 tokens, but this LlamaForCausalLM knows 20"),
        ({"chat": True}, "has no chat template"),
        ({"gate": "patch"}, "places of a picture"),
        ({"training": dsas.Training(gradient_checkpointing=True)}, "gradient_checkpointing is for denoisers"),
        ({"sites": "resnets"}, "matches nothing in this LlamaForCausalLM"),
        ({"tokens": "all"}, "tokens must be one of"),
        ({"method": LinearAcT(support="pooled")}, "a text comes token by token"),
        ({"generation": {"num_return_sequences": 2}}, "num_return_sequences=2, but a fit learns from one"),
        ({"tokens": "both", "generation": {"num_beams": 3}}, "num_beams=3, but a fit learns from one"),
        ({"regions": len}, "neither the gate 'logistic' nor map_from='auto' looks at places here"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_bad_settings_are_refused(llama, settings, message):
    before = hooks_left(llama)
    with pytest.raises(dsas.InputError, match=message):
        dsas.fit(llama, rudeness(), **{"tokenizer": tokenizer(), "progress": False, **settings})
    assert hooks_left(llama) == before


def test_bad_texts_are_refused():
    lm = model("gpt2")
    for text, length in (("tree " * 80, 81), ("", 0)):
        words = tokenizer()
        if not text:
            words.backend_tokenizer.post_processor = None
        with pytest.raises(dsas.InputError, match=f"has {length} tokens, but the model reads 1 to 64"):
            tokenized(lm, words, ["a tree", text])


def test_texts_that_are_too_long_are_refused_before_any_is_run():
    lm, words, concept = model("gpt2"), tokenizer(), rudeness()
    before, calls = hooks_left(lm), []
    handle = lm.register_forward_pre_hook(lambda *_: calls.append(1))
    long = replace(concept, control=(*concept.control, Prompt("tree " * 70)))
    for settings, message in (
        ({"prompts": long}, "has 71 tokens, but the model reads 1 to 64"),
        ({"tokens": "both", "generation": {"max_new_tokens": 60}}, "is to be continued by 60, but the model reads 64"),
    ):
        with pytest.raises(dsas.InputError, match=message):
            dsas.fit(lm, **{"prompts": concept, "tokenizer": words, "progress": False, **settings})
    with pytest.raises(dsas.InputError, match="Ask for at most 58 with max_new_tokens"):
        list(generate(lm, words, TEXTS, generation={"max_new_tokens": 59}, batch_size=1))
    handle.remove()
    assert not calls
    assert hooks_left(lm) == before


def test_a_model_without_a_head_is_fitted_and_writes_nothing(llama):
    headless = llama.base_model
    steerer = dsas.fit(headless, rudeness(), tokenizer=tokenizer(), gate="always", progress=False)
    assert set(steerer.sites) == {"layers.0", "layers.1"}
    with pytest.raises(dsas.InputError, match="A LlamaModel generates no text"):
        fitted(headless, tokens="continuation", generation=GREEDY)
    with pytest.raises(dsas.InputError, match="its class is LlamaForCausalLM, not LlamaModel"):
        steerer.attach(llama)


def test_what_is_for_pictures_is_refused_for_texts_and_the_other_way_round(llama):
    pipe = tiny_pipeline()
    drawn = dsas.fit(pipe, tiny_concept(), gate="always", map_from="pooled", generation=GENERATION, progress=False)
    written = fitted(llama)
    before = hooks_left(llama)
    with pytest.raises(dsas.InputError, match="its class is LlamaForCausalLM, not UNet2DConditionModel"):
        drawn.attach(llama)
    with pytest.raises(dsas.InputError, match="its class is UNet2DConditionModel, not LlamaForCausalLM"):
        written.attach(pipe)
    for settings in ({"start": 0.5}, {"end": 0.5}):
        with pytest.raises(dsas.InputError, match="language models have none"):
            written.attach(llama, **settings)
    for settings in ({"tokenizer": tokenizer()}, {"chat": True}):
        with pytest.raises(dsas.InputError, match="tokenizer and chat are for language models"):
            dsas.fit(pipe, tiny_concept(), generation=GENERATION, progress=False, **settings)
    assert hooks_left(llama) == before
    assert hooks_left(pipe.unet) == 0


def test_another_vocabulary_than_that_of_the_fit_is_told(llama):
    steerer, words = fitted(llama), tokenizer()
    check_vocabulary(words, steerer.manifest)
    words.add_tokens(["strange"])
    with pytest.raises(dsas.InputError, match="'rude' was fitted with another vocabulary"):
        check_vocabulary(words, steerer.manifest)
    config = LlamaConfig(**{**COMMON, "vocab_size": len(WORDS) + 1})
    with pytest.raises(dsas.InputError, match="its setting vocab_size is 21, not 20"):
        steerer.attach(LlamaForCausalLM(config))


def test_another_model_is_refused(llama):
    steerer = fitted(llama)
    with pytest.raises(dsas.InputError, match="its class is GPT2LMHeadModel, not LlamaForCausalLM"):
        steerer.attach(model("gpt2"))
    with pytest.raises(dsas.InputError, match="fitted on other weights"):
        steerer.attach(model("llama", seed=1))


def test_every_family_has_a_model():
    assert all(all_sites(model(name)) for name in (*DECODERS, *OTHERS))


MAPS = {
    "one device": {"": "cpu"},
    "a layer on disk": {"model.embed_tokens": "cpu", "model.layers.0": "disk", "model.layers.1": "cpu",
                        "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"},
    "all on disk": {"model": "disk", "lm_head": "disk"},
}  # fmt: skip


@pytest.mark.parametrize(
    "where", [pytest.param(where, marks=pytest.mark.later if where == "all on disk" else ()) for where in MAPS]
)
def test_device_maps(llama, tmp_path, where):
    llama.save_pretrained(tmp_path / "model")
    mapped = type(llama).from_pretrained(
        tmp_path / "model", device_map=MAPS[where], offload_folder=tmp_path / "offload"
    )
    plain, texts = continued(llama), states(llama)
    steerer = fitted(llama)
    with steerer.attached(llama):
        expected = continued(llama)
    again = fitted(mapped)
    for path, site in steerer.sites.items():
        assert torch.allclose(again.sites[path].method.shift, site.method.shift, atol=1e-5)
    left = hooks_left(mapped)
    for one in (steerer, again):
        with one.attached(mapped):
            assert continued(mapped) == expected
        assert continued(mapped) == plain
    assert hooks_left(mapped) == left
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(states(mapped), texts, strict=True))
