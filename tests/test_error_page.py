"""Every message of an error that a user can meet stands on the page of errors, and has a topic."""

import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import error_page
    finally:
        sys.path.remove(str(ROOT / "tools"))
    return error_page


def test_every_message_has_a_topic(tool):
    """A new file of the package needs a place in tools/error_topics.py."""
    lost = [f"{each.file}, line {each.line}: {each.text}" for each in tool.messages() if tool.topic_of(each) is None]
    assert not lost


def test_every_place_of_a_topic_is_one(tool):
    """A file that was renamed, or a message that was reworded, leaves no place behind."""
    said = tool.messages()
    files = [path.relative_to(tool.PACKAGE).as_posix() for path in tool.PACKAGE.rglob("*.py")]
    for topic in tool.TOPICS:
        for place in topic.places:
            file, words, _ = place.partition(": ")
            assert any(fnmatchcase(each, file) for each in files), f"{topic.title}: {place}"
            if words:
                alone = (tool.Topic("", "", (place,)),)
                assert any(tool.topic_of(each, alone) for each in said), f"{topic.title}: {place}"


def test_the_page_is_up_to_date(tool):
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page(), "run python tools/error_page.py"


def test_as_many_messages_are_found_as_errors_are_raised(tool):
    """Counted another way: by the text of the files."""
    raised = sum(path.read_text().count("raise InputError(") for path in tool.PACKAGE.rglob("*.py"))
    assert raised > 300
    assert len(tool.messages()) >= raised


def test_messages_are_read_as_they_are_printed(tool, tmp_path):
    (tmp_path / "one.py").write_text(
        "def made(name):\n"
        "    raise InputError(\n"
        '        f"There is no {name!r}. "\n'
        '        "Choose `another`."\n'
        "    )\n"
        "def row(record):\n"
        '    raise record.refuse(f"{record} is wrong", "Mend it.")\n'
        "def told(name):\n"
        '    return f"No {name}. Add it."\n'
        "def other():\n"
        "    raise InputError(told(1))\n"
    )
    first, second, third = tool.messages(tmp_path)
    assert (first.line, first.beginning, first.rest) == (2, "There is no ….", "Choose `another`.")
    assert second.text == "…, line …: … is wrong. Mend it."
    assert third.text == "No …. Add it."
