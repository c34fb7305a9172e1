from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from discometry.core.errors import DiscometryError, InputError, OutputError
from discometry.training.loop import EpochRecord, FitResult, LoopConfig, check_devices, fit

CPU = LoopConfig(epochs=8, patience=8, learning_rate=0.05, accelerator="cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums in another order differ in the last bit, and training grows that: one thread everywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(seed: int = 0) -> nn.Module:
    """Dropout and batch norm: random draws and buffers must survive an interruption too."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Tanh(), nn.Linear(8, 1))


def batches(epoch: int) -> list[tuple[Tensor, Tensor]]:
    draws = np.random.default_rng((7, epoch))
    x = torch.from_numpy(draws.standard_normal((5, 16, 3)).astype(np.float32))
    return [(part, part.sum(1, keepdim=True)) for part in x]


def lazily(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    for x, _ in batches(epoch):
        noisy = x + 0.01 * torch.randn(x.shape)
        yield noisy, noisy.sum(1, keepdim=True)


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    return nn.functional.mse_loss(model(x), y)


def score(model: nn.Module) -> float:
    assert not model.training
    assert not torch.is_grad_enabled()
    x, y = batches(10_000)[0]
    return float(1 / (1 + loss(model, (x, y))))


def weights(result: FitResult) -> dict[str, Tensor]:
    return load_file(result.best)


def last_weights(out: Path) -> dict[str, Tensor]:
    (file,) = out.glob("checkpoint-*.safetensors")
    return load_file(file)


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=1e-6)


class Interrupt(Exception):
    """Stands for a kill at a chosen step."""


class InterruptedAt:
    """A training step that fails at its n-th call."""

    def __init__(self, call: int) -> None:
        self.left = call

    def __call__(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        if self.left == 0:
            raise Interrupt
        self.left -= 1
        return loss(model, batch)


def test_fit_learns_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    seen: list[EpochRecord] = []
    model = network()
    result = fit(model, loss, batches, score, tmp_path, CPU, on_epoch=seen.append)
    assert result.stopped_by == "epochs"
    assert [record.epoch for record in result.history] == list(range(8))
    assert [record.step for record in result.history] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert tuple(seen) == result.history
    assert result.history[-1].train_loss < 0.5 * result.history[0].train_loss
    assert result.best_iou == max(record.val_iou for record in result.history)
    assert result.history[result.best_epoch].val_iou == result.best_iou
    with torch.no_grad():
        assert score(model) == pytest.approx(result.best_iou, abs=1e-6)
    assert_same(weights(result), dict(model.state_dict()))


def test_validation_is_given_the_network_itself_at_full_precision(tmp_path: Path) -> None:
    seen: list[nn.Module] = []

    def watched(model: nn.Module) -> float:
        seen.append(model)
        return score(model)

    model = network()
    fit(model, loss, batches, watched, tmp_path, LoopConfig(epochs=1, accelerator="cpu"))
    assert seen == [model]


def test_history_csv_and_picture(tmp_path: Path) -> None:
    result = fit(network(), loss, batches, score, tmp_path, CPU)
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "step", "train_loss", "val_iou", "learning_rate", "seconds"]
    assert [float(row["val_iou"]) for row in rows] == [record.val_iou for record in result.history]
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_learning_rate_follows_half_a_cosine() -> None:
    config = LoopConfig(epochs=10, learning_rate=2.0)
    assert config.learning_rate_at(0) == 2.0
    assert config.learning_rate_at(5) == pytest.approx(1.0, abs=1e-12)
    assert config.learning_rate_at(10) == pytest.approx(0.0, abs=1e-12)
    assert LoopConfig(learning_rate=2.0, schedule="constant").learning_rate_at(7) == 2.0


@pytest.mark.parametrize("source", [batches, lazily])
@pytest.mark.parametrize("call", [0, 5, 13])
def test_a_run_broken_off_ends_with_the_same_weights(tmp_path: Path, source: object, call: int) -> None:
    config = LoopConfig(epochs=4, learning_rate=0.05, accelerator="cpu", checkpoint_every_s=0.0)
    whole = fit(network(), loss, source, score, tmp_path / "whole", config)  # type: ignore[arg-type]
    with pytest.raises(Interrupt):
        fit(network(), InterruptedAt(call), source, score, tmp_path / "broken", config)  # type: ignore[arg-type]
    again = fit(network(min(call, 1)), loss, source, score, tmp_path / "broken", config)  # type: ignore[arg-type]
    assert_same(last_weights(tmp_path / "whole"), last_weights(tmp_path / "broken"))
    assert_same(weights(whole), weights(again))
    for first, second in zip(whole.history, again.history, strict=True):
        assert first.train_loss == pytest.approx(second.train_loss, abs=1e-6)
        assert first.val_iou == pytest.approx(second.val_iou, abs=1e-6)


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    first = fit(network(), loss, lazily, score, tmp_path / "a", CPU)
    config = LoopConfig(epochs=6, learning_rate=0.05, accelerator="cpu", seed=1)
    second = fit(network(), loss, lazily, score, tmp_path / "b", config)
    assert any(not torch.equal(a, weights(second)[name]) for name, a in weights(first).items())


def test_fit_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    fit(network(), loss, lazily, score, tmp_path, LoopConfig(epochs=1, accelerator="cpu"))
    assert torch.equal(before, torch.random.get_rng_state())


SLOW = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
import test_loop as t

def slow(model, batch):
    time.sleep(0.02)
    return t.loss(model, batch)

config = t.LoopConfig(epochs=12, patience=12, learning_rate=0.05, accelerator="cpu", checkpoint_every_s=0.0)
t.fit(t.network(), slow, t.lazily, t.score, Path({out!r}), config)
"""


def test_a_killed_process_is_continued(tmp_path: Path) -> None:
    config = LoopConfig(epochs=12, patience=12, learning_rate=0.05, accelerator="cpu", checkpoint_every_s=0.0)
    whole = fit(network(), loss, lazily, score, tmp_path / "whole", config)
    out = tmp_path / "killed"
    script = SLOW.format(tests=str(Path(__file__).parent), out=str(out))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if (out / "state.json").exists() and json.loads((out / "state.json").read_text())["progress"][
            "epoch"
        ]:
            break
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the process ended before it was killed"
    done = json.loads((out / "state.json").read_text())["progress"]["epoch"]
    assert 1 <= done < 12
    again = fit(network(1), loss, lazily, score, out, config)
    assert_same(last_weights(tmp_path / "whole"), last_weights(out))
    assert_same(weights(whole), weights(again))


def test_stops_by_patience_and_keeps_the_best(tmp_path: Path) -> None:
    values = iter([0.2, 0.5, 0.4, 0.5, 0.3, 0.9])
    result = fit(
        network(),
        loss,
        batches,
        lambda model: next(values),
        tmp_path,
        LoopConfig(epochs=6, patience=3, accelerator="cpu"),
    )
    assert result.stopped_by == "patience"
    assert len(result.history) == 5
    assert (result.best_epoch, result.best_iou) == (1, 0.5)


def test_finished_training_returns_at_once_and_can_be_prolonged(tmp_path: Path) -> None:
    short = LoopConfig(epochs=2, accelerator="cpu", schedule="constant")
    first = fit(network(), loss, batches, score, tmp_path / "a", short)
    again = fit(network(3), InterruptedAt(0), batches, score, tmp_path / "a", short)
    assert again.history == first.history
    longer = LoopConfig(epochs=4, accelerator="cpu", schedule="constant")
    prolonged = fit(network(), loss, batches, score, tmp_path / "a", longer)
    whole = fit(network(), loss, batches, score, tmp_path / "b", longer)
    assert_same(weights(prolonged), weights(whole))


def test_stops_by_time(tmp_path: Path) -> None:
    config = LoopConfig(epochs=50, accelerator="cpu", time_limit_s=0.0)
    result = fit(network(), loss, batches, score, tmp_path, config)
    assert result.stopped_by == "time"
    assert len(result.history) == 1


def test_validation_that_is_not_finite_is_never_best(tmp_path: Path) -> None:
    values = iter([float("nan"), 0.1, float("nan")])
    result = fit(
        network(),
        loss,
        batches,
        lambda model: next(values),
        tmp_path / "a",
        LoopConfig(epochs=3, accelerator="cpu"),
    )
    assert (result.best_epoch, result.best_iou) == (1, 0.1)
    never = fit(
        network(),
        loss,
        batches,
        lambda model: float("nan"),
        tmp_path / "b",
        LoopConfig(epochs=9, patience=2, accelerator="cpu"),
    )
    assert len(never.history) == 2
    assert never.best.exists()


def test_gradients_are_clipped(tmp_path: Path) -> None:
    norms: list[float] = []

    def watched(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        norms.append(float(torch.sqrt(sum(((g**2).sum() for g in grads), torch.tensor(0.0)))))
        return 1000 * loss(model, batch)

    config = LoopConfig(epochs=1, accelerator="cpu", gradient_clip=0.5)
    fit(network(), watched, batches, score, tmp_path, config)
    assert max(norms) == pytest.approx(0.5, abs=1e-3)


def test_mixed_precision_runs_and_continues(tmp_path: Path) -> None:
    config = LoopConfig(epochs=2, accelerator="cpu", precision="bf16-mixed", learning_rate=0.01)
    result = fit(network(), loss, batches, score, tmp_path, config)
    assert all(value.dtype != torch.bfloat16 for value in weights(result).values())


def test_a_loss_that_is_not_finite_stops(tmp_path: Path) -> None:
    with pytest.raises(DiscometryError, match="loss of nan in epoch 0, step 0"):
        fit(network(), lambda model, batch: loss(model, batch) * float("nan"), batches, score, tmp_path, CPU)


def test_an_epoch_without_batches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without a batch"):
        fit(network(), loss, lambda epoch: [], score, tmp_path, CPU)


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"patience": 0},
        {"devices": 0},
        {"seed": -1},
        {"learning_rate": 0.0},
        {"precision": "foo"},
        {"time_limit_s": -300.0},
        {"time_limit_s": float("nan")},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, float | str]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        LoopConfig(**options)  # type: ignore[arg-type]


