"""The committed plans: each loads, and holds what its title says."""

from pathlib import Path

import pytest

from dsas_diffusion.demo.figures import GENERATIONS
from dsas_diffusion.methods.base import METHODS
from dsas_diffusion.orchard.world import OBJECTS
from dsas_diffusion.sweeps.plan import STEERING, load_plan

ROOT = Path(__file__).resolve().parents[2]
PLANS = sorted((ROOT / "benchmarks" / "plans").glob("*.yaml"))


@pytest.fixture(autouse=True)
def at_the_repositorys_top(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def plan_of(name):
    return load_plan(ROOT / "benchmarks" / "plans" / f"{name}.yaml")


def test_there_are_plans():
    assert len(PLANS) >= 8


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_plan_loads_and_uses_all_its_techniques_under_titles_of_their_own(path):
    plan = load_plan(path)
    assert {technique for _, technique in plan.units()} == set(plan.techniques)
    titles = [entry.title for entry in plan.techniques.values()]
    assert len(set(titles)) == len(titles)
    assert all(0 < len(title) <= 24 for title in titles)
    assert plan.generation == GENERATIONS["dit" if plan.pipeline == "orchard/dit" else "unet"]


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_task_has_as_many_prompts_as_its_plan_draws(path):
    plan = load_plan(path)
    for task in plan.tasks.values():
        assert {len(found) for found in task.heldout(plan.pictures.heldout).values()} == {plan.pictures.heldout}
        assert {len(found) for found in task.tuning(plan.pictures.tuning).values()} == {plan.pictures.tuning}


def test_the_family_has_every_method_with_its_gate_and_without():
    entries = plan_of("family").techniques.values()
    assert sorted((entry.settings["method"], entry.settings["gate"]) for entry in entries) == sorted(
        (method, gate) for method in METHODS for gate in ("patch", "always")
    ), "add METHOD-patch and METHOD-always to benchmarks/plans/family.yaml"


def test_all_objects_are_there():
    assert tuple(plan_of("objects").tasks) == OBJECTS


def test_the_default_of_the_sensitivity_study_is_every_other_ones_but_for_one_setting():
    plan = plan_of("sensitivity")
    base = plan.techniques["default"].make().__dict__
    values = {"components": 20, "core": 1.0, "tau": 0.75}
    for name, entry in plan.techniques.items():
        changed = {key for key, value in entry.make().__dict__.items() if value != base[key]}
        expected = {
            "default": set(),
            "prompts": {"prompts"},
            "components": {"gate_settings"},
            "core": {"gate_settings"},
            "tau": {"fit_settings"},
            "gamma": {"method", "gate", "training"},
            "swapped": {"swapped"},
            "control": {"control"},
        }[name.split("-")[0]]
        assert changed == expected, name
        for setting in (entry.settings.get("gate_settings", {}), entry.settings.get("fit_settings", {})):
            assert all(values[key] != value for key, value in setting.items())


def test_only_the_oracle_and_rivals_are_no_steering():
    plan = plan_of("unet")
    rivals = {name for name, entry in plan.techniques.items() if entry.use != STEERING}
    assert rivals == {"negative-prompt", "sld", "safree", "uce", "esd", "lora-slider", "word-removal"}
    assert {name for name, entry in plan.techniques.items() if entry.make().oracle} == {"word-removal"}
