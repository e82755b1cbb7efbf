"""Techniques that change the prompt or what it is encoded to, each against what it should be by other means."""

import numpy as np
import pytest
import torch
from baselines import ON_DIT
from tiny import GENERATION, tiny_concept, tiny_pipeline
from untrained import untrained_dit

from benchmarks.baselines.negative_prompt import NegativePrompt
from benchmarks.baselines.safree import Safree, projection, triggers
from benchmarks.baselines.texts import alternating, concept_words
from benchmarks.baselines.word_removal import without
from dsas_diffusion.errors import InputError
from dsas_diffusion.prompts import Concept, Prompt, PromptSet, load_prompts
from dsas_diffusion.sweeps.technique import Conditions

PROMPTS = ["zzz zuzu k", "eee zzz b"]


def generators():
    return [torch.Generator().manual_seed(index) for index in range(len(PROMPTS))]


@pytest.mark.parametrize(("make", "generation"), [(tiny_pipeline, GENERATION), (untrained_dit, ON_DIT)])
def test_negative_prompt_at_1_is_diffusers_own(make, generation, tmp_path):
    pipe = make(small=True) if make is untrained_dit else make()
    pipe.set_progress_bar_config(disable=True)
    technique = NegativePrompt()
    technique.prepare(pipe, [tiny_concept(), tiny_concept()], Conditions(generation=generation), tmp_path / "x")
    assert technique.negative == "zzz"
    asked = {"output_type": "pt", **generation}
    expected = pipe(PROMPTS, negative_prompt=["zzz"] * 2, generator=generators(), **asked).images
    with technique.applied(pipe, 1.0) as arguments:
        found = pipe(**arguments(PROMPTS), generator=generators(), **asked).images
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, pipe(PROMPTS, generator=generators(), **asked).images, atol=1e-3)


def test_negative_prompts_lie_on_a_line_from_the_empty_one(tmp_path):
    pipe = tiny_pipeline()
    technique = NegativePrompt()
    technique.prepare(pipe, [tiny_concept()], Conditions(), tmp_path / "x")
    states = {}
    for strength in (0.5, 1.0, 3.0):
        with technique.applied(pipe, strength) as arguments:
            states[strength] = arguments(PROMPTS)["negative_prompt_embeds"].double()
    empty = pipe.encode_prompt([""], pipe.device, 1, False)[0].double()
    for strength, found in states.items():
        assert torch.allclose(found, (1 - strength) * empty + strength * states[1.0], atol=1e-4)


@pytest.mark.parametrize(
    ("prompt", "left"),
    [
        ("a photo of a banana", "a photo"),
        ("a banana", ""),
        ("a banana at the top on a pink table", "a pink table"),
        ("a picture of a banana at the bottom", "a picture"),
        ("a photo of a ripe banana on a wooden table", "a photo of a wooden table"),
        ("an orange to the left of a banana, on a green table", "an orange, on a green table"),
        ("a photo of a banana to the right of a lemon", "a photo of a lemon"),
        ("a banana beside an apple", "an apple"),
        ("an apple beside two Bananas", "an apple"),
        ("a bunch of grapes on the right and a banana on the left", "a bunch of grapes on the right"),
        ("a banana on the left and a cup on the right, on a table", "a cup on the right, on a table"),
        ("an apple, a banana and a cup", "an apple, a cup"),
        ("a bunch of bananas with some cherries", "some cherries"),
        ("a plantain on a bananaphone", "a plantain on a bananaphone"),
    ],
)  # fmt: skip
def test_the_word_is_struck_and_the_rest_still_reads(prompt, left):
    assert without(prompt, "banana") == left


def test_other_plurals_and_styles():
    assert without("some strawberries and a cup", "strawberry") == "a cup"
    assert without("two boxes on a table", "box") == "a table"
    assert without("a castle in the style of ukiyo-e", "ukiyo-e") == "a castle"


def test_no_prompt_of_orchards_names_the_concept_afterwards():
    for name in ("banana", "cup", "strawberry", "grapes"):
        concept = load_prompts(f"orchard/{name}")
        for prompt in (*concept.source, *concept.control):
            struck = without(prompt.text, name)
            assert name not in struck.split()
            others = [label for label in prompt.labels if label != name]
            assert all(label in struck for label in others)
            assert (struck == prompt.text) == (name not in prompt.text.replace(",", "").split())


