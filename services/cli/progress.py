"""A bar for long work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress(total: int, what: str, *, is_quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error that goes when it is full; what it gives moves it on."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=is_quiet) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
