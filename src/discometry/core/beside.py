"""Work that is done in threads, where more than one is allowed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["beside", "for_each", "one_thread_only"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def one_thread_only() -> bool:
    """Whether ``OMP_NUM_THREADS`` allows one thread only, as to the workers of a cohort."""
    return os.environ.get("OMP_NUM_THREADS") == "1"


@contextmanager
def beside(work: Callable[[], Result]) -> Iterator[Callable[[], Result]]:
    """Do some work in a thread while the body runs; give what waits for its result.

    It gains time where the work leaves Python's lock to others, as reading and packing do. Where there may be
    :func:`one_thread_only`, the work waits until its result is asked for.
    """
    if one_thread_only():
        yield work
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool.submit(work).result


def for_each(items: Iterable[Item], work: Callable[[Item], None]) -> None:
    """Do some work with every item, in threads unless there may be :func:`one_thread_only`."""
    if one_thread_only():
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for _ in pool.map(work, items):
            pass  # an error is raised here
