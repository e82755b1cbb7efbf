"""Writes the trees of README.md (folders) and docs/files.md (every file); `--check` only compares.

A Python file's line is the first line of its module docstring. What has none (folders, data) is described here.
"""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- tree: written by `make tree` -->", "<!-- end of tree -->"
#: Page → how deep its tree goes: 2 shows what lies in the package's own folder, `None` everything.
PAGES: dict[str, int | None] = {"README.md": 2, "docs/files.md": None}

# Folders shown as one line: their insides are many files of one kind.
FOLDED = {
    "benchmarks/": "Plans of sweeps, baselines, and what else is measured for docs/: costs, gates, language models.",
    "docs/": "The documentation, which `make docs` builds: guides, API, figures; `docs/files.md` has every file.",
    "dsas_diffusion/orchard/weights/": "The trained models with their cards; `figures.json` by `dsas orchard check`.",
    "examples/": "Short scripts, each run by the tests.",
    "pipelines/": "Custom pipelines for Diffusers, one file a family, and a block for Modular Diffusers.",
    "prompts/": "Prompt sets by concept, everyday English; `prompts/orchard/` in Orchard's grammar.",
    "tests/": "The tests; they mirror the package.",
}
OTHERS = {
    ".ci/run": "What every change must pass.",
    "CHANGELOG.md": "What is new for users.",
    "CONTRIBUTING.md": "How to add a method, a gate, a measure, a family; the commands; what done means.",
    "LICENSE": "Apache-2.0.",
    "mkdocs.yml": "The documentation's site: its pages and their order.",
    "Makefile": "`make setup`, `demo`, `test`, `test-full`, `test-lowest`, `check`, `format`, `tree`, `bench`, …",
    "constraints-lowest.txt": "The lowest versions that `pyproject.toml` allows, for `make test-lowest`.",
    "constraints.txt": "The versions that the set-up installs.",
    "pyproject.toml": "The package, its dependencies, and the settings of the checks.",
}


def tracked_files() -> list[str]:
    """List the files that git tracks or would take in, sorted, folders' contents together."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted({name for name in names if (ROOT / name).exists()}, key=lambda name: name.split("/"))


def first_line(path: Path) -> str:
    """Give the first line of a Python file's docstring.

    Raises:
        SystemExit: If the file has none.
    """
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        sys.exit(f"{path.relative_to(ROOT)} has no module docstring; its first line is its line in docs/files.md.")
    return docstring.splitlines()[0]


def entries(files: list[str]) -> list[tuple[str, str]]:
    """Turn paths into the tree's entries: (path, description), folders before what they hold.

    Args:
        files: Paths relative to the root, sorted.

    Returns:
        Entries in order. Packages are described by their `__init__.py`; data inside them is left out.
    """
    shown: dict[str, str] = {}
    for name in files:
        folded = next((folder for folder in FOLDED if name.startswith(folder)), None)
        if folded:
            shown[folded] = FOLDED[folded]
            continue
        if name.endswith(".py"):
            for parent in [*Path(name).parents][-2::-1]:
                package = ROOT / parent / "__init__.py"
                shown.setdefault(f"{parent.as_posix()}/", first_line(package) if package.exists() else "")
            if not name.endswith("__init__.py"):
                shown[name] = first_line(ROOT / name)
        elif name in OTHERS:
            shown[name] = OTHERS[name]
    return list(shown.items())


def render(files: list[str], depth: int | None = None) -> str:
    """Lay out the tree as a fenced block between its markers.

    Args:
        files: Paths relative to the root, sorted.
        depth: How many levels are shown; by default all.
    """
    rows = []
    for path, description in entries(files):
        bare = path.rstrip("/")
        if depth is not None and bare.count("/") >= depth:
            continue
        indent = "  " * bare.count("/") if path not in OTHERS else ""
        shown = path if path in OTHERS else bare.rsplit("/", 1)[-1] + ("/" if path.endswith("/") else "")
        rows.append((indent + shown, description))
    width = max(len(left) for left, _ in rows) + 2
    body = "\n".join(f"{left:<{width}}{description}".rstrip() for left, description in rows)
    return f"{BEGIN}\n```\n{body}\n```\n{END}"


def main() -> None:
    """Write the trees into their pages, or with `--check` fail if one is not what it should be."""
    for name, depth in PAGES.items():
        page = ROOT / name
        text = page.read_text(encoding="utf-8")
        if BEGIN not in text or END not in text:
            sys.exit(f"{name} lacks the markers {BEGIN!r} and {END!r} around its tree.")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        new = before + render(tracked_files(), depth) + after
        if "--check" not in sys.argv[1:]:
            page.write_text(new, encoding="utf-8")
        elif new != text:
            sys.exit(f"The tree in {name} does not match the tracked files and their docstrings. Run `make tree`.")


if __name__ == "__main__":
    main()
