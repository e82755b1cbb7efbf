"""Recipes: what they refuse, where they steer, one end to end, killed and taken up again, blank where unmeasured."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_texts import GEMMA, SIZES, SPECIAL, tokenizer
from transformers import Gemma2Config, Gemma2ForCausalLM, Qwen2Config, Qwen2ForCausalLM

import dsas_diffusion as dsas
from dsas_diffusion import orchard
from dsas_diffusion.errors import InputError
from dsas_diffusion.gates.base import GATES
from dsas_diffusion.hooks.sites import find_sites
from dsas_diffusion.methods.base import METHODS
from dsas_diffusion.prompts import Concept
from dsas_diffusion.recipes.arena import Tried, chosen_strength, load_arena, right_answers
from dsas_diffusion.recipes.files import load_protocol, load_recipe, load_recipes, load_studies
from dsas_diffusion.recipes.material import HARMLESS, TOXIC, draw_set, hub_rows, load_material, toxigen_prompts
from dsas_diffusion.recipes.protocol import Data
from dsas_diffusion.recipes.report import Measured, figures, page, paired
from dsas_diffusion.recipes.runs import Runner, kept_cell, run_recipes
from dsas_diffusion.recipes.study_sets import divided, load_set, random_texts
from dsas_diffusion.texts.suite import TextSuite

FOLDER = Path(__file__).parents[2] / "examples" / "paper"
SIZES_HERE = {"rtp": 4, "tet": 4, "texts": 4, "questions": 4, "tuning_prompts": 4, "tuning_texts": 4}
ROW = """
title: CAA
open: nothing
method: {name: caa}
gate: {name: always}
models:
  orchard: {sites: attention, tokens: last, training: {iterations: 60}}
