"""Writes docs/compatibility.md from what the tests of compatibility declare; `--check` only compares.

python tools/compatibility.py          write it again
python tools/compatibility.py --check  say whether it still matches
"""

import ast
import sys
from pathlib import Path

from pages import write_or_compare

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "compatibility"
COMPILED = ROOT / "tests" / "compiled" / "cases.py"
ZOO = ROOT / "tests" / "zoo"
PAGE = ROOT / "docs" / "compatibility.md"


def page() -> str:
    """The page, from the tests' own words; none of them is run."""
    words = constants(tree_of(TESTS / "__init__.py"))
    lines = [
        "# What works with what",
        "",
        "Written by `python tools/compatibility.py` from the tests in `tests/compatibility` and "
        "`tests/compiled`; `make check` compares. Each line is a test that runs on tiny pipelines of the real classes, "
        "on a processor; the names under *tried on* are those of `tests/zoo`. Either order means: attached before the "
        "feature is switched on or after it, the pictures are the same, λ = 0 draws bit for bit what is drawn without "
        "a steerer, and after detaching nothing is left.",
    ]
    found = [entry for path in [*sorted(TESTS.glob("test_*.py")), COMPILED] for entry in declared(path)]
    for part in words["PARTS"]:
        lines += ["", f"## {part}", "", "| what | how it goes | tried on | test |", "|---|---|---|---|"]
        for said, test in found:
            if said[0] == part:
                families = said[3] if len(said) > 3 else "sd"
                lines.append(f"| {said[1]} | {said[2]} | {', '.join(families.split())} | `{test}` |")
    lines += [
        "",
        "## Families",
        "",
        words["FAMILIES"][0],
        "",
        ", ".join(f"`{name}`" for name in families_of(ZOO)) + ".",
    ]
    lines += ["", "## Not tried", "", *(f"- {what}" for what in words["NOT_TRIED"])]
    if lost := sorted({said[0] for said, _ in found} - set(words["PARTS"])):
        sys.exit(f"PARTS in tests/compatibility/__init__.py lacks {', '.join(lost)}, of which tests speak.")
    return "\n".join([*lines, ""])


def families_of(folder: Path) -> list[str]:
    """The functions that make a tiny pipeline of a family, by name."""
    return sorted(
        node.name
        for path in folder.glob("*.py")
        for node in tree_of(path).body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(d, ast.Call) and ast.unparse(d.func) == "family" for d in node.decorator_list)
    )


def declared(path: Path) -> list[tuple[list[str], str]]:
    """What each test of a file says with `@works` or `@shows`, with its name, in the order of the file.

    Raises:
        SystemExit: If a test says nothing.
    """
    found = []
    for test in tree_of(path).body:
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
            said = [
                d for d in test.decorator_list if isinstance(d, ast.Call) and ast.unparse(d.func) in ("works", "shows")
            ]
            if not said:
                sys.exit(f"{test.name} doesn't say with @works or @shows what it shows.")
            found.append(([ast.literal_eval(word) for word in said[0].args], f"{path.name}::{test.name}"))
    return found


def constants(tree: ast.Module) -> dict[str, tuple[str, ...]]:
    """What a module sets by name."""
    return {ast.unparse(n.targets[0]): ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign)}


def tree_of(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(write_or_compare(PAGE, page(), "tests"))
