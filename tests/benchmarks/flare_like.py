"""Label pairs of the size and kind that FLARE scores: 13 organs and tumors on 512 x 512 x N voxels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

# Label, centre and half-axes in mm as (x, y, z), about the middle of a body 340 mm wide and 240 mm deep.
# The sizes make organs of ordinary volume; the liver is 1.5 l, an adrenal gland 5 ml.
_ORGANS = [
    (1, (-75, 10, 55), (88, 70, 68)),
    (2, (-60, -55, -35), (29, 27, 52)),
    (3, (95, -40, 65), (31, 42, 50)),
    (4, (15, 15, 5), (62, 16, 15)),
    (5, (8, -38, 0), (11, 11, 115)),
    (6, (-18, -32, 0), (12, 10, 115)),
    (7, (-42, -42, 32), (6, 14, 16)),
    (8, (48, -42, 32), (6, 14, 16)),
    (9, (-48, 52, 12), (17, 19, 31)),
    (10, (4, -22, 95), (10, 8, 48)),
    (11, (62, 48, 48), (47, 36, 46)),
    (12, (-26, 22, -22), (22, 18, 36)),
    (13, (68, -55, -28), (29, 27, 52)),
    (14, (-88, 22, 62), (13, 12, 12)),
    (14, (-58, -18, 78), (8, 8, 9)),
]
_MISSED_LABEL = 9


@dataclass(frozen=True)
class Pair:
    """A reference and a prediction, arrays on axes x, y, z with x fastest in memory."""

    reference: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]

    def save(self, folder: Path, name: str = "case") -> tuple[Path, Path]:
        """Write both as .nii.gz and return their paths."""
        paths = []
        for side, array in (("reference", self.reference), ("prediction", self.prediction)):
            path = folder / side / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = nibabel.Nifti1Image(array, np.diag([*self.spacing_mm, 1.0]))
            image.header.set_zooms(self.spacing_mm)
            nibabel.save(image, path)
            paths.append(path)
        return paths[0], paths[1]


def make_pair(slices: int, *, width: int = 512, seed: int = 0) -> Pair:
    """Make a pair whose prediction is good, misses one organ, and has six stray islands.

    Args:
        slices: 100 gives slices of 2.5 mm, more give slices of 1 mm.
        width: Voxels along x and y.
        seed: Changes the organs' wobble and the prediction's errors.
    """
    spacing = (0.8 * 512 / width, 0.8 * 512 / width, 2.5 if slices <= 100 else 1.0)
    reference = _draw(slices, width, spacing, seed=seed, error_mm=0.0, without=None)
    prediction = _draw(slices, width, spacing, seed=seed, error_mm=1.2, without=_MISSED_LABEL)
    random = np.random.default_rng(seed)
    for label in random.permutation(14)[:6] + 1:
        x, y, z = (int(random.integers(0.2 * size, 0.8 * size)) for size in prediction.shape)
        prediction[x : x + 9, y : y + 7, z : z + 4] = label
    return Pair(reference, prediction, spacing)


def shifted(pair: Pair, voxels: int) -> Pair:
    """Return the pair with its prediction moved along x."""
    return Pair(pair.reference, np.asfortranarray(np.roll(pair.prediction, voxels, axis=0)), pair.spacing_mm)


def salted(pair: Pair, fraction: float, *, seed: int = 0) -> Pair:
    """Return the pair with single voxels of the prediction set to random labels."""
    random = np.random.default_rng(seed)
    prediction = pair.prediction.copy(order="F")
    count = int(fraction * prediction.size)
    places = tuple(random.integers(0, size, count) for size in prediction.shape)
    prediction[places] = random.integers(1, 15, count)
    return Pair(pair.reference, prediction, pair.spacing_mm)


def chequered(pair: Pair) -> Pair:
    """Return the pair with every other voxel of the prediction emptied, as a chessboard's."""
    x, y, z = np.indices(pair.prediction.shape, sparse=True)
    return Pair(pair.reference, np.asfortranarray(pair.prediction * ((x + y + z) % 2 == 0)), pair.spacing_mm)


def emptied(pair: Pair) -> Pair:
    """Return the pair with a prediction that holds no label at all."""
    return Pair(pair.reference, np.zeros_like(pair.prediction, order="F"), pair.spacing_mm)


