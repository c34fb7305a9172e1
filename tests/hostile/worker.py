"""The parent's end of :mod:`child`: a reader that survives native crashes and endless loops."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from volumes_on_disk import Case

_START_S = 120.0


@dataclass
class Worker:
    """A child process for one reader, started when first asked and again after it died."""

    reader: str
    scratch: Path
    """Where the child may write temporary files."""
    limit_s: float = 30.0
    counts: dict[str, int] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    def ask(self, path: Path) -> tuple[str, str]:
        """Read a path: ``result`` or ``refused`` with its line, or else what went wrong and the details."""
        process = self._process if self._process and self._process.poll() is None else self._started()
        assert process.stdin is not None
        said = self._stderr.stat().st_size
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(os.fspath(path)).encode() + b"\n")
            process.stdin.flush()
        line = self._line(process, self.limit_s)
        if line is None:
            self.close()
            outcome, text = "too slow", f"no answer within {self.limit_s:g} s"
        elif not line:
            outcome, text = "died", f"exit code {process.wait()}: {self._tail(said)}"
        else:
            outcome, text = json.loads(line)
            if self._stderr.stat().st_size > said:
                outcome, text = "noise", f"{outcome} {text} with: {self._tail(said)}"
        self.counts[outcome] = self.counts.get(outcome, 0) + 1
        return outcome, text

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            self._process = None

    @property
    def _stderr(self) -> Path:
        return self.scratch.with_name(f"{self.scratch.name}-stderr")

    def _tail(self, start: int) -> str:
        return self._stderr.read_bytes()[start:][-1500:].decode(errors="replace")

    def _started(self) -> subprocess.Popen[bytes]:
        self.close()
        self.scratch.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "TMPDIR": str(self.scratch),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with self._stderr.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("child.py")), self.reader],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
            )
        if self._line(self._process, _START_S) != b"ready\n":
            raise RuntimeError(f"the child does not start: {self._tail(0)}")
        return self._process

    @staticmethod
    def _line(process: subprocess.Popen[bytes], limit_s: float) -> bytes | None:
        """Give the child's next line; nothing where it died, None where it is too slow."""
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], limit_s)
        return process.stdout.readline() if ready else None


def read_case(worker: Worker, case: Case, folder: Path) -> tuple[str, str]:
    """Lay out a case and read it; anything that changes around it counts as reaching out."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    before = sorted(folder.parent.rglob("*"))
    outcome, text = worker.ask(folder / case.read)
    changed = set(folder.parent.rglob("*")) ^ set(before)
    same = all((folder / name).read_bytes() == data for name, data in case.files.items())
    return (outcome, text) if same and not changed else ("reached out", f"changed {changed or 'the input'}")
