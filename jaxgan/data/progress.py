"""A progress bar in the form that `open_images` and `prepare` call."""

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, gone when the block ends: `with progress_bar("decoding") as bar: bar(done, total)`.

    It appears with the first call, and not at all where standard error is no terminal.
    """
    from rich import console, progress

    columns = (*progress.Progress.get_default_columns(), progress.MofNCompleteColumn())
    bar = progress.Progress(*columns, console=console.Console(stderr=True), transient=True)
    if not bar.console.is_terminal:
        yield lambda done, total: None
        return
    task = None

    def update(done: int, total: int) -> None:
        nonlocal task
        if task is None:
            bar.start()
            task = bar.add_task(description, total=total)
        bar.update(task, completed=done, total=total)

    try:
        yield update
    finally:
        bar.stop()