def strewn(pair: Pair, components: int = 10_000, *, seed: int = 0) -> Pair:
    """Return the pair with small cubes of random labels set into both volumes, each at a place of its own.

    Args:
        pair: Reference and prediction.
        components: How many cubes each volume gets.
        seed: Changes places and labels.
    """
    random = np.random.default_rng(seed)
    reference, prediction = pair.reference.copy(order="F"), pair.prediction.copy(order="F")
    for volume in (reference, prediction):
        cells = [size // 6 for size in volume.shape]
        places = random.choice(int(np.prod(cells)), components, replace=False)
        for place, label in zip(places, random.integers(1, 15, components), strict=True):
            x, y, z = (6 * int(at) for at in np.unravel_index(place, cells))
            volume[x : x + 3, y : y + 3, z : z + 3] = label
    return Pair(reference, prediction, pair.spacing_mm)


def make_lesions(count: int, *, largest_voxels: int, seed: int = 0) -> Pair:
    """Make balls in 512 x 512 x 300 voxels; the prediction misses one of seven and moves the others.

    Args:
        count: How many.
        largest_voxels: The largest radius.
        seed: Changes places and errors.
    """
    shape, reach = np.array((512, 512, 300)), largest_voxels + 1
    random = np.random.default_rng(seed)
    reference, prediction = (np.zeros(tuple(shape), np.uint8, order="F") for _ in range(2))
    squares = sum(axis**2 for axis in np.mgrid[3 * (slice(-reach, reach + 1),)])
    for number in range(count):
        centre = random.integers(20, shape - 20)
        radius = random.uniform(1, largest_voxels)
        for volume, place, size in (
            (reference, centre, radius),
            (prediction, centre + random.integers(-2, 3, 3), radius * random.uniform(0.8, 1.2)),
        ):
            if volume is reference or number % 7:
                volume[tuple(slice(at - reach, at + reach + 1) for at in place)] |= squares <= size**2
    return Pair(reference, prediction, (0.8, 0.8, 1.0))


def _draw(
    slices: int,
    width: int,
    spacing: tuple[float, float, float],
    *,
    seed: int,
    error_mm: float,
    without: int | None,
) -> NDArray[np.uint8]:
    """Return organs as ellipsoids whose surface wobbles, by some mm more for a prediction."""
    volume = np.zeros((width, width, slices), np.uint8, order="F")
    wobble = np.random.default_rng(seed)
    errors = np.random.default_rng(seed + 1)
    for label, centre, half_axes in _ORGANS:
        waves = wobble.uniform(-1, 1, (6, 3)), wobble.uniform(0, 6.28, 6)
        offset = errors.normal(0, error_mm, 3) if error_mm else np.zeros(3)
        error_waves = errors.uniform(-1, 1, (6, 3)), errors.uniform(0, 6.28, 6)
        if label == without:
            continue
        axes = []
        box = []
        for axis in range(3):
            size = volume.shape[axis]
            position = (np.arange(size) - (size - 1) / 2) * spacing[axis] - centre[axis] - offset[axis]
            inside = np.flatnonzero(np.abs(position) < 1.25 * half_axes[axis] + 4)
            box.append(slice(inside[0], inside[-1] + 1) if len(inside) else slice(0, 0))
            shape = [1, 1, 1]
            shape[axis] = -1
            axes.append(position[inside].astype(np.float32).reshape(shape))
        radius = np.sqrt(sum((p / a) ** 2 for p, a in zip(axes, half_axes, strict=True)))
        smallest = min(half_axes)
        bumps = 1.0 + 0.16 * _ripple(axes, *waves, scale=smallest)
        if error_mm:
            bumps = bumps + error_mm / smallest * _ripple(axes, *error_waves, scale=smallest / 2)
        region = volume[tuple(box)]
        region[radius < bumps] = label
    return volume


def _ripple(
    axes: list[NDArray[np.float32]],
    directions: NDArray[np.float64],
    phases: NDArray[np.float64],
    *,
    scale: float,
) -> NDArray[np.float32]:
    """Return a sum of plane waves, about -1 to 1, whose lengths are a few times `scale` mm."""
    total = np.zeros(np.broadcast_shapes(*(axis.shape for axis in axes)), np.float32)
    for direction, phase in zip(directions, phases, strict=True):
        x, y, z = (np.float32(2.5 * part / scale) * axis for part, axis in zip(direction, axes, strict=True))
        total += np.sin(x + y + z + np.float32(phase))
    return total / np.float32(len(phases))
