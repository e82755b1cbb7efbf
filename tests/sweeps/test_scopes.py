"""Which tasks are pooled, which techniques stand in a pool, and which are shown in colours."""

import pytest
from made_sweep import TECHNIQUES, write_sweep

from dsas_diffusion.sweeps.findings import findings, without_gate
from dsas_diffusion.sweeps.folder import read_sweep
from dsas_diffusion.sweeps.report_fronts import emphasis
from dsas_diffusion.sweeps.report_parts import parts
from dsas_diffusion.sweeps.report_text import markdown
from dsas_diffusion.sweeps.scopes import headlines, scopes

TASKS = {
    "banana": {"concepts": ["orchard/banana"]},
    "apple": {"concepts": ["orchard/apple"]},
    "cup": {"concepts": ["orchard/cup"], "techniques": ["vanilla", "patch"]},
    "blur": {"concepts": ["orchard/banana"], "towards": "orchard/blur"},
    "book": {"concepts": ["orchard/book"], "techniques": ["patch", "vanilla"]},
}


@pytest.fixture
def made(tmp_path):
    small = {"tuning": 2, "heldout": 2, "kept": 0}
    more = {"other": {"settings": {"method": "mean_act", "gate": "patch"}}}
    write_sweep(tmp_path, tasks=TASKS, techniques={**TECHNIQUES, **more}, pictures=small, seeds=1, drawn=False)
    return tmp_path


def test_pooled_are_tasks_for_the_same_techniques_and_towards_the_same(made):
    found = scopes(read_sweep(made))
    assert [scope.tasks for scope in found] == [
        ("banana", "apple"), ("cup", "book"), ("banana",), ("apple",), ("cup",), ("blur",), ("book",)]  # fmt: skip
    assert [scope.pooled for scope in found] == [True, True, *[False] * 5]
    assert found[1].techniques == ("patch", "vanilla")
    assert found[0].techniques == (*TECHNIQUES, "other")
    assert [scope.name for scope in headlines(found)] == ["banana, apple together", "cup, book together", "blur"]
    assert len({scope.name for scope in found}) == len(found)


def test_a_technique_is_in_a_pool_once_it_is_finished_on_all_its_tasks(made):
    (made / "units" / "apple" / "rival" / "unit.json").unlink()
    pooled, _, banana, apple, *_ = scopes(read_sweep(made))
    assert pooled.waiting == apple.waiting == ("rival",)
    assert "rival" not in pooled.techniques
    assert "rival" in banana.techniques


def test_colours_are_of_the_chosen_one_its_open_twin_and_rivals_first(made):
    sweep = read_sweep(made)
    assert [without_gate(sweep, name) for name in ("patch", "other")] == ["vanilla", None]
    found = findings(sweep, resamples=20)
    order = list(emphasis(found))
    best = found["scopes"][0]["best"]
    assert best in ("patch", "other")
    assert order[0] == best
    rest = ["vanilla"] if best == "patch" else []
    assert order[1 : 1 + len(rest)] == rest
    assert order[1 + len(rest) : 3 + len(rest)] == [
        "rival",
        "told",
    ]  # the one that is told in words comes last of these
    assert sorted(order) == sorted([*TECHNIQUES, "other"])
    assert list(emphasis(found).values()) == [0, 1, 2, 3, 4]


def test_what_a_concept_is_to_become_is_told_by_sharpness(made):
    sweep = read_sweep(made)
    text = markdown("Blur", parts(sweep, findings(sweep, resamples=20)), "blur_files")
    blur = text.partition("### Blur\n")[2].partition("## What was compared")[0]
    assert "to become what orchard/blur says" in blur
    assert "| sharpness inside | sharpness outside |" in blur
    assert "sharpness" not in text.partition("### Blur\n")[0]