def test_devices_that_are_not_here_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_devices(CPU)
    with pytest.raises(InputError, match="accelerator 'tpu'"):
        check_devices(LoopConfig(accelerator="tpu"))
    monkeypatch.setattr("lightning_fabric.accelerators.cuda.num_cuda_devices", lambda: 1)
    with pytest.raises(InputError, match="accelerator 'cuda' with 9 device"):
        check_devices(LoopConfig(accelerator="cuda", devices=9))


def test_a_folder_of_another_training_is_refused(tmp_path: Path) -> None:
    fit(network(), loss, batches, score, tmp_path, CPU, identity={"data": "a"})
    with pytest.raises(OutputError, match=r"other options \(data\)"):
        fit(network(), loss, batches, score, tmp_path, CPU, identity={"data": "b"})
    with pytest.raises(OutputError, match=r"other options \(data, learning_rate\)"):
        fit(network(), loss, batches, score, tmp_path, LoopConfig(accelerator="cpu"))
    with pytest.raises(OutputError, match="another network"):
        fit(nn.Linear(3, 1), loss, batches, score, tmp_path, CPU, identity={"data": "a"})


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def _break(path: Path, kind: str) -> None:
    state = json.loads((path / "state.json").read_text())
    if kind == "byte":
        _flip(path / state["weights"]["file"])
    elif kind == "missing":
        (path / state["weights"]["file"]).unlink()
    elif kind == "version":
        (path / "state.json").write_text(json.dumps(state | {"format_version": 99}))
    elif kind == "best":
        (path / "best.safetensors").unlink()
    else:
        (path / "state.json").write_text("{")


