"""A linear model of disc shape: a mean disc in its own frame, and what each latent adds to it.

With ``y`` the latents, a disc of a given pose has the field ``mean + basis y`` (signed distance, mm),
stretched along its own axes by ``exp(log_sizes + size_basis y)``. With neither pose nor sizes this is the
plain model of principal components of signed distances (Leventon, Grimson and Faugeras 2000, CVPR). Encoding
finds the latents and the pose whose disc overlaps the given one best, by least squares from the moments
of its voxels.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from discometry.core.errors import BundleError, InputError
from discometry.core.records import CUBE_SHAPE
from discometry.io.bundle import Component
from discometry.networks.shape_coder import Codes, share_beyond
from discometry.networks.shape_space import (
    CANONICAL_GRID,
    CUBE_GRID,
    FieldGrid,
    Placement,
    cube_field,
    cube_points_mm,
    moments_placement,
)

__all__ = ["LinearShape", "ShapeConfig", "linear_shape_component", "load_linear_shape"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_STEPS = 8
_SOFTNESS_MM = 0.4
"""How far from its boundary a decoded disc is still a little outside, while it is fitted."""
_BAND_MM = 3.0
"""Voxels nearer to the boundary than this take part in the fit .."""
_POINTS = 2500
""".. but no more than about so many."""
_DAMPING = 1e-2
_SIZE_SPREAD = 0.05
"""How well moments tell the sizes, as a share of them."""
_MOST_SPREAD, _MOST_MM, _MOST_RAD = 1.5, 2.0, 0.2
"""Longest step of one latent (standard deviations), of the origin and of the axes."""
_NEAREST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeConfig:
    """What kind of linear model it is."""

    latents: int = 8
    """Numbers that describe a disc."""
    pose: Literal["rigid", "none"] = "rigid"
    """Keep where the disc lies and how it is turned apart from its shape, or leave both to the latents."""
    sizes: bool = True
    """Let the latents stretch the disc along its own axes, beside adding to its field. Needs a pose."""
    fitted: bool = True
    """Encode by the best overlap, in place of projecting the field."""
    memory: bool = False
    """Let the decoder know every training disc by its latents. It says nothing about other discs."""

    def __post_init__(self) -> None:
        if not isinstance(self.latents, int) or self.latents < 1:
            raise InputError(
                f"latents = {self.latents}", expected="at least 1", action="raise the number of latents"
            )
        if self.pose not in ("rigid", "none"):
            raise InputError(f"pose = {self.pose}", expected="rigid or none", action="choose one of them")
        if self.sizes and self.pose == "none":
            raise InputError(
                "a shape model with sizes and no pose",
                expected="sizes along a disc's own axes, which its pose gives",
                action="take pose rigid, or no sizes",
            )

    @property
    def grid(self) -> FieldGrid:
        """Grid of the model's fields."""
        return CANONICAL_GRID if self.pose == "rigid" else CUBE_GRID


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LinearShape:
    """A trained linear model; a :class:`~discometry.networks.shape_coder.ShapeCoder`.

    Arrays: ``mean`` (n,) and ``basis`` (n, k) on the config's grid, mm; ``log_sizes`` (3,) and ``size_basis``
    (3, k); ``mean_mm`` (3,) standard deviation along its own axes of the voxels of a disc of size 1;
    ``distances`` (m,) quantiles of the training discs' distance from the middle; ``known_latents`` (d, k) and
    ``known_rest`` (d, n), what is left of the training discs' fields, for a model with memory.
    """

    config: ShapeConfig
    mean: FloatArray
    basis: FloatArray
    log_sizes: FloatArray
    size_basis: FloatArray
    mean_mm: FloatArray
    distances: FloatArray
    known_latents: FloatArray
    known_rest: FloatArray

    @property
    def latents(self) -> int:
        """Numbers that describe a disc's shape."""
        return self.config.latents

    @property
    def pose_numbers(self) -> int:
        """Numbers kept apart for the pose: 6 or 0."""
        return 6 if self.config.pose == "rigid" else 0

    def encode(self, cubes: BoolArray) -> Codes:
        """Describe disc cubes, Nx64x64x64."""
        latents, poses = np.zeros((len(cubes), self.latents)), np.zeros((len(cubes), self.pose_numbers))
        projection = None if self.config.fitted else np.linalg.pinv(self.basis)
        for number, cube in enumerate(cubes):
            field = cube_field(cube)
            placement = self.first_placement(cube)
            if projection is None:
                placement, latents[number] = self._fitted(field, placement)
            else:
                latents[number] = projection @ (placement.sample(field, self.config.grid) - self.mean)
            if self.pose_numbers:
                turn = Rotation.from_matrix(placement.axes).as_rotvec(degrees=True)
                poses[number] = [*placement.origin_mm, *turn]
        return Codes(latents, poses)

    def decode(self, codes: Codes) -> BoolArray:
        """Give the cubes, Nx64x64x64, that codes stand for."""
        placements = self.placements(codes)
        fields = self.fields(codes.latents)
        laid = [one.lay(field, self.config.grid) > 0 for one, field in zip(placements, fields, strict=True)]
        return np.array(laid, dtype=bool).reshape(-1, *CUBE_SHAPE)

    def fields(self, latents: FloatArray) -> FloatArray:
        """Decode latents, Nxk, to fields (N, n) on the config's grid, before sizes and pose."""
        fields: FloatArray = self.mean + latents @ self.basis.T
        if len(self.known_latents):
            from scipy.interpolate import RBFInterpolator  # slow to import, and few models have a memory

            near = min(_NEAREST, len(self.known_latents))
            rest = RBFInterpolator(self.known_latents, self.known_rest, neighbors=near, kernel="linear")
            fields = fields + rest(latents)
        return fields

    def placements(self, codes: Codes) -> list[Placement]:
        """Give each disc's place and size in its cube."""
        sizes = np.exp(self.log_sizes + codes.latents @ self.size_basis.T)
        poses = codes.poses if self.pose_numbers else np.zeros((len(codes.latents), 6))
        axes = Rotation.from_rotvec(poses[:, 3:], degrees=True).as_matrix()
        return [Placement(*parts) for parts in zip(poses[:, :3], axes, sizes, strict=True)]

    def plausibility(self, latents: FloatArray) -> FloatArray:
        """Share of the training discs that lie at least as far from the middle of all, (N,), 0 to 1."""
        return share_beyond(latents, self.distances)

    def first_placement(self, cube: BoolArray) -> Placement:
        """Place a cube's disc by its moments, as far as the model knows of poses and sizes."""
        if self.config.pose == "none":
            return Placement(np.zeros(3), np.eye(3), np.ones(3))
        found = moments_placement(cube, self.mean_mm)
        return found if self.config.sizes else replace(found, sizes=np.ones(3))

    def _fitted(self, field: FloatArray, start: Placement) -> tuple[Placement, FloatArray]:
        """Find pose and latents whose disc overlaps best with a cube's (Levenberg-Marquardt steps)."""
        near = np.argwhere(np.abs(field) < _BAND_MM)
        # Every other one of them would leave out whole planes of the grid.
        near = np.random.default_rng(0).permutation(near)[:_POINTS]
        points, inside = cube_points_mm(near), field[tuple(near.T)] > 0
        best = start, self._of_size(start.sizes)
        jacobian, excess = self._linearised(points, inside, *best)
        damping = _DAMPING
        for _ in range(_STEPS):
            normal = jacobian.T @ jacobian
            normal[np.diag_indices_from(normal)] *= 1 + damping
            normal[np.diag_indices_from(normal)] += 1e-9
            step = -np.linalg.solve(normal, jacobian.T @ excess).astype(np.float64)
            tried = self._moved(*best, step)
            change, left = self._linearised(points, inside, *tried)
            if left @ left < excess @ excess:
                best, jacobian, excess, damping = tried, change, left, damping / 3
            else:
                damping *= 10
        return best

    def _of_size(self, sizes: FloatArray) -> FloatArray:
        """Give the most usual latents (k,) of a disc of given sizes."""
        basis = self.size_basis / _SIZE_SPREAD
        wanted = (np.log(sizes) - self.log_sizes) / _SIZE_SPREAD
        return np.linalg.solve(basis.T @ basis + np.eye(self.latents), basis.T @ wanted).astype(np.float64)

    def _moved(
        self, placement: Placement, latents: FloatArray, step: FloatArray
    ) -> tuple[Placement, FloatArray]:
        """Take a step: of the latents, and of shift (mm) and turn (rad) in the frame's own axes."""
        shape, shift, turn = np.split(step, [self.latents, self.latents + 3])
        latents = (latents + np.clip(shape, -_MOST_SPREAD, _MOST_SPREAD)).astype(np.float64)
        if not self.pose_numbers:
            return placement, latents
        turned = Rotation.from_rotvec(np.clip(turn, -_MOST_RAD, _MOST_RAD)).as_matrix()
        moved = placement.axes @ np.clip(shift, -_MOST_MM, _MOST_MM)
        return Placement(placement.origin_mm + moved, placement.axes @ turned, placement.sizes), latents

    def _linearised(
        self, points: FloatArray, inside: BoolArray, placement: Placement, latents: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Give the excess (m,) of the soft decoded disc over the given one at points (m, 3) of the cube.

        And how it changes with each latent, and with shift and turn of the frame in its own axes.
        """
        local = (points - placement.origin_mm) @ placement.axes
        sizes = np.exp(self.log_sizes + self.size_basis @ latents)
        at, slopes = self.config.grid.interpolation(local / sizes)
        field = self.mean + self.basis @ latents
        gradient = np.stack([slope @ field for slope in slopes], axis=1) / sizes
        soft = 1 / (1 + np.exp(-np.clip((at @ field) / _SOFTNESS_MM, -30, 30)))
        by_latents = at @ self.basis - (gradient * local) @ self.size_basis
        by_pose = [-gradient, np.cross(gradient, local)] if self.pose_numbers else []
        jacobian = np.concatenate([by_latents, *by_pose], axis=1)
        return jacobian * (soft * (1 - soft) / _SOFTNESS_MM)[:, None], soft - inside


_ARRAYS = ("mean", "basis", "log_sizes", "size_basis", "mean_mm", "distances", "known_latents", "known_rest")
_LARGE = ("mean", "basis", "known_rest")


def linear_shape_component(model: LinearShape, **card: Any) -> Component:
    """Pack a model for a bundle; fields are kept in float16, ``card`` joins the config as notes."""
    tensors = {
        name: getattr(model, name).astype(np.float16 if name in _LARGE else np.float32) for name in _ARRAYS
    }
    config = {"kind": "linear_shape", "network": asdict(model.config), **card}
    return Component("autoencoder", config=config, tensors=tensors)


def load_linear_shape(component: Component) -> LinearShape:
    """Rebuild a model from a bundle's ``autoencoder`` component.

    Raises
    ------
    BundleError
        If the arrays are not those of the model that the config describes.
    """
    try:
        config = ShapeConfig(**component.config["network"])
        arrays = {name: np.array(component.tensors[name], dtype=np.float64) for name in _ARRAYS}
        model = LinearShape(config=config, **arrays)
        voxels, k = math.prod(config.grid.shape), config.latents
        known, quantiles = arrays["known_latents"].shape[:1], arrays["distances"].shape[:1]
        wanted = ((voxels,), (voxels, k), (3,), (3, k), (3,), quantiles, (*known, k), (*known, voxels))
        found = tuple(array.shape for array in arrays.values())
        if (
            found != wanted
            or quantiles == (0,)
            or not all(np.isfinite(array).all() for array in arrays.values())
        ):
            raise InputError(f"arrays of shapes {found}", expected="those of the config", action="retrain")
    except (KeyError, TypeError, ValueError, IndexError, InputError) as error:
        raise BundleError(
            f"a shape model whose arrays and config disagree ({str(error).splitlines()[0]})",
            expected="the arrays of the model that the config names",
            action="train the autoencoder again, or use the shipped bundle",
        ) from error
    return model
