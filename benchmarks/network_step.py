"""Time of one forward pass and of one training step of the segmentation networks, per patch.

    python benchmarks/network_step.py --repeats 5

Prints Markdown for docs/benchmarks.md: the network of each preset, one or two patches in a batch, torch's
default memory layout or channels last; then what runs it once trained, and how long that takes to get ready.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from discometry.core.anatomy import Tissue
from discometry.networks.engines import load_predictor
from discometry.networks.segmenter import build_segmenter, segmenter_component
from discometry.training.fit_segmenter import PRESETS
from discometry.training.losses import dice_cross_entropy


def seconds(call: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Median, least and greatest time of a call after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times), min(times), max(times)


def main() -> None:
    """Time every combination and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {threads} threads\n")
    print("| preset | parameters | batch | layout | forward s a patch | training step s a patch |")
    print("|---|---|---|---|---|---|")
    for preset, training in PRESETS.items():
        config = training.network
        for batch in (1, 2):
            for layout in (torch.contiguous_format, torch.channels_last_3d):
                network = build_segmenter(config)
                network.to(memory_format=layout)  # type: ignore[call-overload]
                row = timed(network, config.patch, batch, layout, options.repeats)
                count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
                name = str(layout).removeprefix("torch.")
                print(f"| {preset} | {count:.1f} M | {batch} | {name} | {row}", flush=True)
    print("\n| preset | engine | to the first answer s | forward s a patch |\n|---|---|---|---|")
    for preset, training in PRESETS.items():
        component = segmenter_component(build_segmenter(training.network), training.network)
        for engine in ("openvino", "torch") if preset != "paper" else ("torch",):
            windows = torch.randn(2, 1, *training.network.patch).numpy()
            start = time.perf_counter()
            predictor, _ = load_predictor(component, engine=engine)  # type: ignore[arg-type]
            predictor(windows)
            ready = time.perf_counter() - start
            times = seconds(lambda p=predictor, w=windows: p(w), options.repeats)
            median, least, greatest = (value / 2 for value in times)
            print(
                f"| {preset} | {engine} | {ready:.2f} | {median:.3f} ({least:.3f}-{greatest:.3f}) |",
                flush=True,
            )


def timed(
    network: nn.Module, patch: tuple[int, int, int], batch: int, layout: torch.memory_format, repeats: int
) -> str:
    """Time one combination and give the last two cells of its row."""
    image = torch.randn(batch, 1, *patch).contiguous(memory_format=layout)
    target = torch.randint(0, len(Tissue), (batch, *patch))
    optimiser = torch.optim.AdamW(network.parameters(), 1e-4)

    def forward() -> Tensor:
        with torch.inference_mode():
            result: Tensor = network(image)
        return result

    def step() -> None:
        optimiser.zero_grad()
        dice_cross_entropy(network(image), target).backward()
        optimiser.step()

    cells = []
    for call in (forward, step):
        median, least, greatest = (value / batch for value in seconds(call, repeats))
        cells.append(f"{median:.2f} ({least:.2f}-{greatest:.2f})")
    return " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
