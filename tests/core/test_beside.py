from __future__ import annotations

import threading

import pytest

from discometry.core.beside import beside


@pytest.mark.parametrize(("threads", "in_another"), [("1", False), ("2", True), (None, True)])
def test_work_is_done_beside_the_body_where_a_second_thread_is_allowed(
    threads: str | None, in_another: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if threads is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    with beside(threading.get_ident) as result:
        assert (result() != threading.get_ident()) is in_another


@pytest.mark.parametrize("threads", ["1", "2"])
def test_what_goes_wrong_is_told_where_the_result_is_asked_for(
    threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    with beside(lambda: 1 / 0) as result, pytest.raises(ZeroDivisionError):
        result()
