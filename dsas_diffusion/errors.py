"""The one error that a user can mend: a clear paragraph, no traceback."""

import re
from typing import Final

#: A damaged file may hold a value of any length, and a message that repeats it must stay a paragraph.
_LONG: Final = re.compile(r"(\S{100})\S{100,}")


class InputError(ValueError):
    """Something that the user handed in cannot be used.

    The message is one paragraph that names the argument or file, what came, what is accepted and the next step. The
    command line prints it to stderr and exits with status 2, without a traceback; a library caller may catch it as a
    `ValueError`.

    Args:
        message: The paragraph. Of words over 200 characters the first 100 are kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_LONG.sub(r"\1…", message))