paper:
  orchard: [{source: somewhere, rtp: 1.5}]
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """The committed recipes with as little of everything as there can be."""
    folder = tmp_path_factory.mktemp("recipes")
    protocol = yaml.safe_load((FOLDER / "protocol.yaml").read_text())
    protocol |= {"seeds": [0, 1], "strengths": [1, 2]}
    protocol["data"]["orchard"] |= {"sizes": SIZES_HERE, "generation": {"max_new_tokens": 12}}
    (folder / "protocol.yaml").write_text(yaml.safe_dump(protocol, sort_keys=False))
    for name in ("none", "caa", "caa-dsas"):
        shutil.copy(FOLDER / f"{name}.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A run that nobody stopped."""
    out = tmp_path_factory.mktemp("out")
    return out, run_recipes(tiny, [], ["orchard"], out / "whole", out / "page.md", "cpu", progress=False)


def test_every_committed_recipe_is_read_and_its_names_exist():
    protocol, recipes = load_protocol(FOLDER / "protocol.yaml"), load_recipes(FOLDER)
    assert list(recipes) == [
        "none", "caa", "caa-dsas", "cast", "e2e-relu", "e2e-sigmoid", "iti-c", "iti-c-dsas", "linear-act",
        "linear-act-dsas", "lineas", "lineas-dsas", "mera",
    ]  # fmt: skip
    assert load_studies(FOLDER / "studies.yaml").recipe in recipes
    for name, recipe in recipes.items():
        assert set(recipe.paper) <= set(protocol.models)
        if name == "none":
            continue
        assert set(recipe.models) == set(protocol.models)
        assert recipe.method["name"] in METHODS
        assert recipe.gate["name"] in GATES
        assert (recipe.make_gate().name == "always") == (name in ("caa", "iti-c", "linear-act", "lineas"))
        assert recipe.against is None or recipes[recipe.against].method == recipe.method
    assert protocol.prompts_a_set == 32
    assert len(protocol.seeds) == 4


def test_where_recipes_steer_in_models_as_deep_as_the_papers():
    few = {**SIZES, **SPECIAL, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    few |= {"num_key_value_heads": 1}
    models = {
        "qwen2.5-1.5b": Qwen2ForCausalLM(Qwen2Config(**{**few, "num_hidden_layers": 28})),
        "gemma-2-2b": Gemma2ForCausalLM(Gemma2Config(**{**GEMMA, **few, "head_dim": 4, "num_hidden_layers": 26})),
    }
    recipes = load_recipes(FOLDER)
    counted = {
        name: [len(find_sites(model, recipes[name].place(key).sites)) for key, model in models.items()]
        for name in ("caa", "iti-c", "lineas", "cast")
    }
    # Table 11 of LinEAS counts 28 × 1536 × 2 and 52 × 2304 × 2 parameters.
    assert counted == {"caa": [28, 26], "iti-c": [28, 26], "lineas": [28, 52], "cast": [9, 8]}
    for key, model in models.items():
        (read,) = find_sites(model, recipes["cast"].place(key).read)
        assert read.kind == "text-block"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("title: CAA", "", "arguments are required: title"),
        ("title: CAA", "titel: CAA", "has the key 'titel'. Did you mean 'title'?"),
        ("name: caa", "name: cax", "no steering method 'cax'. Did you mean 'caa'?"),
        ("name: caa", "name: caa, force: 1", "'caa' does not take {'force': 1}"),
        ("name: caa", "alpha: 1", "must have a name"),
        ("gate: {name: always}", "gate: {name: allways}", "no gate 'allways'. Did you mean 'always'?"),
        ("gate: {name: always}", "", "both method and gate"),
        ("tokens: last", "tokens: lasst", "models.tokens: Expected a Literal['prompt', 'last'"),
        ("sites: attention, ", "", "arguments are required: sites"),
        ("iterations: 60", "iterations: 0", "at least 1"),
        ("iterations: 60", "iters: 60", "models.training: Option 'iters' is not accepted"),
        ("rtp: 1.5", "rpt: 1.5", "paper: Option 'rpt' is not accepted"),
        ("rtp: 1.5", "rtp: few", "few"),
        ("open: nothing", "open: nothing\ntau: high", "tau: Expected a float"),
        ("open: nothing", "open: nothing\nweighting: none", "['accuracy', 'threshold']"),
        ("open: nothing", "open: nothing\nstrengths: [2, 1]", "rising from above 0"),
        ("open: nothing", "open: nothing\nstrengths: []", "rising from above 0"),
        ("open: nothing", "open: [", "no YAML"),
    ],
)
def test_a_recipe_that_can_not_be_used_is_refused(tmp_path, before, after, told):
    path = tmp_path / "row.yaml"
    path.write_text(ROW)
    assert load_recipe(path).place("orchard").training.iterations == 60
    assert before in ROW
    path.write_text(ROW.replace(before, after))
    with pytest.raises(InputError) as error:
        load_recipe(path)
    assert told in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seeds": []}, "1 seed or more"),
        ({"seeds": [1, 1]}, "each once"),
        ({"prompts_a_set": 1}, "2 prompts or more"),
        ({"budget": -0.1}, "share from 0"),
        ({"models": {"orchard": {"id": "x", "title": "x", "data": "orchad"}}}, "Did you mean 'orchard'?"),
        ({"models": {"orchard": {"id": "x", "title": "x", "data": "orchard", "precision": "int3"}}}, "float32"),
        ({"sizes": {**SIZES_HERE, "rtp": 0}}, "rtp=0"),
        ({"columns": {"rtp": "a"}}, "all of rtp, tet, perplexity, mmlu"),
        ({"kind": "cloud"}, "'hub', 'orchard'"),
        ({"max_tokens": 3}, "max_tokens"),
    ],
)
def test_a_protocol_that_can_not_be_used_is_refused(tiny, tmp_path, change, told):
    protocol = yaml.safe_load((tiny / "protocol.yaml").read_text())
    key = next(iter(change))
    (protocol if key in protocol else protocol["data"]["orchard"]).update(change)
    (tmp_path / "protocol.yaml").write_text(yaml.safe_dump(protocol, sort_keys=False))
    with pytest.raises(InputError) as error:
        load_protocol(tmp_path / "protocol.yaml")
    assert told in str(error.value)


def test_names_that_are_not_there_are_refused(tiny, tmp_path):
    with pytest.raises(InputError, match=r"no recipe 'ca'.*Did you mean 'caa'"):
        load_recipes(tiny, ["ca"])
    with pytest.raises(InputError, match=r"no model 'orchid'.*Did you mean 'orchard'"):
        run_recipes(tiny, [], ["orchid"], tmp_path / "out")
    with pytest.raises(InputError, match="says nothing of the model 'llama'"):
        load_recipe(tiny / "caa.yaml").place("llama")
    shutil.copy(tiny / "caa-dsas.yaml", tmp_path)
    with pytest.raises(InputError, match="to be compared with 'caa', which is not"):
        load_recipes(tmp_path)
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match="no keys and values"):
        load_recipe(tmp_path / "list.yaml")
    with pytest.raises(InputError, match="Can't read"):
        load_recipe(tmp_path / "nowhere.yaml")
    assert not (tmp_path / "out").exists()


