"""The one exception that means "the user can fix this"."""


class UserError(Exception):
    """Bad input. The message is one line that names the thing and the fix.

    The command line prints it without a traceback and exits with status 2; from Python it is an ordinary exception.
    """
