"""A child process that may crash, hang or eat memory, and one that outlives nobody."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from discometry import isolation
from discometry.isolation import Answer, IsolatedProcess, ProcessLost, Tell, borrowed, end_idle

WORK = "test_isolation:work"
calls = 0


def work(request: Answer, tell: Tell) -> Answer:
    """Do as the request says, in the child."""
    global calls
    calls += 1
    tell({"stage": "first", "calls": calls})
    sys.stdout.write("libraries print, and must do no harm\n")
    match request["do"]:
        case "hang":
            time.sleep(1e6)
        case "crash":
            ctypes.string_at(0)
        case "eat":
            hoard = [b"x" * 2**23 for _ in range(40)]
            time.sleep(1e6 if hoard else 0)
        case "raise":
            raise ZeroDivisionError("of all things")
        case "exit":
            os._exit(3)
        case "child":
            child = subprocess.Popen(["sleep", "1000"])
            tell({"child": child.pid})
            time.sleep(1e6)
    return {
        "calls": calls,
        "pid": os.getpid(),
        "threads": os.environ["OMP_NUM_THREADS"],
        "long": "x" * 200_000,
    }


@pytest.fixture(autouse=True)
def _children(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))))
    yield
    end_idle()


def is_running(pid: int) -> bool:
    """Tell whether any thread runs: the first may be dead while others, in native code, still end."""
    try:
        states = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return False
    return any(state.rpartition(")")[2].split()[0] != "Z" for state in states)


def until_gone(pid: int, *, within_s: float = 5.0) -> bool:
    end = time.monotonic() + within_s
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_running(pid)


def ask(do: str, *, time_limit_s: float = 20.0, memory_limit_bytes: int | None = None) -> Answer:
    with borrowed(WORK, threads=2) as child:
        return child.ask({"do": do}, time_limit_s=time_limit_s, memory_limit_bytes=memory_limit_bytes)


def test_one_child_answers_again_and_again() -> None:
    first, second = ask("nothing"), ask("nothing")
    assert first["pid"] == second["pid"] != os.getpid()
    assert (first["calls"], second["calls"]) == (1, 2)
    assert first["threads"] == "2"
    assert len(first["long"]) == 200_000


@pytest.mark.parametrize(
    ("do", "why", "log"),
    [
        ("hang", "no answer within 0.3 s", ""),
        ("crash", "ended by SIGSEGV", "Segmentation fault"),
        ("exit", "exit code 3", ""),
        ("raise", "exit code 1", "ZeroDivisionError: of all things"),
        ("eat", "GiB of memory, 0.1 GiB allowed", ""),
    ],
)
def test_a_lost_child_says_why_and_the_next_is_a_new_one(do: str, why: str, log: str) -> None:
    before = ask("nothing")["pid"]
    limit_s = 0.3 if do == "hang" else 20.0
    with pytest.raises(ProcessLost, match=why) as caught:
        ask(do, time_limit_s=limit_s, memory_limit_bytes=2**27)
    assert caught.value.told == {"stage": "first", "calls": 2}
    assert log in caught.value.log
    assert not is_running(before)
    assert ask("nothing")["calls"] == 1


def test_a_kill_takes_the_childs_own_children_along() -> None:
    with pytest.raises(ProcessLost) as caught:
        ask("child", time_limit_s=0.5)
    assert until_gone(caught.value.told["child"])


def test_a_child_killed_while_idle_is_replaced_unseen() -> None:
    pid = ask("nothing")["pid"]
    os.kill(pid, signal.SIGKILL)
    assert until_gone(pid)
    assert ask("nothing")["pid"] != pid


def test_a_child_ends_when_its_parent_is_killed_even_at_work(tmp_path: Path) -> None:
    code = (
        "from discometry.isolation import IsolatedProcess\n"
        f"child = IsolatedProcess({WORK!r})\nprint(child.pid, flush=True)\n"
        "child.ask({'do': 'hang'}, time_limit_s=1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.5)
        assert is_running(pid)
        parent.kill()
    assert until_gone(pid)


def test_work_that_cannot_be_found_says_so() -> None:
    child = IsolatedProcess("discometry.nowhere:nothing")
    with pytest.raises(ProcessLost, match="exit code 1") as caught:
        child.ask({}, time_limit_s=20)
    assert "No module named 'discometry.nowhere'" in caught.value.log


def test_one_that_never_starts_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "START_LIMIT_S", 0.0)
    child = IsolatedProcess(WORK)
    with pytest.raises(ProcessLost, match="no answer within 0 s"):
        child.ask({"do": "nothing"}, time_limit_s=20)


def test_an_error_of_the_asking_side_ends_the_child() -> None:
    pids = []

    def spoil() -> None:
        with borrowed(WORK) as child:
            pids.append(child.pid)
            child.ask({"do": object()}, time_limit_s=20)

    with pytest.raises(TypeError):
        spoil()
    assert until_gone(pids[0])
