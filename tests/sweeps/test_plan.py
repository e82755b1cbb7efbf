"""Plans: what can be refused before hours of work is refused, in one paragraph."""

from pathlib import Path

import pytest
from small_sweep import PLAN

from dsas_diffusion import InputError
from dsas_diffusion.sweeps.grid import Grid
from dsas_diffusion.sweeps.plan import load_plan


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as found:
        load_plan(path)
    assert "\n" not in str(found.value)
    return str(found.value)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("seeds: 1", "seed: 1", "has the key 'seed'. Did you mean 'seeds'?"),
        ("seeds: 1", "seeds: 0", "accepted are 1 to 100 seeds"),
        ("kept: 2", "keep: 2", "keep"),
        ("method: caa, gate: always", "method: cca, gate: always", "no steering method 'cca'. Did you mean 'caa'?"),
        ("method: caa, gate: always", "methode: caa", "has no setting 'methode'. Did you mean 'method'?"),
        ("gate: always, prompts: 6", "gate: always, gate_settings: {tau: 1}", "always has no setting 'tau'"),
        ("{settings: {method: caa, gate: always, prompts: 6}", "{use: benchmarks.nothing:There", "can't be imported"),
        ("{settings: {method: caa, gate: always, prompts: 6}", "{use: nothing", "There is no technique 'nothing'"),
        ("{settings: {method: caa, gate: always, prompts: 6}", "{use: pathlib:Path", "is no finished Technique"),
        ("[orchard/banana]", "[orchard/bananna]", "There is no prompt set 'orchard/bananna'"),
        ("[orchard/banana]}", "[orchard/banana], techniques: [gatd]}", "no technique 'gatd'. Did you mean 'gated'?"),
        ("[orchard/banana]", "[]", "concepts is empty"),
        ("[orchard/banana]}", "[orchard/banana], cases: nowhere.jsonl}", "nowhere.jsonl"),
        ("gate: always, prompts: 6", "gate: always, fit_settings: {seed: 1}", "fit has no setting 'seed'"),
        ("around: [0.5, 1.0]", "around: [1.0, 0.5]", "rising"),
        ("lowest: 1.0", "lowest: 9.0", "the highest not below the lowest"),
        ("  banana:", "  ba/nana:", "can't be a file's name"),
        ("heldout: 5", "heldout: 0", "accepted are 1 to 1000"),
        ("heldout: 5", "heldout: 1001", "accepted are 1 to 1000"),
        ("title: A small sweep", "title: [", "is no YAML"),
        ("clip: none", "clip: none\nbackbone: clip", "backbone is clip, but clip is none"),
    ],
)  # fmt: skip
def test_what_can_be_known_at_the_start_is_said_there(tmp_path, before, after, said):
    assert before in PLAN
    assert said in refused(tmp_path, PLAN.replace(before, after, 1))


def test_a_plan_is_read_whole(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    plan = load_plan(path)
    assert plan.units() == [("banana", "gated"), ("banana", "vanilla")]
    assert plan.grid == Grid(lowest=1.0, highest=4.0, around=[0.5, 1.0])
    assert plan.grid.search() == [1.0, 2.0, 4.0]
    assert [len(prompts) for prompts in plan.tasks["banana"].heldout(5).values()] == [5, 5, 5]
    assert plan.techniques["vanilla"].title == "CAA alone"


def test_a_detector_that_does_not_know_the_concept_is_said_before_the_start(tmp_path, capsys):
    from dsas_diffusion.cli import main

    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.replace("[orchard/banana]}", "[orchard/banana], labels: [bananna]}"))
    assert main(["sweep", "--plan", str(path), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    assert "knows no 'bananna'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