def test_the_strength_is_the_one_that_removes_most_within_the_budget():
    tried = [Tried(0.5, 0.4, 1.0), Tried(1.0, 0.1, 1.02), Tried(2.0, 0.1, 1.04), Tried(3.0, 0.0, 1.06)]
    assert chosen_strength(tried, 0.05) == (1.0, True)
    assert chosen_strength(tried, 0.06) == (3.0, True)
    assert chosen_strength([Tried(1.0, 0.1, 1.3), Tried(2.0, 0.0, 1.2)], 0.05) == (2.0, False)


def test_rows_are_measured_and_unmeasured_models_stay_blank(whole, tiny):
    out, told = whole
    assert (out / "page.md").read_text() == (out / "whole" / "report.md").read_text() == told
    kept = json.loads((out / "page.json").read_text())
    assert {name: each["machine"] is None for name, each in kept["models"].items()} == {
        "qwen2.5-1.5b": True, "gemma-2-2b": True, "orchard": False,
    }  # fmt: skip
    qwen, _, here = told.split("\n## ")[1:4]
    assert "Nothing was measured here." in qwen
    assert "| unsteered |  |  |  |  |  | 3.00 | 23.09 |  | 13.67 | 60.95 | arXiv 2503.10679, table 1 |" in qwen
    assert "| CAA + DSAS |  |  |  |  |  |  |  | 8.64 |  | 59.84 | arXiv 2512.03661" in qwen
    assert "stands in for the paper's" in here
    assert "paper" not in here.partition("| row |")[2].partition("\n")[0]
    rows = {row["row"]: row for row in kept["models"]["orchard"]["rows"]}
    cells = [json.loads((out / "whole" / "orchard" / "cells" / f"caa-dsas-{seed}.json").read_text()) for seed in (0, 1)]
    for measure, scale in (("rtp", 100), ("tet", 100), ("perplexity", 1), ("mmlu", 100)):
        values = [cell["each"][measure] for cell in cells]
        assert np.shape(values) == (2, 4)
        assert rows["caa-dsas"]["measures"][measure]["mean"] == pytest.approx(scale * np.mean(values))
    assert rows["none"]["measures"]["rtp"]["mean"] > rows["caa-dsas"]["measures"]["rtp"]["mean"]
    assert set(rows["caa-dsas"]["against"]) == {"rtp", "tet", "perplexity", "mmlu"}
    assert rows["caa"]["against"] == {}
    assert all(strength in (1, 2) for strength in rows["caa"]["strengths"])
    assert cells[0]["sites"] >= 1


def test_a_row_alone_leaves_the_others_blank(whole, tiny):
    recipes = load_recipes(tiny)
    out, _ = whole
    cell = kept_cell(out / "whole" / "orchard", "none", recipes["none"], 0)
    measured = Measured({"none": [cell]}, "here")
    found = {row["row"]: row for row in figures(recipes, measured)}
    assert found["caa"]["measures"] == {}
    assert found["none"]["measures"]["rtp"]["over_seeds"] is None
    blank = Measured({})
    told = page(
        load_protocol(tiny / "protocol.yaml"),
        recipes,
        {"qwen2.5-1.5b": blank, "gemma-2-2b": blank, "orchard": measured},
        "a command",
    )
    assert "| CAA |  |  |  |  |  |" in told.rpartition("## Orchard")[2]


def test_paired_differences_take_the_seeds_that_both_have():
    one = [{"seed": 0, "each": {"rtp": [1.0, 0.0]}}, {"seed": 1, "each": {"rtp": [1.0, 1.0]}}]
    two = [{"seed": 1, "each": {"rtp": [0.0, 1.0]}}, {"seed": 2, "refused": "no"}]
    assert paired(one, two, "rtp").mean == 50.0
    assert paired(one, [], "rtp") is None


class Killed:
    """Orchard's judge, that ends the process after so many calls."""

    name = "rudeness"

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self, texts):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return orchard.rudeness(texts)


