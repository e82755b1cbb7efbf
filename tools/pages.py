"""Pages that a tool writes, and that `make check` compares with what it would write."""

import sys
from pathlib import Path


def write_or_compare(page: Path, text: str, source: str) -> int:
    """Write a page; with `--check` on the command line compare it instead.

    Args:
        page: The file.
        text: What belongs into it.
        source: What it is written from, for the message.

    Returns:
        The exit status: 1 if the page is not what it should be.
    """
    if "--check" not in sys.argv[1:]:
        page.write_text(text, encoding="utf-8")
        return 0
    if page.is_file() and page.read_text(encoding="utf-8") == text:
        return 0
    print(f"{page.name} does not match the {source}: run python tools/{Path(sys.argv[0]).name}")
    return 1
