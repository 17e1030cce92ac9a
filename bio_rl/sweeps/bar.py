"""A bar over runs that are trained one after the other: on a terminal, with lines above it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Bar(NamedTuple):
    """How to write beside a bar, and how to move it."""

    say: Callable[[str], None]
    """Prints a line above it."""
    advance: Callable[[int], None]
    """Counts so many runs as over."""


@contextmanager
def bar(what: str, total: int) -> Iterator[Bar]:
    """A bar over `total` runs, called `what`; where there is no terminal only lines are printed."""
    from rich import progress
    from rich.console import Console

    console = Console()
    columns = (
        progress.TextColumn(what),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
    )
    hidden = not console.is_terminal or total == 0

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    with progress.Progress(*columns, console=console, transient=True, disable=hidden) as shown:
        task = shown.add_task(what, total=total)

        def advance(runs: int) -> None:
            shown.advance(task, runs)

        yield Bar(say, advance)
