"""Writes docs/errors.md from every message of an `InputError` in the package; `--check` only compares.

python tools/error_page.py          write it again
python tools/error_page.py --check  say whether it still matches
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from error_topics import TOPICS, Topic
from pages import write_or_compare

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "dsas_diffusion"
PAGE = ROOT / "docs" / "errors.md"
#: What makes an error of one paragraph → which argument its message is.
MAKERS = {"InputError": 0, "UnknownNameError": 0, "DivergedError": 0, "refuse": None}
#: What stands where a message varies.
VARIES = "…"
HEAD = """# Errors

Written by `python tools/error_page.py` from the messages themselves; `make check` compares.

Whatever you hand in that can't be used raises `dsas_diffusion.InputError`, a `ValueError` with one paragraph: which
argument or file, what came, what is accepted, what to do. Commands print it behind `dsas:` and end with status 2. Every
message is below, under what it is about: its first sentence as it is printed, with … where it varies, and what it says
next. Search the page for a few of its words.
"""


@dataclass(frozen=True)
class Message:
    """A place where an error is made.

    Args:
        file: In the package.
        line: In the file, from 1.
        text: What is said, with … where it varies.
    """

    file: str
    line: int
    text: str

    @property
    def beginning(self) -> str:
        """The first sentence, as it is printed."""
        return self._halves()[0]

    @property
    def rest(self) -> str:
        """What follows it; empty if nothing does."""
        return self._halves()[1]

    def _halves(self) -> tuple[str, str]:
        for end in (". ", f".{VARIES} "):
            first, found, rest = self.text.partition(end)
            if found:
                return first + found.rstrip(), rest
        return self.text, ""


def messages(package: Path = PACKAGE) -> list[Message]:
    """Every message of an `InputError`, by file and line.

    Args:
        package: Folder of the package.
    """
    found = []
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node, around in _calls(tree, None):
            called = node.func
            name = (
                called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
            )
            if name in MAKERS and node.args and not (name == "InputError" and _makes_rows(around)):
                found.append(
                    Message(path.relative_to(package).as_posix(), node.lineno, _said(node, name, around, tree))
                )
    return sorted(found, key=lambda each: (each.file, each.line))


def _calls(tree: ast.AST, around: ast.AST | None) -> Iterator[tuple[ast.Call, ast.AST | None]]:
    """Every call, with the function that it stands in."""
    for child in ast.iter_child_nodes(tree):
        inside = child if isinstance(child, ast.FunctionDef) else around
        if isinstance(child, ast.Call):
            yield child, inside
        yield from _calls(child, inside)


def _makes_rows(around: ast.AST | None) -> bool:
    return isinstance(around, ast.FunctionDef) and around.name == "refuse"  # the rows' own, listed where it is called


def _said(node: ast.Call, name: str, around: ast.AST | None, tree: ast.AST) -> str:
    if name == "refuse":  # a row of a file says where it stands first
        told = ". ".join(_text(arg, around, tree) for arg in node.args)
        return " ".join(f"{VARIES}, line {VARIES}: {told}".split())
    return " ".join(_text(node.args[MAKERS[name] or 0], around, tree).split())


def _text(node: ast.AST, around: ast.AST | None, tree: ast.AST) -> str:
    """The text of an expression, with … for what is known only when it runs."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (_text(part, around, tree) if isinstance(part, ast.Constant) else VARIES for part in node.values)
        return "".join(parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, around, tree) + _text(node.right, around, tree)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):  # a function of the same file
        for made in ast.walk(tree):
            if isinstance(made, ast.FunctionDef) and made.name == node.func.id:
                return next((_text(end.value, made, tree) for end in ast.walk(made)
                             if isinstance(end, ast.Return) and end.value), VARIES)  # fmt: skip
    return VARIES


def topic_of(message: Message, topics: tuple[Topic, ...] = TOPICS) -> Topic | None:
    """The topic that a message belongs to: one that names its words before one that names its file.

    Args:
        message: The message.
        topics: All topics.
    """
    for words in (True, False):
        for topic in topics:
            for place in topic.places:
                file, colon, part = place.partition(": ")
                if bool(colon) == words and fnmatchcase(message.file, file) and part in message.text:
                    return topic
    return None


def page() -> str:
    """The page.

    Raises:
        SystemExit: If a message belongs to no topic.
    """
    by_topic: dict[Topic, list[Message]] = {topic: [] for topic in TOPICS}
    for message in messages():
        topic = topic_of(message)
        if topic is None:
            raise SystemExit(
                f"{message.file}, line {message.line}: tools/error_topics.py has no topic for this message."
            )
        by_topic[topic].append(message)
    lines = [HEAD]
    for topic, its in by_topic.items():
        told = dict.fromkeys(_entry(message) for message in its if message.text.strip(f"{VARIES}: "))
        lines += [f"## {topic.title}", "", topic.why, "", *told, ""]
    return "\n".join(lines)


def _entry(message: Message) -> str:
    fence = "``" if "`" in message.beginning else "`"
    inner = (
        f" {message.beginning} " if message.beginning[0] == "`" or message.beginning[-1] == "`" else message.beginning
    )
    return f"- {fence}{inner}{fence} {message.rest.replace('<', '&lt;')}".rstrip()


if __name__ == "__main__":
    sys.exit(write_or_compare(PAGE, page(), "messages"))
