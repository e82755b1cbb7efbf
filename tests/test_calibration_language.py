"""calibrate() on language models: the strength between enough and too little, and what is refused."""

from dataclasses import replace

import pytest
import torch
from tiny import tiny_concept, tiny_pipeline
from tiny_texts import model, rudeness, tokenizer

from dsas_diffusion import calibrate, fit, load_prompts, orchard
from dsas_diffusion.errors import InputError
from dsas_diffusion.prompts import Prompt

#: Texts that no fit has seen.
RUDE = tuple(f"you are very {word}" for word in ("rude", "silly", "fool"))
KIND = tuple(f"a {word} is green" for word in ("tree", "house", "friend", "nice tree"))


@pytest.fixture(scope="module")
def llama():
    return model("llama")


@pytest.fixture
def steerer(llama):
    return fit(llama, rudeness(), tokenizer=tokenizer(), gate="always", tau=0.5, progress=False)


@pytest.fixture
def concept():
    return replace(
        rudeness(),
        tuning={"source": tuple(map(Prompt, RUDE)), "control": tuple(map(Prompt, KIND))},
    )


def said(lm, words, texts, steerer, strength, **generation) -> list[str]:
    """What Transformers writes by itself, a prompt at a time."""
    found = []
    with steerer.attached(lm, strength):
        for text in texts:
            ids = words(text, return_tensors="pt")["input_ids"]
            made = lm.generate(ids, do_sample=False, pad_token_id=words.pad_token_id, **generation)
            found.append(words.decode(made[0, ids.shape[1] :], skip_special_tokens=True))
    return found


def test_budget_gives_a_strength_within_it_and_none_above(llama, steerer, concept):
    settings = {"max_new_tokens": 6, "min_new_tokens": 6}

    def changed(strength: float) -> float:
        texts = [said(llama, tokenizer(), KIND, steerer, λ, **settings) for λ in (strength, 0.0)]
        return sum(one != other for one, other in zip(*texts, strict=True)) / 4

    asked = {"tokenizer": tokenizer(), "generation": settings, "progress": False}
    found = calibrate(llama, steerer, concept, budget=0.3, highest=16, **asked)
    curve = dict(steerer.manifest["calibration"]["curve"])
    assert steerer.strength == found < 16
    assert curve == {strength: changed(strength) for strength in curve}
    assert changed(found) <= 0.3
    assert min(curve[strength] for strength in curve if found < strength <= found + 0.125) > 0.3
    assert calibrate(llama, steerer, concept, budget=0.3, highest=found / 2, **asked) == found / 2


def test_rudeness_is_removed_as_asked():
    lm, words = orchard.load_language_model()
    prompts = load_prompts("orchard/rudeness")
    steerer = fit(lm, prompts, tokenizer=words, sites="attention", tokens="last", progress=False)
    texts = [prompt.text for kind in ("source", "mixed") for prompt in prompts.tuning[kind]]

    def rude(strength: float) -> torch.Tensor:
        return torch.from_numpy(
            orchard.rudeness(said(lm, words, texts, steerer, strength, min_new_tokens=1, max_new_tokens=50)) >= 0.5
        )

    found = calibrate(
        lm,
        steerer,
        prompts,
        tokenizer=words,
        removal=0.9,
        shows=lambda made: torch.from_numpy(orchard.rudeness(made) >= 0.5),
        highest=2,
        progress=False,
    )
    before = rude(0.0)
    curve = dict(steerer.manifest["calibration"]["curve"])
    less = max(strength for strength in curve if strength < found)
    for strength in (found, less):
        assert curve[strength] == pytest.approx((~rude(strength))[before].float().mean().item())
    assert curve[found] >= 0.9 > curve[less]
    assert found - less <= 0.125
    assert steerer.manifest["calibration"]["wanted"] == {"removal": 0.9}


def test_what_is_no_text_or_cannot_be_read_is_refused(llama, steerer, concept):
    with pytest.raises(InputError, match="no tokenizer was given"):
        calibrate(llama, steerer, concept, budget=0.1)
    with pytest.raises(InputError, match="No unsteered continuation"):
        calibrate(
            llama,
            steerer,
            concept,
            tokenizer=tokenizer(),
            removal=0.5,
            shows=lambda made: torch.zeros(len(made)),
            progress=False,
        )
    assert "calibration" not in steerer.manifest
    pipe = tiny_pipeline()
    with pytest.raises(InputError, match="tokenizer is for language models"):
        calibrate(pipe, steerer, replace(tiny_concept(), tuning=concept.tuning), tokenizer=tokenizer(), budget=0.1)
