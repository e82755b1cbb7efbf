"""Texts as they are shown and compared: on one line, by their first line, or by what they say whatever their case."""


def one_line(text: object) -> str:
    """Give a text without line breaks, control signs and spaces in a row."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)).split())


def first_line(error: BaseException) -> str:
    """Give the first line of what an error says, without its full stop; its kind where it says nothing."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return said.removesuffix(".")


def key_of(text: str) -> str:
    """Give what two texts share that differ in case and spaces alone."""
    return " ".join(text.casefold().split())
