"""The readers under attack, each in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volumes_on_disk import Case
from worker import Worker, read_case

CASES = int(os.environ.get("DISCOMETRY_FUZZ_CASES", "1000"))
"""Cases over all readers; by hand: ``DISCOMETRY_FUZZ_CASES=10000 pytest tests/hostile``."""


@pytest.fixture(scope="session")
def worker_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Worker]]:
    """Give the process that runs a reader, the same one for all tests."""
    place = tmp_path_factory.mktemp("workers")
    workers: dict[str, Worker] = {}
    yield lambda name: workers.setdefault(name, Worker(name, place / name))
    for worker in workers.values():
        worker.close()


@pytest.fixture
def attack(worker_of: Callable[[str], Worker], tmp_path: Path) -> Callable[..., None]:
    """Read a share of the cases of a strategy; each ends in a result or one clear error, nothing is written.

    The smallest case that does not is left in the test's temporary folder.
    """

    def run(reader: str, cases: st.SearchStrategy[Case], *, share: float) -> None:
        worker, ran = worker_of(reader), 0

        @settings(max_examples=max(1, round(CASES * share)), suppress_health_check=list(HealthCheck))
        @given(cases)
        def each(case: Case) -> None:
            nonlocal ran
            ran += 1
            outcome, text = read_case(worker, case, tmp_path / "case")
            assert outcome in ("result", "refused"), f"{outcome}: {text}\ncase in {tmp_path / 'case'}"

        each()
        assert ran >= CASES * share

    return run
