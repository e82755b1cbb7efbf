"""Every steering method and every gate that sees no places on a language model: the promises of test_family.py."""

import pytest
import torch
from tiny import hooks_in
from tiny_texts import CONTROL, SOURCE, model, rudeness, tokenizer

from dsas_diffusion import Steerer, fit
from dsas_diffusion.backends.language import generate
from dsas_diffusion.fitting.training_loop import Training
from dsas_diffusion.gates.base import GATES
from dsas_diffusion.methods.base import METHODS

TEXTS = [SOURCE[0], CONTROL[0], SOURCE[2]]
# Not of the fit: a support may end at an activation that was fitted, where rounding decides on which side it lies.
UNSEEN = ["it is a very silly fool", "today the house is green", "nice friend you are rude today"]
PAIRS = [
    *((method, "logistic") for method in METHODS),
    *(("caa", name) for name, gate in GATES.items() if name != "logistic" and not gate.sees_places),
]


@pytest.fixture(scope="module")
def lm():
    return model("llama")


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def pair(request):
    return request.param


@pytest.fixture(scope="module")
def steerer(lm, pair):
    return fitted(lm, *pair)


def fitted(lm, method, gate) -> Steerer:
    needs = isinstance(method, str) and METHODS[method].needs_gradients
    training = Training(iterations=20) if needs or getattr(method, "needs_gradients", False) else None
    return fit(lm, rudeness(), tokenizer=tokenizer(), method=method, gate=gate, training=training, tau=0.5,
               progress=False)  # fmt: skip


def logits(lm, texts: list[str] = TEXTS) -> list[torch.Tensor]:
    """What follows each token, padding left out."""
    batch = tokenizer()(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
    with torch.no_grad():
        found = lm(**batch, position_ids=(batch["attention_mask"].cumsum(1) - 1).clamp(min=0)).logits
    return [row[mask.bool()] for row, mask in zip(found, batch["attention_mask"], strict=True)]


def continued(lm) -> list[str]:
    return [text for batch in generate(lm, tokenizer(), TEXTS, generation={"max_new_tokens": 5}) for text in batch]


def test_zero_strength_and_detaching_are_bit_exact_and_leave_no_hook(lm, steerer):
    plain, texts, hooks = logits(lm), continued(lm), hooks_in(lm)
    with steerer.attached(lm, strength=0):
        assert all(map(torch.equal, logits(lm), plain))
        assert continued(lm) == texts
    with steerer.attached(lm, strength=2):
        assert not all(map(torch.equal, logits(lm), plain))
    for failure in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(failure), steerer.attached(lm, strength=1):
            raise failure
    assert hooks_in(lm) == hooks
    assert all(map(torch.equal, logits(lm), plain))


def test_saved_and_loaded_it_does_the_same(lm, steerer, tmp_path):
    steerer.save_pretrained(tmp_path / "steerer")
    found = []
    for one in (steerer, Steerer.from_pretrained(tmp_path / "steerer")):
        with one.attached(lm, strength=1.5):
            found.append((logits(lm), continued(lm)))
    assert all(map(torch.equal, found[0][0], found[1][0]))
    assert found[0][1] == found[1][1]
    assert all(row.isfinite().all() for row in found[0][0])


def test_a_second_fit_is_the_same(lm, steerer, pair):
    parts = (steerer.manifest[part] for part in ("method", "gate"))
    again = fitted(lm, *(
        kinds[part["name"]](**part["settings"]) for kinds, part in zip((METHODS, GATES), parts, strict=True)
    ))  # fmt: skip
    for path, steered in steerer.sites.items():
        for one, two in ((steered.method, again.sites[path].method), (steered.gate, again.sites[path].gate)):
            assert one.state_dict().keys() == two.state_dict().keys()
            assert all(map(torch.equal, one.state_dict().values(), two.state_dict().values()))


def test_a_batch_is_its_texts_and_padding_is_nothing(lm, steerer):
    with steerer.attached(lm, strength=1):
        together = logits(lm, UNSEEN)
        apart = [logits(lm, [text])[0] for text in UNSEEN]
    for one, two in zip(together, apart, strict=True):
        assert torch.allclose(one, two, atol=1e-3)


def test_each_text_has_its_own_strength(lm, steerer):
    plain = logits(lm)
    with steerer.attached(lm, strength=[0.0, 1.0, 0.0]):
        mixed = logits(lm)
    assert torch.equal(mixed[0], plain[0])
    assert torch.equal(mixed[2], plain[2])