def test_killed_half_way_and_started_again_it_gives_the_same_table(whole, tiny, tmp_path):
    out, told = whole
    protocol, recipes = load_protocol(tiny / "protocol.yaml"), load_recipes(tiny)
    arena = load_arena(protocol, "orchard", "cpu")
    stopped = replace(arena, classifier=Killed(8))
    with pytest.raises(KeyboardInterrupt):
        Runner(stopped, protocol, "orchard", tmp_path / "orchard").run(recipes, protocol.seeds, progress=False)
    done = sorted(path.name for path in (tmp_path / "orchard" / "cells").iterdir())
    assert 0 < len(done) < 6
    again = run_recipes(tiny, [], ["orchard"], tmp_path, out / "page.md", "cpu", progress=False)
    assert again == told
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "orchard" / "cells").iterdir()}
    assert len(finished) == 6
    run_recipes(tiny, ["caa"], ["orchard"], tmp_path, None, "cpu", progress=False)
    assert finished == {path: path.stat().st_mtime_ns for path in (tmp_path / "orchard" / "cells").iterdir()}


def test_what_was_made_by_another_recipe_is_refused(whole, tiny, tmp_path):
    out, _ = whole
    recipes = load_recipes(tiny)
    changed = replace(recipes["caa"], tau=0.9)
    with pytest.raises(InputError, match="not made by the recipe 'caa' as it is now"):
        kept_cell(out / "whole" / "orchard", "caa", changed, 0)
    assert replace(recipes["caa"], open="other words").digest == recipes["caa"].digest
    protocol = replace(load_protocol(tiny / "protocol.yaml"), budget=0.5)
    with pytest.raises(InputError, match="another budget"):
        Runner(load_arena(protocol, "orchard", "cpu"), protocol, "orchard", out / "whole" / "orchard").run(recipes, [0])


def test_a_row_that_nothing_can_be_learned_for_says_so(tiny, tmp_path):
    protocol = load_protocol(tiny / "protocol.yaml")
    recipe = replace(load_recipe(tiny / "caa-dsas.yaml"), tau=1.0, against=None)
    place = replace(recipe.place("orchard"), sites="model.layers.0.self_attn")
    recipe = replace(recipe, models={"orchard": place})
    runner = Runner(load_arena(protocol, "orchard", "cpu"), protocol, "orchard", tmp_path)
    runner.run({"caa-dsas": recipe}, [0], progress=False)
    cell = kept_cell(tmp_path, "caa-dsas", recipe, 0)
    assert "No site tells" in cell["refused"]
    blank = Measured({})
    models = {"qwen2.5-1.5b": blank, "gemma-2-2b": blank, "orchard": Measured({"caa-dsas": [cell]}, "here")}
    assert "No site tells" in page(protocol, {"caa-dsas": recipe}, models, "")
    wrong = replace(recipe, models={"orchard": replace(place, sites="encoder.*")})
    with pytest.raises(InputError, match="matches nothing"):
        runner.run({"caa-dsas": wrong}, [1], progress=False)


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Data:
    """Files with the fields of the hub's data sets."""
    folder = tmp_path_factory.mktemp("hub")
    rtp = [{"prompt": {"text": f"rtp text {i}", "toxicity": None if i == 0 else i / 60}} for i in range(60)]
    tet = [{"query": f"tet query {i}", "metrics": ["TOXICITY"] if i % 2 else ["INSULT"]} for i in range(10)]
    toxigen = [{"text": f"toxigen text {i}", "toxicity_human": 1.0 + i % 5} for i in range(30)]
    lines = [{"text": text} for text in ("", " = Heading = ", *(f"line {i} " + "word " * 30 for i in range(12)))]
    named = {"rtp": rtp, "tet": tet, "toxigen": toxigen, "texts": lines[:8], "tuning_texts": lines[8:]}
    for name, rows in named.items():
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    data = load_protocol(FOLDER / "protocol.yaml").data["hub"]
    sizes = replace(data.sizes, rtp=6, tet=3, texts=5, tuning_prompts=4, tuning_texts=2)
    sources = {name: str(folder / f"{name}.jsonl") for name in named}
    return replace(data, sizes=sizes, sources=sources, tokens_of_texts=7)


