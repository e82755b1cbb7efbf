"""What a test shows, in words that tools/compatibility.py writes onto its page."""

from collections.abc import Callable

import pytest


def works(part: str, what: str, how: str, families: str = "") -> Callable:
    """Say what a test shows, for the page; it runs once for each family, of which the wide suite has more than two.

    Args:
        part: The section of the page.
        what: What is tried.
        how: How it goes.
        families: Names out of the zoo, with spaces between them.
    """

    def mark(test: Callable) -> Callable:
        names = families.split()
        each = [*names[:2], *(pytest.param(name, marks=pytest.mark.full) for name in names[2:])]
        return pytest.mark.parametrize("name", each)(test) if names else test

    return mark


def shows(part: str, what: str, how: str, families: str) -> Callable:
    """Say what a test shows that has its families from elsewhere.

    Args:
        part: As for `works`.
        what: As for `works`.
        how: As for `works`.
        families: As for `works`.
    """
    return lambda test: test
