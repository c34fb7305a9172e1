"""Work in a process of its own, which may crash, hang or eat memory without harm to the one that asked.

The child is started once and keeps what it loaded. Requests and answers are lines of JSON on its pipes. It is
killed when a request takes too long or too much memory, and ends by itself when the asking process is gone.
Run as ``python -m discometry.isolation MODULE:FUNCTION``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

__all__ = ["Answer", "IsolatedProcess", "ProcessLost", "Tell", "borrowed", "end_idle"]

Answer = dict[str, Any]
"""JSON values."""

Tell = Callable[[Answer], None]
"""Called with what is worth knowing if the child should be lost, such as the stage that it has reached."""

IDLE_LIMIT_S = 900.0
"""A child that nobody asks for so long ends, and gives its memory back."""

_POLL_S = 0.05
_LOG_BYTES = 2000


class ProcessLost(Exception):
    """The child did not answer: ``why`` in words, what it had told, and the end of its error output."""

    def __init__(self, why: str, told: Answer, log: str) -> None:
        super().__init__(why)
        self.why, self.told, self.log = why, told, log


class IsolatedProcess:
    """A child process that runs one function, again and again.

    Parameters
    ----------
    work
        ``MODULE:FUNCTION``; the function takes JSON values and a :data:`Tell` and gives JSON values.
    threads
        Processor threads that numeric libraries may use in the child.
    """

    def __init__(self, work: str, *, threads: int = 1) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        counts = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "discometry.isolation", work],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | counts,
            start_new_session=True,  # Ctrl-C is the caller's, and a kill takes the child's own children along
        )
        self._requests = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)
        self._unread = b""

    @property
    def pid(self) -> int:
        """The child's process number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child can still be asked."""
        return self._process.poll() is None

    def ask(self, request: Answer, *, time_limit_s: float, memory_limit_bytes: int | None = None) -> Answer:
        """Give a request to the child, and wait for its answer.

        Raises
        ------
        ProcessLost
            If the child died, or was killed for passing a limit; it is gone then.
        """
        told: Answer = {}
        deadline = time.monotonic() + time_limit_s
        with contextlib.suppress(BrokenPipeError):
            self._write(request)
        while True:
            for line in self._lines():
                message = json.loads(line)
                if "answer" in message:
                    answer: Answer = message["answer"]
                    return answer
                told |= message["told"]
            if not self.alive:
                raise ProcessLost(_how_it_died(self._process.returncode), told, self.close())
            if time.monotonic() > deadline:
                raise ProcessLost(f"no answer within {time_limit_s:g} s", told, self.close())
            used = _resident_bytes(self.pid)
            if memory_limit_bytes is not None and used > memory_limit_bytes:
                why = f"{used / 2**30:.1f} GiB of memory, {memory_limit_bytes / 2**30:.1f} GiB allowed"
                raise ProcessLost(why, told, self.close())

    def close(self) -> str:
        """Kill the child and whatever it started; give the end of its error output."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()
        if self._errors.closed:
            return ""
        with self._errors as errors:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - _LOG_BYTES))
            return errors.read().decode(errors="replace").strip()

    def _write(self, request: Answer) -> None:
        self._requests.write(json.dumps(request).encode() + b"\n")
        self._requests.flush()

    def _lines(self) -> Iterator[bytes]:
        """Give the whole lines that came within a moment."""
        if select.select([self._answers], [], [], _POLL_S)[0]:
            fresh = os.read(self._answers.fileno(), 1 << 16)
            *lines, self._unread = (self._unread + fresh).split(b"\n")
            yield from lines


def _how_it_died(code: int) -> str:
    if code >= 0:
        return f"the process ended with exit code {code}"
    try:
        return f"the process was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"the process was ended by signal {-code}"


def _resident_bytes(pid: int) -> int:
    """Memory that a process holds; 0 once it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


# -- the children of this process ------------------------------------------------------------------------

_idle: dict[tuple[str, int], list[IsolatedProcess]] = {}
_idle_lock = threading.Lock()


@contextmanager
def borrowed(work: str, *, threads: int = 1) -> Iterator[IsolatedProcess]:
    """Lend an idle child of this process, or a new one; it is kept for the next if it outlives the body."""
    with _idle_lock:
        waiting = _idle.setdefault((work, threads), [])
        child = waiting.pop() if waiting else None
    if child is None or not child.alive:
        child = IsolatedProcess(work, threads=threads)
    try:
        yield child
    except ProcessLost:
        raise
    except BaseException:
        child.close()
        raise
    with _idle_lock:
        waiting.append(child)


def end_idle() -> None:
    """End every idle child, which frees the models that they keep."""
    with _idle_lock:
        children = [child for waiting in _idle.values() for child in waiting]
        _idle.clear()
    for child in children:
        child.close()


# -- inside the child ------------------------------------------------------------------------------------


def _serve(name: str) -> None:
    """Answer requests until the asking process is gone."""
    # What libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    with contextlib.suppress(OSError):  # where memory is short, the system shall pick this process
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")

    def send(message: Answer) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    module, _, function = name.partition(":")
    work = getattr(importlib.import_module(module), function)
    while True:
        try:
            request = requests.get(timeout=IDLE_LIMIT_S)
        except queue.Empty:
            return
        send({"answer": work(json.loads(request), lambda told: send({"told": told}))})


def _read_requests(requests: queue.SimpleQueue[str]) -> None:
    """Hand requests on; the pipe ends when the asking process does, and then nothing may go on working."""
    for line in os.fdopen(os.dup(0), encoding="utf-8"):
        requests.put(line)
    os._exit(0)


if __name__ == "__main__":
    try:
        _serve(sys.argv[1])
    except Exception:
        traceback.print_exc()
        sys.exit(1)
