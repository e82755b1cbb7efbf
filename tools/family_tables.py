"""Writes docs/methods.md from the registered methods and gates; `--check` only compares.

python tools/family_tables.py          write it again
python tools/family_tables.py --check  say whether it still matches
"""

import inspect
import sys
from pathlib import Path

from pages import write_or_compare

from dsas_diffusion.gates.base import GATES
from dsas_diffusion.methods.base import METHODS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "methods.md"


def page() -> str:
    """The page, from the classes alone."""
    lines = [
        "# Steering methods and gates",
        "",
        "Written by `python tools/family_tables.py` from the classes themselves; `make check` compares. t is one "
        "position's activation with d channels, λ the strength, h the gate's score, s the site weight. What is "
        "written back is lerp(t, T(t), λ · s · h(t)).",
        "",
        "## How to steer: `method=`",
        "",
        "| name | the map T | λ = 1 | cost | needs | take it |",
        "|---|---|---|---|---|---|",
    ]
    for name, method in METHODS.items():
        _complete(method, "unit_strength", "cost", "suits")
        needs = "source and target" if method.needs_target else "source"
        needs += ", gradients through the denoiser" if method.needs_gradients else ""
        lines.append(
            f"| `{name}` | {_formula(method)} | {method.unit_strength} | {method.cost} | {needs} | {method.suits} |"
        )
    lines += [
        "",
        "## When and where: `gate=`",
        "",
        "| name | the score h | decides for each | learns places | cost | take it |",
        "|---|---|---|---|---|---|",
    ]
    for name, gate in GATES.items():
        _complete(gate, "unit", "cost", "suits")
        sees = "yes" if gate.sees_places else "no"
        lines.append(f"| `{name}` | {_formula(gate)} | {gate.unit} | {sees} | {gate.cost} | {gate.suits} |")
    return "\n".join([*lines, ""])


def _complete(named: type, *attributes: str) -> None:
    for attribute in attributes:
        if not hasattr(named, attribute):
            sys.exit(f"{named.__module__}.{named.__qualname__} has no {attribute}, which docs/methods.md tells.")


def _formula(named: type) -> str:
    first = (inspect.getdoc(named) or "").split("\n\n", 1)[0]  # docstrings begin with the formula
    return " ".join(first.split()).rstrip(".").replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(write_or_compare(PAGE, page(), "classes"))
