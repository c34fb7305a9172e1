"""One study through every stage. Read this page first.

    image -> prepare -> segment -> separate -> measure  -> StudyResult
                                            -> encode   ->
                                            -> classify ->

A bare mask enters at ``separate``. Nothing here touches the disk; ``study.py`` reads and writes around it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

from discometry.core.records import Disc, DiscResult, Geometry, Prepared, Spine, StudyResult
from discometry.core.volume import Volume
from discometry.io.bundle import Bundle
from discometry.networks.autoencoder import Autoencoder, load_autoencoder
from discometry.networks.classifier import Classifier, load_classifier
from discometry.networks.segmenter import SegmenterConfig, load_segmenter
from discometry.stages.classify import classify
from discometry.stages.encode import encode
from discometry.stages.measure import measure
from discometry.stages.prepare import PrepareConfig, prepare
from discometry.stages.segment import SegmentConfig, segment
from discometry.stages.separate import SeparateConfig, separate

__all__ = ["Analysis", "Models", "analyse_image", "analyse_mask"]


@dataclass(frozen=True, slots=True)
class Models:
    """The networks of one bundle. Each is built when it is first needed: a mask needs no segmenter."""

    bundle: Bundle
    device: str = "cpu"

    def segmenter(self) -> tuple[nn.Module, SegmenterConfig]:
        """Build the segmenter."""
        return load_segmenter(self.bundle.component("segmenter"))

    def autoencoder(self) -> Autoencoder:
        """Build the autoencoder."""
        return load_autoencoder(self.bundle.component("autoencoder"))

    def classifier(self) -> Classifier:
        """Build the classifier."""
        return load_classifier(self.bundle.component("classifier"))


@dataclass(frozen=True, slots=True)
class Analysis:
    """A study's result, and the seconds that each stage took."""

    result: StudyResult
    timings_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Stopwatch:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


def analyse_image(study: str, image: Volume, models: Models) -> Analysis:
    """Find, measure, encode and classify every disc of an MRI.

    Raises
    ------
    InputError
        If the image holds no usable intensities.
    LabelError
        If no disc is found.
    """
    watch = _Stopwatch()
    with watch.stage("prepare"):
        network, config = models.segmenter()
        prepared = prepare(image, PrepareConfig(spacing_mm=config.spacing_mm))
    with watch.stage("segment"):
        tissue = _segment(prepared, network, config, models.device)
    with watch.stage("separate"):
        spine = separate(tissue, SeparateConfig(convention="tissue"))
    return _describe(study, image, spine, models, watch)


def analyse_mask(
    study: str, mask: Volume, models: Models, *, image: Volume | None = None, convention: str | None = None
) -> Analysis:
    """Measure, encode and classify every disc of a mask in any known label convention.

    Raises
    ------
    LabelError
        If the mask holds no disc.
    """
    watch = _Stopwatch()
    with watch.stage("separate"):
        spine = separate(mask, SeparateConfig(convention=convention))
    return _describe(study, image, spine, models, watch)


def _segment(prepared: Prepared, network: nn.Module, config: SegmenterConfig, device: str) -> Volume:
    options = SegmentConfig(window=config.patch, divisor=config.divisor, device=device)
    return segment(prepared, network, options).tissue


def _describe(study: str, image: Volume | None, spine: Spine, models: Models, watch: _Stopwatch) -> Analysis:
    """Turn separated discs into numbers."""
    with watch.stage("measure"):
        geometries = [measure(disc) for disc in spine.discs]
    with watch.stage("encode"):
        encodings = encode(spine.discs, models.autoencoder())
    with watch.stage("classify"):
        probabilities = classify([disc.level for disc in spine.discs], geometries, models.classifier())
    discs = tuple(
        DiscResult(disc, geometry, encoding, probability, _flags(disc, geometry))
        for disc, geometry, encoding, probability in zip(
            spine.discs, geometries, encodings, probabilities, strict=True
        )
    )
    return Analysis(StudyResult(study, image, spine, discs), watch.seconds)


def _flags(disc: Disc, geometry: Geometry) -> tuple[str, ...]:
    """Give the flags of separating, and whether the disc has no disc's shape."""
    return disc.flags if math.isfinite(geometry.height_mean_mm) else (*disc.flags, "not_disc_like")
