"""The one error that a user can mend: a clear paragraph, no traceback."""


class InputError(ValueError):
    """Something that the user handed in cannot be used.

    The message is one paragraph that names the argument or file, what came, what is accepted and the next step. The
    command line prints it to stderr and exits with status 2, without a traceback; a library caller may catch it as a
    `ValueError`.
    """