@pytest.mark.parametrize("kind", ["byte", "missing", "version", "best", "json"])
def test_damaged_checkpoints_are_named(tmp_path: Path, kind: str) -> None:
    config = LoopConfig(epochs=1, accelerator="cpu")
    fit(network(), loss, batches, score, tmp_path, config)
    _break(tmp_path, kind)
    with pytest.raises(OutputError, match=str(tmp_path)):
        fit(network(), loss, batches, score, tmp_path, config)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="folder"):
        fit(network(), loss, batches, score, tmp_path / "file" / "x", CPU)


def test_a_sequence_is_read_only_where_needed(tmp_path: Path) -> None:
    class Counted(list[tuple[Tensor, Tensor]]):
        reads = 0

        def __getitem__(self, index: object) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            Counted.reads += 1
            return super().__getitem__(index)  # type: ignore[call-overload,no-any-return]

    config = LoopConfig(epochs=1, accelerator="cpu", checkpoint_every_s=0.0)

    def counted(epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
        return Counted(batches(epoch))

    with pytest.raises(Interrupt):
        fit(network(), InterruptedAt(3), counted, score, tmp_path, config)
    Counted.reads = 0
    fit(network(), loss, counted, score, tmp_path, config)
    assert Counted.reads == 2


def test_a_bar_is_shown_where_a_person_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(network(), loss, batches, score, tmp_path / "a", LoopConfig(epochs=1, accelerator="cpu"))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fit(network(), loss, batches, score, tmp_path / "b", LoopConfig(epochs=1, accelerator="cpu"))
    assert "IoU" in capsys.readouterr().err


TWO = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
import test_loop as t

if __name__ == "__main__":
    config = t.LoopConfig(epochs=2, learning_rate=0.05, accelerator="cpu", devices=2)
    result = t.fit(t.network(), t.loss, t.lazily, t.score, Path({out!r}), config)
    print(result.is_main, [(r.step, r.train_loss, r.val_iou) for r in result.history], flush=True)
"""


def test_two_devices_share_the_batches_and_agree(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO.format(tests=str(Path(__file__).parent), out=str(tmp_path / "run")))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=True, cwd=tmp_path
    )
    lines = sorted(line for line in done.stdout.splitlines() if line.startswith(("True ", "False ")))
    assert [line.split()[0] for line in lines] == ["False", "True"]
    assert lines[0].removeprefix("False ") == lines[1].removeprefix("True ")
    with (tmp_path / "run" / "history.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "4"]  # five batches: two each, one over
