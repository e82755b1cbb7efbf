"""The pages of the documentation, and what in them can be run: fenced Python, and commands that begin with `dsas`."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOT_RUN = re.compile(r"<!-- not run: (\S.*) -->")
FILE = re.compile(r"<!-- file: (\S+) -->")
FENCE = re.compile(r"```(\w*)$")
INLINE = re.compile(r"`(?:OMP_NUM_THREADS=1 )?dsas ((?:[a-z]+ )*[a-z]+(?: [^`]*)?)`")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: The page's path in the repository.
        line: Where its first line of text stands, from 1.
        language: What the fence says; empty where it says nothing.
        text: What is inside.
        excuse: Why it is not run, as the comment before it says; empty where it is run.
        file: Where it is to be saved, as the comment before it says; empty where it is no file.
    """

    page: str
    line: int
    language: str
    text: str
    excuse: str = ""
    file: str = ""

    @property
    def commands(self) -> list[list[str]]:
        """The words after `dsas` of each command in a block without a language."""
        if self.language:
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        return [shlex.split(line)[1:] for line in lines if line.startswith("dsas ")]

    @property
    def runs(self) -> bool:
        """Whether there is anything to run, whatever its comment says."""
        return self.language == "python" or bool(self.commands or self.file)


def pages() -> list[str]:
    """Every page, README.md first."""
    return ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    blocks: list[Block] = []
    inside, said = None, ""
    for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if inside is None and fence:
            comments = [found[1] if (found := mark.fullmatch(said)) else "" for mark in (NOT_RUN, FILE)]
            inside = (number + 1, fence[1], comments, [])
        elif inside is not None and line == "```":
            blocks.append(Block(page, inside[0], inside[1], "\n".join(inside[3]) + "\n", *inside[2]))
            inside, said = None, ""
        elif inside is not None:
            inside[3].append(line)
        elif line.strip():
            said = line.strip()
    assert inside is None, f"{page}: a fence is not closed"
    return blocks


def inline_commands(page: str) -> list[list[str]]:
    """The words after `dsas` of each command within a sentence that gives options."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [shlex.split(" ".join(words.split())) for words in INLINE.findall(text)]
