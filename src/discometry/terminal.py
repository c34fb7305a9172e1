"""The bar that a person sees in the terminal while a command works."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

__all__ = ["progress_bar"]


@contextlib.contextmanager
def progress_bar(first: str, *, of_bytes: bool = False) -> Iterator[Callable[[str, int, int], None] | None]:
    """Show what is under way and how far it is, where a person watches; give the function that moves it.

    Parameters
    ----------
    first
        What is shown before that function is first called.
    of_bytes
        Whether bytes are counted, whose number and speed are shown too.

    Yields
    ------
    Callable or None
        To be called with what is under way, how much is done, and how much there is; None where nobody
        watches.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    speed = (DownloadColumn(), TransferSpeedColumn()) if of_bytes else ()
    columns = (TextColumn("{task.description:9}"), BarColumn(), *speed, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(first, total=None)

        def move(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total or None)

        yield move
