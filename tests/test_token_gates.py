"""What gates say of texts, token by token: prompt and continuation, with a cache and without, ended texts, no beams."""

import pytest
import torch
from tiny_texts import CONTROL, SOURCE, model, rudeness, tokenizer

import dsas_diffusion as dsas
from dsas_diffusion.backends.language import generate, tokenized

TEXTS = [SOURCE[0], CONTROL[0], SOURCE[2]]
GREEDY = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}


@pytest.fixture(scope="module")
def llama():
    return model("llama")


@pytest.fixture(scope="module")
def steerer(llama):
    return dsas.fit(llama, rudeness(), tokenizer=tokenizer(), tau=0.5, progress=False)


def said(steerer, lm, texts=TEXTS, batch_size=16, **generation):
    """What was recorded, unsteered, so that texts are the plain ones."""
    with steerer.attached(lm, 0.0, record_gates=True) as run:
        list(generate(lm, tokenizer(), texts, batch_size=batch_size, generation={**GREEDY, **generation}))
    return run


def expected(steerer, lm, ids) -> dict[str, torch.Tensor]:
    """Each site's gate on the activations that the model has for one text in one call."""
    found = {}
    handles = [
        lm.get_submodule(path).register_forward_hook(
            lambda module, args, output, path=path, gate=site.gate: found.update({path: gate(output)[0]})
        )
        for path, site in steerer.sites.items()
    ]
    with torch.no_grad():
        lm(ids[None])
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("settings", [{}, {"use_cache": False}, {"batch_size": 2}, {"batch_size": 1}])
def test_every_token_that_is_read_has_a_score(steerer, llama, settings):
    run = said(steerer, llama, **settings)
    scores, ids = run.token_gates(), run.token_ids()
    assert scores.keys() == ids.keys() == steerer.sites.keys()
    made = llama.generate(**tokenized(llama, tokenizer(), TEXTS), **GREEDY, pad_token_id=0)
    for index, (text, whole) in enumerate(zip(TEXTS, made, strict=True)):
        length = len(tokenizer()(text)["input_ids"])
        read = whole[-5 - length : -1]  # the last one is made and never read
        for path, score in expected(steerer, llama, read).items():
            assert torch.equal(ids[path][index], read)
            assert torch.allclose(scores[path][index], score, atol=1e-5)


def test_samples_of_a_prompt_follow_one_another(steerer, llama):
    run = said(steerer, llama, TEXTS[:2], do_sample=True, num_return_sequences=2)
    lengths = [len(tokenizer()(text)["input_ids"]) for text in TEXTS[:2] for _ in range(2)]
    assert all([len(text) - 4 for text in texts] == lengths for texts in run.token_gates().values())


class Ends:
    """Makes the model end the second text of a batch after its second token."""

    def __init__(self, start: int):
        self.start = start

    def __call__(self, ids, scores):
        scores = scores.clone()
        scores[:, 2] = -torch.inf
        if ids.shape[1] == self.start + 1:
            scores[1] = -torch.inf
            scores[1, 2] = 0.0
        return scores


@pytest.mark.parametrize("pad", [0, 2])
@pytest.mark.parametrize("cache", [True, False])
def test_what_fills_up_an_ended_text_is_padding(steerer, llama, pad, cache):
    batch = tokenized(llama, tokenizer(), TEXTS)
    start = batch["input_ids"].shape[1]
    settings = {"max_new_tokens": 6, "do_sample": False, "use_cache": cache, "pad_token_id": pad}
    with steerer.attached(llama, 0.0, record_gates=True) as run:
        made = llama.generate(**batch, **settings, logits_processor=[Ends(start)])
    assert made[1, start + 1 :].tolist() == [2, pad, pad, pad, pad]
    lengths = [len(tokenizer()(text)["input_ids"]) for text in TEXTS]
    for texts in run.token_ids().values():
        assert [len(text) for text in texts] == [lengths[0] + 5, lengths[1] + 2, lengths[2] + 5]
        assert texts[1][-1] == 2


def test_what_fills_up_an_ended_text_is_not_steered(llama):
    path = "model.layers.1"
    steerer = dsas.fit(llama, rudeness(), tokenizer=tokenizer(), gate="always", sites=path, progress=False)
    batch = tokenized(llama, tokenizer(), TEXTS)
    changes = []

    def compare(module, args, kwargs, output):
        with torch.no_grad():
            changes.append((output - type(module).forward(module, *args, **kwargs))[:, -1].abs().amax(1) > 0)

    with steerer.attached(llama, 1e-3):
        handle = llama.get_submodule(path).register_forward_hook(compare, with_kwargs=True)
        settings = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "use_cache": False}
        llama.generate(**batch, **settings, logits_processor=[Ends(batch["input_ids"].shape[1])])
        handle.remove()
    assert [changed.tolist() for changed in changes] == [[True] * 3] * 3 + [[True, False, True]] * 2


def test_texts_that_are_read_once_have_scores_and_maps(steerer, llama):
    batch = tokenized(llama, tokenizer(), TEXTS)
    with steerer.attached(llama, record_gates=True) as run:
        llama(**batch)
    maps, scores = run.gate_maps(), run.token_gates()
    for path, texts in scores.items():
        assert maps[path].shape == (1, 3, 1, batch["input_ids"].shape[1])
        for row, mask, text in zip(maps[path][0, :, 0], batch["attention_mask"].bool(), texts, strict=True):
            assert torch.equal(row[mask], text)


def test_an_encoder_decoder_model_has_scores_of_both_its_texts():
    lm = model("t5")
    steerer = dsas.fit(lm, rudeness(), tokenizer=tokenizer(), gate="always", sites="*.block.?", tokens="both",
                       generation=GREEDY, progress=False)  # fmt: skip
    run = said(steerer, lm)
    lengths = [len(tokenizer()(text)["input_ids"]) for text in TEXTS]
    for path, texts in run.token_gates().items():
        assert [len(text) for text in texts] == (lengths if path.startswith("encoder") else [5, 5, 5])


@pytest.mark.parametrize(
    "settings",
    [{"num_beams": 2}, {"num_beams": 2, "do_sample": True}, {"prompt_lookup_num_tokens": 2, "max_new_tokens": 20}],
)
def test_rows_that_are_not_one_text_are_refused(steerer, llama, settings):
    texts = ["the tree is the tree is the tree is"]
    with pytest.raises(dsas.InputError, match="where each row is one text"):
        said(steerer, llama, texts, **settings)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in llama.modules())


def test_what_was_not_recorded_is_refused(steerer, llama):
    with steerer.attached(llama, record_gates=True) as run:
        with pytest.raises(dsas.InputError, match="No text was recorded"):
            run.token_gates()
        list(generate(llama, tokenizer(), TEXTS, generation=GREEDY))
        with pytest.raises(dsas.InputError, match="token_gates"):
            run.gate_maps()
    with steerer.attached(llama, record_gates=True) as run:
        llama(inputs_embeds=llama.get_input_embeddings()(tokenized(llama, tokenizer(), TEXTS)["input_ids"]))
    assert run.token_gates()
    with pytest.raises(dsas.InputError, match="was handed embeddings"):
        run.token_ids()
