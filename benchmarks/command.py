"""How every benchmark is run from a shell: --help, and what was asked for wrongly in one line."""

import sys
from collections.abc import Callable

from absl import flags

from jaxgan.errors import UserError


def run(main: Callable[[list[str]], None], values: flags.FlagValues, text: str | None) -> None:
    """Runs a benchmark with the words it was given; its text and flags instead where it is asked for help."""
    if any(word in ("-h", "--help", "--helpfull") for word in sys.argv[1:]):
        print(f"{text}\n{values.get_help()}")
        return
    try:
        main(sys.argv)
    except UserError as error:
        print(f"{sys.argv[0]}: error: {error}", file=sys.stderr)
        sys.exit(2)
