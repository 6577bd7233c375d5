"""Where in a volume a patch lies, and how it is turned, stretched and bent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from segkit.training.phantoms.store import BODY, Volume

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Deformation:
    """Sizes of what is drawn anew for each patch; (z, y, x) where there are three.

    Attributes:
        angles_deg: Largest rotation about each axis.
        scale: Smallest and largest change of size.
        stretch: Largest relative change of each axis beside that.
        elastic: Distance of nodes and largest standard deviation of their displacement, both in mm.
        mirror_axes: Axes that a patch may be mirrored along; organs have sides.
    """

    angles_deg: tuple[float, float, float] = (20.0, 10.0, 10.0)
    scale: tuple[float, float] = (0.75, 1.35)
    stretch: float = 0.15
    elastic: tuple[tuple[float, float], ...] = ((80.0, 12.0), (25.0, 3.0))
    mirror_axes: tuple[int, ...] = ()


STRAIGHT = Deformation(angles_deg=(0.0, 0.0, 0.0), scale=(1.0, 1.0), stretch=0.0, elastic=())
"""No change, for judging."""


@dataclass(frozen=True)
class Sampling:
    """Which patches are looked at.

    Attributes:
        anywhere: Share of patches around any voxel of the body; the others are around a voxel of a label.
        weights: How often a label is chosen against the others, 1 where it is not named.
        wander: Largest distance of that voxel from the patch's middle, as a fraction of the patch.
        slabs: Share of patches that see only 30 to 150 mm of the patient, as short scans show.
        whole: Whether a patch is the whole volume, whatever its size, as the location network sees it.
    """

    anywhere: float = 1 / 3
    weights: tuple[tuple[int, float], ...] = ((4, 2.0), (7, 2.0), (8, 2.0), (10, 2.0), (12, 2.0), (14, 2.0))
    wander: float = 0.35
    slabs: float = 0.15
    whole: bool = False


@dataclass(frozen=True)
class View:
    """A patch's place in a volume.

    Attributes:
        centre_mm: Its middle, from the corner of the volume (z, y, x).
        spacing_mm: Of its voxels.
        matrix: From offsets in the patch (mm) to offsets in the volume, (3, 3).
        slab_mm: Height above which and below which nothing was scanned, from the patch's middle; None
            where all was.
    """

    centre_mm: np.ndarray
    spacing_mm: np.ndarray
    matrix: np.ndarray
    slab_mm: float | None


def draw_view(
    random: np.random.Generator,
    volume: Volume,
    patch: Triple,
    spacing_mm: Sequence[float],
    sampling: Sampling,
    deformation: Deformation,
) -> View:
    """Draw where a patch lies and how it is turned.

    Args:
        random: Draws everything.
        volume: What it is cut from.
        patch: Its size (z, y, x).
        spacing_mm: Of its voxels; not looked at where it is the whole volume.
        sampling: Which patches are looked at.
        deformation: How they are changed.
    """
    extent = np.array(volume.hu.shape) * np.array(volume.spacing_mm)
    matrix = _matrix(random, deformation)
    if sampling.whole:
        # A scan's field of view is wider than the body, and need not hold all of its length.
        share = float(random.uniform(0.35, 1.0)) if random.random() < 0.6 else 1.0
        seen = extent * np.array([share, *random.uniform(1.0, 1.3, 2)])
        centre = extent / 2 + random.uniform(-0.5, 0.5, 3) * (extent - seen)
        return View(centre, seen / np.array(patch), matrix, None)
    spacing = np.array(spacing_mm, float)
    side = np.array(patch) * spacing
    place = _place(random, volume, sampling)
    centre = (place + 0.5) * volume.spacing_mm + random.uniform(-1, 1, 3) * sampling.wander * side
    # As at inference: inside the volume where it fits, in the middle where it does not.
    reach = side / 2 * np.abs(np.diag(matrix))
    low, high = np.minimum(reach, extent / 2), np.maximum(extent - reach, extent / 2)
    centre = np.clip(centre, low, high)
    slab = float(random.uniform(30, 150)) / 2 if random.random() < sampling.slabs else None
    return View(centre, spacing, matrix, slab)


def cut(
    volume: Volume,
    patch: Triple,
    view: View,
    deformation: Deformation,
    random: torch.Generator,
    draw: np.random.Generator,
) -> tuple[tuple[slice, slice, slice], torch.Tensor, torch.Tensor]:
    """Which part of a volume a view needs, and where in that part each voxel of the patch lies.

    Args:
        volume: What is cut from.
        patch: Size of the patch (z, y, x).
        view: Where it lies.
        deformation: How it is bent.
        random: Draws displacements; on the volume's device.
        draw: Draws their size.

    Returns:
        Slices (z, y, x) of the volume; a grid (1, z, y, x, 3) for `grid_sample` with align_corners=False
        on that part; and how far each voxel lies outside of the volume along z, in voxels of the volume.
    """
    device = volume.hu.device
    source = np.array(volume.spacing_mm)
    offsets = [torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2 for size in patch]
    points = torch.empty((3, *patch), device=device)
    # From voxels of the patch to voxels of the volume.
    linear = view.matrix * view.spacing_mm[None] / source[:, None]
    middle = view.centre_mm / source - 0.5
    for axis in range(3):
        z, y, x = (float(linear[axis, other]) * offsets[other] for other in range(3))
        points[axis] = z[:, None, None] + y[None, :, None] + (x[None, None] + float(middle[axis]))
    margin = 0.0
    for node_mm, largest_mm in deformation.elastic:
        sd = largest_mm * float(draw.random())
        margin += 3 * sd
        nodes = [
            max(2, round(size * step / node_mm) + 2)
            for size, step in zip(patch, view.spacing_mm, strict=True)
        ]
        lattice = sd * torch.randn((1, 3, *nodes), generator=random, device=device).clamp_(-2.5, 2.5)
        moved = functional.interpolate(lattice, size=patch, mode="trilinear", align_corners=True)[0]
        points += moved / torch.tensor(source, device=device, dtype=torch.float32).view(3, 1, 1, 1)
    half = (np.array(patch) - 1) / 2
    reach = np.abs(linear) @ half + margin / source + 2
    shape = np.array(volume.hu.shape)
    first = np.clip(np.floor(middle - reach), 0, shape - 1).astype(int)
    last = np.clip(np.ceil(middle + reach) + 1, first + 1, shape).astype(int)
    outside_z = torch.maximum(-0.5 - points[0], points[0] - (shape[0] - 0.5)).clamp_(min=0)
    # grid_sample wants x first, in units of half the part's size.
    grid = torch.stack(
        [
            (2 * (points[axis] - float(first[axis])) + 1) / float(last[axis] - first[axis]) - 1
            for axis in (2, 1, 0)
        ],
        dim=-1,
    )
    box = (slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2]))
    return box, grid[None], outside_z


def _matrix(random: np.random.Generator, deformation: Deformation) -> np.ndarray:
    turn = np.eye(3)
    for axis, largest in enumerate(deformation.angles_deg):
        angle = np.deg2rad(random.uniform(-largest, largest))
        one, two = (other for other in range(3) if other != axis)
        rotation = np.eye(3)
        rotation[one, one] = rotation[two, two] = np.cos(angle)
        rotation[one, two], rotation[two, one] = -np.sin(angle), np.sin(angle)
        turn = turn @ rotation
    size = np.exp(random.uniform(*np.log(deformation.scale)))
    sizes = size * np.exp(random.uniform(-1, 1, 3) * np.log1p(deformation.stretch))
    signs = np.array(
        [-1.0 if axis in deformation.mirror_axes and random.random() < 0.5 else 1.0 for axis in range(3)]
    )
    # Above 1 makes the patient larger: the same patch then spans less of him.
    return np.asarray(turn * (signs / sizes)[None])


def _place(random: np.random.Generator, volume: Volume, sampling: Sampling) -> np.ndarray:
    weights = dict(sampling.weights)
    labels = [label for label in volume.places if label != BODY]
    if not labels or random.random() < sampling.anywhere:
        found = volume.places.get(BODY)
        if found is None:
            return np.array(volume.hu.shape) / 2
    else:
        shares = np.array([weights.get(label, 1.0) for label in labels])
        found = volume.places[int(random.choice(labels, p=shares / shares.sum()))]
    return found[int(random.integers(len(found)))]
