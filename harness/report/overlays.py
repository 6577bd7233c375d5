"""Pictures of the worst cases: slices of the CT with the contours of reference and prediction."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import nibabel as nib
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from nibabel.orientations import apply_orientation, io_orientation

from evaluator.errors import EvaluatorError
from evaluator.volume import read_label_volume
from harness.data.dataset import Case, Dataset
from harness.report.scene import Scene
from harness.report.svg import Svg

WINDOW_HU = (-160.0, 240.0)
"""The soft tissue window: level 40, width 400."""

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
    """

    index: int
    case: str
    score: float
    slices: tuple[Markup, ...]


@dataclass(frozen=True)
class Wanted:
    """A picture to make."""

    index: int
    case: str
    score: float
    prediction: Path


def worst_cases(scene: Scene, index: int, most: int) -> list[Wanted]:
    """Return a method's worst cases that left a prediction, worst first."""
    run, cases, scores = scene.runs[index], scene.division.cases, scene.case_scores[:, index]
    order = [
        int(case)
        for case in np.argsort(scores, kind="stable")
        if run.succeeded[case] and not np.isnan(scores[case])
    ]
    wanted = []
    for case in order:
        path = scene.evidence[index].prediction(cases[case])
        if path is not None:
            wanted.append(Wanted(index, cases[case], float(scores[case]), path))
        if len(wanted) == most:
            break
    return wanted


def draw(wanted: Sequence[Wanted], dataset: Dataset) -> dict[tuple[int, str], Picture]:
    """Draw pictures by (row, case), reading each image and reference once.

    What cannot be read or does not fit together is left out: a report is not the place to fail over it.
    """
    known = {case.id: case for case in dataset.cases}
    pictures = {}
    for name in sorted({item.case for item in wanted} & known.keys()):
        volumes = _read_case(known[name])
        if volumes is None:
            continue
        ct, reference, spacing = volumes
        for item in wanted:
            if item.case != name:
                continue
            prediction = _read_labels(item.prediction)
            if prediction is not None and prediction[0].shape == ct.shape:
                slices = _three_slices(ct, reference, prediction[0], spacing, name)
                pictures[item.index, name] = Picture(item.index, name, item.score, slices)
    return pictures


Volume = npt.NDArray[np.generic]


def _read_case(case: Case) -> tuple[Volume, Volume, tuple[float, float, float]] | None:
    """Return the CT, the reference and the spacing, axes to the right, to the front and up."""
    if case.image is None or case.label is None:
        return None
    reference = _read_labels(case.label)
    try:
        image = nib.as_closest_canonical(nib.load(case.image))  # type: ignore[no-untyped-call]
        ct = np.asanyarray(image.dataobj)
    except (OSError, ValueError, nib.filebasedimages.ImageFileError):
        return None
    if reference is None or reference[0].shape != ct.shape:
        return None
    return ct, reference[0], reference[1]


def _read_labels(path: Path) -> tuple[Volume, tuple[float, float, float]] | None:
    try:
        volume = read_label_volume(path)
    except (EvaluatorError, OSError):
        return None
    if volume.affine is None:
        return volume.array, volume.spacing_mm
    orientation = io_orientation(volume.affine)  # type: ignore[no-untyped-call]
    spacing = [0.0, 0.0, 0.0]
    for axis, (target, _) in enumerate(orientation):
        spacing[int(target)] = volume.spacing_mm[axis]
    turned = apply_orientation(volume.array, orientation)  # type: ignore[no-untyped-call]
    return turned, (spacing[0], spacing[1], spacing[2])


def _three_slices(
    ct: Volume, reference: Volume, prediction: Volume, spacing: tuple[float, float, float], case: str
) -> tuple[Markup, ...]:
    """Cut where most voxels disagree; where all agree, through the middle of the reference."""
    differs = reference != prediction
    if not differs.any():
        differs = reference != 0
    drawings = []
    for axis in (2, 1, 0):
        others = tuple(other for other in range(3) if other != axis)
        place = int(np.argmax(differs.sum(axis=others)))
        # Moving the axis makes a view; `np.take` would copy the whole volume.
        cut = [np.moveaxis(volume, axis, 0)[place] for volume in (ct, reference, prediction)]
        sizes = tuple(spacing[other] for other in others)
        drawings.append(_slice(cut[0], cut[1], cut[2], sizes, f"{case}, {_PLANES[axis]} slice {place}"))
    return tuple(drawings)


def _slice(ct: Volume, reference: Volume, prediction: Volume, spacing: Sequence[float], label: str) -> Markup:
    """Draw one slice; array axes are (right, up), the picture shows up at the top and right at the left."""
    frame = _frame(ct, reference, prediction)
    step = max(1, -(-max(frame[0].stop - frame[0].start, frame[1].stop - frame[1].start) // _MOST_PIXELS))
    grey, ref, pred = (
        np.flip(layer[frame][::step, ::step].T, axis=(0, 1)) for layer in (ct, reference, prediction)
    )
    low, high = WINDOW_HU
    pixels = np.clip((grey.astype(np.float32) - low) * (255.0 / (high - low)), 0, 255).astype(np.uint8)
    encoded = imagecodecs.webp_encode(
        np.repeat(pixels[:, :, None], 3, axis=2), level=_QUALITY, lossless=False
    )
    rows, columns = pixels.shape
    height = _SHOWN_WIDTH * (rows * spacing[1]) / (columns * spacing[0])
    svg = Svg(_SHOWN_WIDTH, height, label=f"{label}: reference in blue, prediction in orange")
    data = base64.b64encode(encoded).decode()
    place = {"width": f"{_SHOWN_WIDTH:.0f}", "height": f"{height:.1f}", "preserveAspectRatio": "none"}
    svg.add("image", {"href": f"data:image/webp;base64,{data}", **place})
    scale = f"scale({_SHOWN_WIDTH / columns:.4f} {height / rows:.4f})"
    svg.shape(outline(ref), "contour reference", transform=scale)
    svg.shape(outline(pred), "contour prediction", transform=scale)
    return svg.markup()


def _frame(ct: Volume, reference: Volume, prediction: Volume) -> tuple[slice, slice]:
    """Return the part of a slice that holds the body, and all labels with a margin."""
    inside = (ct.astype(np.float32) > _BODY_ABOVE_HU) | (reference != 0) | (prediction != 0)
    bounds = []
    for axis in (0, 1):
        held = np.flatnonzero(inside.any(axis=1 - axis))
        first, last = (int(held[0]), int(held[-1])) if len(held) else (0, ct.shape[axis] - 1)
        bounds.append(slice(max(0, first - 2), min(ct.shape[axis], last + 3)))
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
