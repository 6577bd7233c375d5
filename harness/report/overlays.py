"""Still pictures of the worst cases: slices with the contours of both volumes, a colour per label."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import imagecodecs
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from evaluator.labels import LabelTable
from harness.report.svg import Svg
from harness.report.volumes import CaseVolumes, Labels, Volume

WINDOW_HU = (-160.0, 240.0)
"""The soft tissue window: level 40, width 400."""

PALETTE = (
    "#ff6b5e", "#4fc3ff", "#63d471", "#ffd24a", "#c58bff", "#ff9f43", "#3fe0c5",
    "#ff7bc0", "#b4e04b", "#8fa8ff", "#e0b088", "#f4f58a", "#8ee8ff", "#ff4fa3",
)  # fmt: skip
"""What labels are drawn in, in the order of the challenge, where it names no colours; readable on black."""

_MOST_PIXELS = 300
_QUALITY = 55
_SHOWN_WIDTH = 300.0
_BODY_ABOVE_HU = -400.0
_PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class Picture:
    """One case of one method, as three slices.

    Attributes:
        index: The method's row.
        case: The case id.
        score: The case's mean score, a fraction.
        slices: The drawings: axial, coronal, sagittal.
        labels: Names and colours of what is drawn.
    """

    index: int
    case: str
    score: float
    slices: tuple[Markup, ...]
    labels: tuple[tuple[str, str], ...]


def colours(labels: LabelTable) -> dict[int, str]:
    """Return what each label value is drawn in."""
    return {label.value: label.colour or PALETTE[place % len(PALETTE)] for place, label in enumerate(labels)}


def three_slices(
    case: CaseVolumes, prediction: Labels, labels: LabelTable, *, name: str
) -> tuple[Markup, ...]:
    """Cut where most voxels disagree; where all agree, through the middle of the reference.

    Returns:
        The axial, the coronal and the sagittal drawing.
    """
    differs = case.reference != prediction
    if not differs.any():
        differs = case.reference != 0
    drawings = []
    for axis in (2, 1, 0):
        others = tuple(other for other in range(3) if other != axis)
        place = int(np.argmax(differs.sum(axis=others)))
        # Moving the axis makes a view; `np.take` would copy the whole volume.
        cut = [np.moveaxis(volume, axis, 0)[place] for volume in (case.image, case.reference, prediction)]
        sizes = tuple(case.spacing_mm[other] for other in others)
        title = f"{name}, {_PLANES[axis]} slice {place}"
        drawings.append(_slice(cut, sizes, colours(labels), title))
    return tuple(drawings)


def _slice(cut: Sequence[Volume], spacing: Sequence[float], paint: dict[int, str], title: str) -> Markup:
    """Draw one slice; array axes are (right, up), the picture shows up at the top and right at the left."""
    frame = _frame(cut)
    step = max(1, -(-max(part.stop - part.start for part in frame) // _MOST_PIXELS))
    grey, ref, pred = (np.flip(layer[frame][::step, ::step].T, axis=(0, 1)) for layer in cut)
    low, high = WINDOW_HU
    pixels = np.clip((grey.astype(np.float32) - low) * (255.0 / (high - low)), 0, 255).astype(np.uint8)
    encoded = imagecodecs.webp_encode(
        np.repeat(pixels[:, :, None], 3, axis=2), level=_QUALITY, lossless=False
    )
    rows, columns = pixels.shape
    height = _SHOWN_WIDTH * (rows * spacing[1]) / (columns * spacing[0])
    svg = Svg(_SHOWN_WIDTH, height, label=f"{title}: reference thin, prediction broad, a colour per label")
    data = base64.b64encode(encoded).decode()
    place = {"width": f"{_SHOWN_WIDTH:.0f}", "height": f"{height:.1f}", "preserveAspectRatio": "none"}
    svg.add("image", {"href": f"data:image/webp;base64,{data}", **place})
    scale = f"scale({_SHOWN_WIDTH / columns:.4f} {height / rows:.4f})"
    for layer, kind in ((pred, "prediction"), (ref, "reference")):
        for value in map(int, np.unique(layer[layer != 0])):
            style = f"stroke:{paint.get(value, PALETTE[0])}"
            svg.shape(outline(layer == np.uint8(value)), f"contour {kind}", transform=scale, style=style)
    return svg.markup()


def _frame(cut: Sequence[Volume]) -> tuple[slice, slice]:
    """Return the part of a slice that holds the body, and all labels with a margin."""
    image, reference, prediction = cut
    inside = (image.astype(np.float32) > _BODY_ABOVE_HU) | (reference != 0) | (prediction != 0)
    bounds = []
    for axis in (0, 1):
        held = np.flatnonzero(inside.any(axis=1 - axis))
        first, last = (int(held[0]), int(held[-1])) if len(held) else (0, image.shape[axis] - 1)
        bounds.append(slice(max(0, first - 2), min(image.shape[axis], last + 3)))
    return bounds[0], bounds[1]


def outline(labels: Volume) -> str:
    """Return the borders between unlike pixels as path commands, along the pixels' edges.

    Args:
        labels: (rows, columns); pixel [r, c] covers x from c to c + 1 and y from r to r + 1.
    """
    padded = np.pad(labels, 1)
    across = padded[:, 1:] != padded[:, :-1]
    down = padded[1:, :] != padded[:-1, :]
    steps = [f"M{x} {start - 1}v{length}" for x, start, length in _runs(across.T)]
    steps += [f"M{start - 1} {y}h{length}" for y, start, length in _runs(down)]
    return "".join(steps)


def _runs(edges: npt.NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Return (line, start, length) of each run of true values along the last axis."""
    padded = np.pad(edges.astype(np.int8), ((0, 0), (1, 1)))
    steps = np.diff(padded, axis=1)
    lines, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return list(zip(lines.tolist(), starts.tolist(), (ends - starts).tolist(), strict=True))
