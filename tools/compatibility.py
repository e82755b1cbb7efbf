"""Writes docs/compatibility.md from what the tests of compatibility declare; `--check` only compares.

python tools/compatibility.py          write it again
python tools/compatibility.py --check  say whether it still matches
"""

import ast
import sys
from pathlib import Path

from pages import write_or_compare

ROOT = Path(__file__).resolve().parent.parent
TESTS = [ROOT / "tests" / name for name in ("test_compatibility.py", "compiled/cases.py")]
PAGE = ROOT / "docs" / "compatibility.md"


def page() -> str:
    """The page, from the tests' own words; none of them is run."""
    trees = [ast.parse(tests.read_text(encoding="utf-8")) for tests in TESTS]
    lines = [
        "# What works with what",
        "",
        "Written by `python tools/compatibility.py` from the tests in `tests/test_compatibility.py` and "
        "`tests/compiled`; `make check` compares. Each line is a test that runs on tiny pipelines of the real classes, "
        "on a processor; the names under *tried on* are those of `tests/zoo`. Either order means: attached before the "
        "feature is switched on or after it, the pictures are the same, λ = 0 draws bit for bit what is drawn without "
        "a steerer, and after detaching nothing is left.",
    ]
    part = ""
    for said, test in [entry for tree in trees for entry in declared(tree)]:
        if said[0] != part:
            part = said[0]
            lines += ["", f"## {part}", "", "| what | how it goes | tried on | test |", "|---|---|---|---|"]
        families = said[3] if len(said) > 3 else "sd"
        lines.append(f"| {said[1]} | {said[2]} | {', '.join(families.split())} | `{test}` |")
    assigned = {ast.unparse(n.targets[0]): n.value for n in trees[0].body if isinstance(n, ast.Assign)}
    lines += ["", "## Not tried", "", *(f"- {what}" for what in ast.literal_eval(assigned["NOT_TRIED"]))]
    return "\n".join([*lines, ""])


def declared(tree: ast.Module) -> list[tuple[list[str], str]]:
    """What each test says with `@works` or `@shows`, with its name, part by part in the order of the file.

    Raises:
        SystemExit: If a test says nothing.
    """
    found = []
    for test in tree.body:
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
            said = [
                d for d in test.decorator_list if isinstance(d, ast.Call) and ast.unparse(d.func) in ("works", "shows")
            ]
            if not said:
                sys.exit(f"{test.name} doesn't say with @works or @shows what it shows.")
            found.append(([ast.literal_eval(word) for word in said[0].args], test.name))
    parts = list(dict.fromkeys(said[0] for said, _ in found))
    return sorted(found, key=lambda entry: parts.index(entry[0][0]))


if __name__ == "__main__":
    sys.exit(write_or_compare(PAGE, page(), "tests"))
