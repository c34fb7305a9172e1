"""One study through every stage. Read this page first.

    image -> prepare -> locate -> prepare -> segment -> separate -> measure -> judge -> StudyResult
             coarse     region    fine, there                    -> encode           ->
                                                                 -> classify         ->

A bare mask enters at ``separate``. Nothing here touches the disk; ``study.py`` reads and writes around it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from discometry.core.records import Disc, DiscResult, Encoding, Geometry, Prepared, Spine, StudyResult
from discometry.core.reference import z_scores
from discometry.core.volume import Volume
from discometry.io.bundle import Bundle
from discometry.networks.classifier import Classifier, load_classifier
from discometry.networks.engines import Engine, load_predictor
from discometry.networks.runtime import ExpectantPredictor
from discometry.networks.segmenter_config import SegmenterConfig
from discometry.networks.shape_coder import ShapeCoder
from discometry.networks.shape_models import load_shape_model
from discometry.stages.classify import classify, features
from discometry.stages.encode import encode
from discometry.stages.intensity import intensity
from discometry.stages.judge import JudgeConfig, judge
from discometry.stages.locate import LocateConfig, locate
from discometry.stages.measure import lordosis, measure
from discometry.stages.prepare import LOOKS, PrepareConfig, looks_shape, prepare, prepare_looks
from discometry.stages.segment import SegmentConfig, segment, window_of
from discometry.stages.separate import SeparateConfig, separate

__all__ = [
    "Analysis",
    "Models",
    "Progress",
    "analyse_image",
    "analyse_mask",
    "flags_of",
    "segment_config",
    "spine_views",
]


@dataclass(frozen=True, slots=True)
class Models:
    """The networks of one bundle, each built when first needed; those that segment are kept."""

    bundle: Bundle
    device: str = "cpu"
    engine: Engine = "openvino"
    """What runs the segmenters, where it can."""
    _ready: dict[str, tuple[ExpectantPredictor, SegmenterConfig]] = field(default_factory=dict, repr=False)

    def segmenter(self, name: str = "segmenter") -> tuple[ExpectantPredictor, SegmenterConfig]:
        """Build the segmenter, or the coarse ``locator``, ready to run."""
        if name not in self._ready:
            component = self.bundle.component(name)
            self._ready[name] = load_predictor(component, engine=self.engine, device=self.device)
        return self._ready[name]

    def make_ready(self) -> None:
        """Build the networks that segment, before they are needed."""
        for name in self.bundle.components.keys() & {"locator", "segmenter"}:
            self.segmenter(name)

    def shape_coder(self) -> ShapeCoder:
        """Build the model of disc shape."""
        return load_shape_model(self.bundle.component("autoencoder"))

    def classifier(self) -> Classifier:
        """Build the classifier."""
        return load_classifier(self.bundle.component("classifier"))


@dataclass(frozen=True, slots=True)
class Analysis:
    """A study's result, and the seconds that each stage took."""

    result: StudyResult
    timings_s: dict[str, float]


Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Times the stages and says which one is under way."""

    progress: Progress | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        self._tell(name, 0, 1)
        start = time.perf_counter()
        yield partial(self._tell, name)
        self.seconds[name] = round(time.perf_counter() - start, 3)
        self._tell(name, 1, 1)

    def _tell(self, name: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(name, done, total)


def analyse_image(study: str, image: Volume, models: Models, *, progress: Progress | None = None) -> Analysis:
    """Find, measure, encode and classify every disc of an MRI.

    Raises
    ------
    InputError
        If the image holds no usable intensities, or shows no lumbar spine.
    LabelError
        If no disc is found.
    """
    watch = Watch(progress)
    views = spine_views(image, models, watch)
    with watch.stage("segment") as on_windows:
        segmenter, config = models.segmenter()
        tissue = segment(views, segmenter, segment_config(config), on_windows=on_windows).tissue
    with watch.stage("separate"):
        spine = separate(tissue, SeparateConfig(convention="tissue"))
    return _describe(study, image, spine, models, watch, JudgeConfig())


def segment_config(network: SegmenterConfig) -> SegmentConfig:
    """Give the options that suit a network."""
    return SegmentConfig(divisor=network.step, longest=network.view, disc_cut=network.disc_cut)


def spine_views(image: Volume, models: Models, watch: Watch | None = None) -> list[Prepared]:
    """Find the spine, and give the views of it that the segmenter looks at.

    Raises
    ------
    InputError
        If the image holds no usable intensities, or shows no lumbar spine.
    """
    watch = watch or Watch()
    region = None
    if "locator" in models.bundle.components:
        with watch.stage("locate") as on_windows:
            locator, config = models.segmenter("locator")
            coarse = prepare(image, PrepareConfig(spacing_mm=config.spacing_mm))
            window = LocateConfig(window=config.patch, divisor=config.divisor)
            region = locate(coarse, locator, window, on_windows=on_windows)
    with watch.stage("prepare"):
        segmenter, config = models.segmenter()
        if region is not None:
            shape = looks_shape(region, config.spacing_mm)
            segmenter.expect((len(LOOKS), 1, *window_of(shape, segment_config(config))))
        return prepare_looks(image, PrepareConfig(spacing_mm=config.spacing_mm, order=3), region=region)


def analyse_mask(
    study: str,
    mask: Volume,
    models: Models,
    *,
    image: Volume | None = None,
    convention: str | None = None,
    progress: Progress | None = None,
) -> Analysis:
    """Measure, encode and classify every disc of a mask in any known label convention.

    Raises
    ------
    LabelError
        If the mask holds no disc.
    """
    watch = Watch(progress)
    with watch.stage("separate"):
        spine = separate(mask, SeparateConfig(convention=convention))
    return _describe(study, image, spine, models, watch, JudgeConfig(least_canal_mm=0.0))


def _describe(
    study: str, image: Volume | None, spine: Spine, models: Models, watch: Watch, judging: JudgeConfig
) -> Analysis:
    """Turn separated discs into numbers."""
    with watch.stage("measure"):
        geometries = [measure(disc, spine.vertebrae) for disc in spine.discs]
        of_all = judge(spine, geometries, judging)
    with watch.stage("encode"):
        encodings = encode(spine.discs, models.shape_coder())
    with watch.stage("classify"):
        upright = None if image is None else image.oriented()
        signals = [intensity(upright, disc, spine.vertebrae, spine.canal) for disc in spine.discs]
        table = features([disc.level for disc in spine.discs], geometries, signals)
        answers = classify(table, models.classifier())
    discs = tuple(
        DiscResult(
            disc,
            geometry,
            encoding,
            probability,
            (*of_all, *flags_of(disc, geometry, encoding)),
            z_scores(disc.level, geometry),
            signal,
            contributions,
        )
        for disc, geometry, encoding, signal, (probability, contributions) in zip(
            spine.discs, geometries, encodings, signals, answers, strict=True
        )
    )
    curve = lordosis([(disc.level, geometry) for disc, geometry in zip(spine.discs, geometries, strict=True)])
    return Analysis(StudyResult(study, image, spine, discs, lordosis=curve), watch.seconds)


def flags_of(disc: Disc, geometry: Geometry, encoding: Encoding) -> tuple[str, ...]:
    """Give the flags of separating, and whether shape or measures are not, or hardly, those of a disc."""
    if not math.isfinite(geometry.height_mean_mm):
        # The paper's height needs no shape: where it lacks too, it is the image's border that takes both.
        return (*disc.flags, "not_disc_like") if math.isfinite(geometry.paper_height_mm) else disc.flags
    sagittal = (geometry.height_fyllos_mm, geometry.width_ap_mm, geometry.wedge_deg)
    if not all(map(math.isfinite, sagittal)):
        return (*disc.flags, "implausible")
    # Farther out than every disc that the shape model was trained on, and not because the image cuts it off.
    unusual = encoding.plausibility == 0 and "truncated" not in disc.flags
    return (*disc.flags, "unusual_shape") if unusual else disc.flags
