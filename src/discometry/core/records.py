"""The frozen records that stages hand on. Constructed means valid; every unit is in the name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import Tissue, level_of_label
from discometry.core.errors import GridError
from discometry.core.volume import Grid, Volume

__all__ = [
    "CUBE_SHAPE",
    "CUBE_SPACING_MM",
    "Disc",
    "DiscResult",
    "Encoding",
    "Geometry",
    "Intensity",
    "Lordosis",
    "Prepared",
    "Region",
    "Segmentation",
    "Spine",
    "StudyResult",
]

CUBE_SHAPE = (64, 64, 64)
"""Voxels of a disc cube along L, P, S."""

CUBE_SPACING_MM = (1.4, 1.2, 1.5)
"""Voxel size of a disc cube along L, P, S, mm (the paper's)."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A box that may be turned against the image's axes: its middle (LPS mm), sides (mm) and axes.

    ``axes`` are unit vectors as columns, 3x3, LPS, closest to L, P, S.
    """

    middle_mm: NDArray[np.float64]
    size_mm: NDArray[np.float64]
    axes: NDArray[np.float64]

    def grid(
        self,
        spacing_mm: tuple[float, float, float],
        shift: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> Grid:
        """Lay voxels evenly about the middle, move them by parts of their sides, and cover the box still."""
        shape = np.ceil(self.size_mm / spacing_mm + 2 * np.abs(shift) - 1e-6).astype(int)
        first = (np.array(shift) - (shape - 1) / 2) * spacing_mm
        return Grid.from_spacing(
            shape, spacing_mm, origin_mm=self.middle_mm + self.axes @ first, direction=self.axes
        )

    def crop(self, volume: Volume) -> Volume:
        """Cut out of a volume what may lie in the box; what reaches beyond the volume is left out."""
        box = Grid.from_spacing(
            (1, 1, 1), self.size_mm.tolist(), origin_mm=self.middle_mm.tolist(), direction=self.axes
        )
        index = volume.grid.to_index(box.corners_mm)
        low, high = np.floor(index.min(axis=0) + 0.5), np.floor(index.max(axis=0) + 0.5) + 1
        return volume.cropped(low.astype(int).tolist(), high.astype(int).tolist())


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image, or a part of it, ready for a network: axes L, P, S, working spacing, normalised float32.

    ``source`` is the grid the image came on: the way back. ``part`` is the grid of the input's voxels that
    were prepared, with axes closest to L, P, S.
    """

    image: Volume
    source: Grid
    part: Grid

    def __post_init__(self) -> None:
        if self.image.grid.axis_codes != "LPS":
            raise GridError(
                f"a prepared image with axes {self.image.grid.axis_codes}",
                expected="LPS",
                action="pass the image through stages.prepare",
            )


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Tissue of every voxel (:class:`~discometry.core.anatomy.Tissue`, uint8) on the input grid."""

    tissue: Volume

    def mask(self, tissue: Tissue) -> NDArray[np.bool_]:
        """Boolean array of the voxels of one tissue."""
        mask: NDArray[np.bool_] = self.tissue.array == int(tissue)
        return mask


@dataclass(frozen=True, slots=True)
class Disc:
    """One disc.

    ``mask`` is a boolean volume with axes closest to L, P, S, cut from the input grid with a margin;
    ``cube`` is the same disc as boolean 64x64x64 at 1.4x1.2x1.5 mm, axes L, P, S, centred on its centroid.
    ``flags`` are short words such as ``ambiguous_level`` or ``truncated``: reasons for less trust.
    """

    label: int
    level: str
    mask: Volume
    cube: Volume
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        level_of_label(self.label)
        if self.cube.grid.shape != CUBE_SHAPE:
            raise GridError(
                f"a disc cube of shape {self.cube.grid.shape}",
                expected=f"{CUBE_SHAPE}",
                action="pass the mask through stages.separate",
            )


@dataclass(frozen=True, slots=True)
class Spine:
    """All discs of a study from the lowest up, and their label map (int16, 0 = none) on the input grid.

    ``vertebrae`` (without the sacrum) and ``canal`` are boolean volumes with axes closest to L, P, S; None if
    none were labelled.
    """

    labels: Volume
    discs: tuple[Disc, ...]
    vertebrae: Volume | None = None
    canal: Volume | None = None


def _measure(doc: str) -> float:
    return field(default=float("nan"), metadata={"doc": doc})


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Measures of one disc, in the order of the columns of ``discs.csv``; NaN where it cannot be known.

    Angles are against the world axes (LPS), widths along the disc's own axes. The ``paper_`` group follows
    the definitions of the paper, in mm and degrees instead of voxels.
    """

    height_mean_mm: float = _measure("Volume over footprint area, in the disc's own frame.")
    width_ap_mm: float = _measure("Extent of the footprint along the disc's own anterior-posterior axis.")
    width_lateral_mm: float = _measure("Extent of the footprint along the disc's own left-right axis.")
    angle_sagittal_deg: float = _measure("Disc plane against anterior-posterior; > 0: anterior edge up.")
    angle_coronal_deg: float = _measure("Disc plane against left-right; > 0: left edge up.")
    angle_transverse_deg: float = _measure("Long axis against left-right; > 0: left end posterior.")
    wedge_deg: float = _measure("Angle between the fitted endplates, sagittal; > 0: open anteriorly.")
    volume_mm3: float = _measure("Volume of the mask.")
    height_anterior_mm: float = _measure("Height a tenth of the mid-sagittal diameter behind its front.")
    height_middle_mm: float = _measure("Height at the middle of the mid-sagittal diameter.")
    height_posterior_mm: float = _measure("Height a tenth of the mid-sagittal diameter before its back.")
    height_dabbs_mm: float = _measure("Mean of anterior and posterior height (Dabbs and Dabbs 1990).")
    height_fyllos_mm: float = _measure("Mean of anterior, middle and posterior height (Fyllos 2018).")
    height_hurxthal_mm: float = _measure("Distance between the endplates' midpoints (Hurxthal 1968).")
    disc_height_index: float = _measure("Fyllos' height over the mean middle height of the bodies beside it.")
    asymmetry_mm: float = _measure("Left minus right height, a tenth of the lateral diameter inside.")
    bulge_mm: float = _measure("How far the outline reaches beyond the endplates' rims, on average.")
    footprint_mm2: float = _measure("Area of the disc projected along its own axis.")
    surface_mm2: float = _measure("Area of the disc's whole surface.")
    paper_height_mm: float = _measure("Mean superior-inferior extent of the sagittal slices' columns.")
    paper_width_ap_mm: float = _measure("Anterior-posterior extent of the middle sagittal slice.")
    paper_width_lateral_mm: float = _measure("Left-right extent of the middle transverse slice.")
    paper_angle_sagittal_deg: float = _measure("Principal axis of the middle sagittal slice to horizontal.")
    paper_angle_coronal_deg: float = _measure("Principal axis of the middle coronal slice to left-right.")
    paper_angle_transverse_deg: float = _measure(
        "Principal axis of the middle transverse slice to left-right."
    )

    standard_errors: Geometry | None = None
    """Standard error of every measure, in its unit; 95 % intervals reach 1.96 of them to either side."""

    @classmethod
    def of(cls, values: Mapping[str, float], standard_errors: Mapping[str, float]) -> Geometry:
        """Take values and standard errors by name; those not given are not known."""
        errors = cls(**standard_errors)  # type: ignore[arg-type]
        return replace(cls(**values), standard_errors=errors)  # type: ignore[arg-type]

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """Say what every measure is, by name, in order."""
        return {item.name: str(item.metadata["doc"]) for item in fields(cls) if "doc" in item.metadata}

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of all measures, in order."""
        return tuple(cls.meanings())

    def values(self) -> dict[str, float]:
        """Measures by name, in order."""
        return {name: float(getattr(self, name)) for name in self.names()}


@dataclass(frozen=True, slots=True)
class Encoding:
    """Latent shape of one disc."""

    latents: tuple[float, ...]
    """In standard deviations of the discs that the shape model was trained on, the most telling first."""
    reconstruction_iou: float
    """IoU between the disc's cube and the cube decoded from latents and pose."""
    plausibility: float = float("nan")
    """Share of the training discs whose shape is at least as unusual: 0 for one unlike all of them."""
    pose: tuple[float, ...] = ()
    """Shift of the disc's own frame from the cube's centre (3; mm along L, P, S) and its rotation vector (3;
    degrees about L, P, S); empty if the latents hold the pose too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intensity:
    """Signal of one disc in the MRI, as ratios of medians; NaN where it cannot be known."""

    signal_over_vertebrae: float = _measure("Signal of the disc over that of the bone marrow near it.")
    signal_over_canal: float = _measure("Signal of the disc over that of the dural sac near it.")
    signal_nucleus_over_annulus: float = _measure(
        "Signal of the disc's middle over that of its front and back."
    )

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """Say what every ratio is, by name, in order."""
        return {item.name: str(item.metadata["doc"]) for item in fields(cls)}

    def values(self) -> dict[str, float]:
        """Ratios by name, in order."""
        return {name: float(getattr(self, name)) for name in self.meanings()}


@dataclass(frozen=True, slots=True)
class DiscResult:
    """Everything known of one disc."""

    disc: Disc
    geometry: Geometry
    encoding: Encoding
    narrowing_probability: float
    flags: tuple[str, ...] = ()
    """All flags of the disc, from separating and from every later stage."""
    z_scores: Mapping[str, float] = field(default_factory=dict)
    """Distance from the reference population's mean in its standard deviations, by measure."""
    intensity: Intensity = field(default_factory=Intensity)
    contributions: Mapping[str, float] = field(default_factory=dict)
    """What each feature adds to the log-odds of narrowing (SHAP values), by feature."""


@dataclass(frozen=True, slots=True)
class Lordosis:
    """Sagittal angle between the mid-planes of the highest and the lowest lumbar disc seen; > 0: lordotic."""

    upper: str
    """Level of the highest disc, such as ``"L1/L2"``."""
    lower: str
    """Level of the lowest."""
    angle_deg: float
    standard_error_deg: float


@dataclass(frozen=True, slots=True)
class StudyResult:
    """One analysed study: its name, image (absent for a bare mask), spine and discs from the lowest up."""

    study: str
    image: Volume | None
    spine: Spine
    discs: tuple[DiscResult, ...]
    flags: tuple[str, ...] = ()
    lordosis: Lordosis | None = None