def test_words_of_a_concept_are_what_only_its_source_prompts_say():
    concept = PromptSet(
        "fruit",
        source=(Prompt("a banana above a cup"), Prompt("a long curved yellow fruit"), Prompt("a plantain, on a table")),
        target=(Prompt("a cup"),),
        control=(Prompt("a yellow pear on a table"),),
        concept=Concept("banana", "a photo of a banana"),
    )
    assert concept_words([concept], "label") == ["banana"]
    assert concept_words([concept], "source") == ["banana", "long curved yellow fruit", "plantain"]


def test_projection_is_numpys_on_the_span():
    rows = torch.randn(4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    rows[3] = rows[0] + rows[1]  # no new direction
    basis, _ = np.linalg.qr(rows[:3].T.numpy())
    assert np.allclose(projection(rows).numpy(), basis @ basis.T)


def test_a_token_is_a_trigger_where_masking_it_leads_away_from_the_concept():
    concept = projection(torch.tensor([[1.0, 0.0, 0.0]]))
    masked = torch.tensor([[9.0, 1.0, 0.0], [5.0, 0.0, 1.0], [0.0, 3.0, 4.0], [0.0, 1.2, 0.0]])  # 1, 1, 5, 1.2 away
    assert triggers(masked, concept, 0.01).tolist() == [False, False, True, False]
    assert triggers(masked, concept, -0.52).tolist() == [False, False, True, True]  # 1.2 ≥ 0.48 · 7 / 3


def test_safree_moves_the_triggers_alone_by_the_closed_form(tmp_path):
    pipe = tiny_pipeline()
    technique = Safree(words="label", mask="q", tolerance=0.0)
    technique.prepare(pipe, [tiny_concept()], Conditions(), tmp_path / "x")
    prompt, count = "zzz b k", 5
    before = pipe.encode_prompt([prompt], pipe.device, 1, False)[0][0]
    with technique.applied(pipe, 1.0) as arguments:
        whole = arguments([prompt, "eee"])["prompt_embeds"][0]
    with technique.applied(pipe, 0.5) as arguments:
        half = arguments([prompt])["prompt_embeds"][0]
    # by hand, token by token
    ids = pipe.tokenizer(prompt, padding="max_length", max_length=32, return_tensors="pt").input_ids[0]
    concept_ids = pipe.tokenizer("zzz", padding="max_length", max_length=32, return_tensors="pt").input_ids
    with torch.no_grad():
        c = pipe.text_encoder(concept_ids).pooler_output[0].numpy().astype(np.float64)
        rows = []
        for index in range(count):
            own = ids.clone()
            own[index + 1] = pipe.tokenizer.convert_tokens_to_ids("q</w>")
            rows.append(pipe.text_encoder(own[None]).pooler_output[0].numpy().astype(np.float64))
    off = np.eye(32) - np.outer(c, c) / (c @ c)
    lengths = [np.linalg.norm(off @ row) for row in rows]
    chosen = [
        index for index in range(count) if lengths[index] >= np.mean([x for j, x in enumerate(lengths) if j != index])
    ]
    assert 0 < len(chosen) < count
    inside = np.array(rows).T @ np.linalg.pinv(np.array(rows).T)
    expected = before.detach().numpy().astype(np.float64)
    for index in chosen:
        expected[index + 1] = off @ inside @ expected[index + 1]
    assert np.allclose(whole.detach().numpy(), expected, atol=1e-4)
    assert torch.allclose(half, (before + whole) / 2, atol=1e-5)
    assert torch.equal(whole[count + 1 :], before[count + 1 :])


def test_a_mask_of_several_tokens_is_refused(tmp_path):
    with pytest.raises(InputError, match="no single ordinary token"):
        Safree(mask="qq").prepare(tiny_pipeline(), [tiny_concept()], Conditions(), tmp_path / "x")


def test_lists_are_joined_in_turn_and_nothing_of_a_longer_one_is_lost():
    assert alternating([["a", "b", "c"], ["x"], []]) == ["a", "x", "b", "c"]
    assert alternating([]) == []
