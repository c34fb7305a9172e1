"""Work that is done in a thread beside other work, where a second thread is allowed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["beside", "one_thread_only"]

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
