"""Texts on one line, by their first line, and by what they say."""

import pytest

from dsas_diffusion.words import first_line, key_of, one_line


def test_line_breaks_and_control_signs_become_single_spaces():
    assert one_line("a\n b\t\x1b[31m c ") == "a b [31m c"
    assert one_line(3) == "3"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("\n  It failed.\nMore of it."), "It failed"),
        (OSError(), "OSError"),
        (KeyError("x"), "'x'"),
    ],
)
def test_of_an_error_the_first_line_that_says_something_is_told(error, said):
    assert first_line(error) == said


def test_case_and_spaces_make_no_other_text():
    assert key_of("  A Banana\n on it") == key_of("a banana ON it")
    assert key_of("a banana") != key_of("a bananas")