@pytest.mark.later
def test_material_of_the_hub_keeps_its_parts_apart(hub):
    found = load_material(hub, tokenizer())
    parts = [*found.pool.values(), found.tuning, found.heldout["rtp"]]
    texts = [text for part in parts for text in part]
    assert len(set(texts)) == len(texts)
    assert (len(found.heldout["rtp"]), len(found.tuning), len(found.heldout["tet"])) == (6, 4, 3)
    toxicity = {f"rtp text {i}": i / 60 for i in range(1, 60)}
    assert all(toxicity[text] >= TOXIC for text in found.pool["source"])
    assert all(toxicity[text] <= HARMLESS for group in ("target", "control") for text in found.pool[group])
    assert all(int(text.split()[-1]) % 2 for text in found.heldout["tet"])
    assert (len(found.texts), len(found.tuning_texts)) == (5, 2)
    assert all(len(tokenizer()(text, add_special_tokens=False)["input_ids"]) <= 7 for text in found.texts)
    assert found.heldout == load_material(hub, tokenizer()).heldout
    drawn = [found.drawn(3, seed) for seed in (0, 0, 1)]
    assert drawn[0].digest == drawn[1].digest != drawn[2].digest
    with pytest.raises(InputError, match="source prompts to draw from, but 50"):
        found.drawn(50, 0)
    with pytest.raises(InputError, match="holds 59 different prompts"):
        load_material(replace(hub, sizes=replace(hub.sizes, rtp=60)), tokenizer())


@pytest.mark.later
def test_sets_of_the_hub_for_studies(hub):
    rated = toxigen_prompts(hub.source("toxigen"))
    assert {int(text.split()[-1]) % 5 for text in rated["source"]} == {3, 4}
    assert {int(text.split()[-1]) % 5 for text in rated["control"]} == {0, 1}
    for source in ("rtp", "toxigen"):
        found = load_set(source, source, hub, 2, 2)
        parts = [*found.pool.values(), found.tuning, *found.heldout.values()]
        texts = [text for part in parts for text in part]
        assert len(set(texts)) == len(texts)
        assert all(parts)
    with pytest.raises(InputError, match="rtp and toxigen"):
        load_set("jigsaw", "jigsaw", hub, 2, 2)
    with pytest.raises(InputError, match="nothing is left to learn from"):
        divided("few", Concept("a", "a"), ["a", "b"], ["c", "d"], 1, 1)
    halves = [text for part in random_texts(hub, tokenizer(), 3, 4) for text in part]
    assert len(halves) == len(set(halves)) == 7
    with pytest.raises(InputError, match="different random texts, but 50"):
        random_texts(hub, tokenizer(), 3, 50)


@pytest.mark.later
def test_data_that_can_not_be_loaded_are_refused(hub, tmp_path):
    with pytest.raises(InputError, match="has no field 'query'"):
        hub_rows(hub.source("rtp"), "query")
    with pytest.raises(InputError, match="could not be loaded"):
        hub_rows(str(tmp_path / "nothing.jsonl"), "text")
    with pytest.raises(InputError, match="could not be loaded"):
        hub_rows("allenai/real-toxicity-prompts", "prompt")  # no network while testing
    with pytest.raises(InputError, match="no source 'jigsaw'"):
        hub.source("jigsaw")


def test_orchards_material_is_drawn_from_larger_sets(tiny):
    data = load_protocol(tiny / "protocol.yaml").data["orchard"]
    found = load_material(data, None)
    assert {len(texts) for texts in found.pool.values()} == {96}
    heldout = dsas.load_prompts("orchard/rudeness")
    judged = {text for group in heldout.groups() if "_" in group for text in heldout.texts(group)}
    assert not judged & {text for texts in found.pool.values() for text in texts}
    drawn = draw_set("a", found.concept, found.pool, 32, 0)
    assert len(set(drawn.texts("source"))) == 32


def test_right_answers_of_tasks_are_those_of_all_their_questions():
    suite = TextSuite(tasks=["a", "b"])
    told = {"tasks": {"a": {"acc,none": [1.0, 0.0]}, "b": {"acc,none": [1.0]}}}
    assert right_answers(suite, told) == [1.0, 0.0, 1.0]
    with pytest.raises(InputError, match="has no accuracy"):
        right_answers(suite, {"tasks": {"a": {"bleu,none": [1.0]}}})


@pytest.mark.full
def test_the_scripts_run_as_their_first_lines_say(tiny, tmp_path):
    def told(script: str, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, FOLDER / script, *words, "--recipes", tiny, "--out", tmp_path / "out"],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    done = told("run.py", "none", "--model", "orchard", "--page", str(tmp_path / "page.md"))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.md").read_text()
    assert done.stdout.strip() == page.strip()
    assert f"OMP_NUM_THREADS=1 python examples/paper/run.py none --model orchard --page {tmp_path / 'page.md'}" in page
    wrong = told("run.py", "nobody", "--model", "orchard")
    assert wrong.returncode == 1
    assert wrong.stderr.splitlines()[-1].startswith("run.py: There is no recipe 'nobody'")
    assert "study.py: Can't read" in told("study.py", "--model", "orchard").stderr
