"""The one exception that means "the user can fix this"."""

from typing import Any

_LONGEST = 2000  # characters of a message


class UserError(Exception):
    """Bad input. The message is one line that names the thing and the fix.

    The command line prints it without a traceback and exits with status 2; from Python it is an ordinary exception.
    What a file says of itself may be part of the message, so what could move a terminal's cursor is escaped.
    """

    def __init__(self, message: str):
        if len(message) > _LONGEST:  # the fix stands at the end
            message = f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 2 :]}"
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


def shown(value: Any) -> str:
    """A value out of a file for a message: numbers and texts, shortened; of anything else its type.

    A few bytes can describe a list whose text would fill the memory.
    """
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 1 << 64 else "an integer of more than 64 bits"
    return repr(value[:50]) if isinstance(value, str) else f"a {type(value).__name__}"
