"""Check a data set before anything runs on it, so that no team pays for what an organiser's file does.

Every file is read to its end: a torn reference that is found after the last case costs the whole night.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluator.errors import EvaluatorError
from evaluator.geometry import compare_geometry, readers_disagree
from evaluator.header import VolumeHeader
from evaluator.inflate import read_pieces, read_to_the_end
from evaluator.labels import LabelTable
from evaluator.volume import read_header, read_label_volume
from harness.data.dataset import Case, Dataset
from harness.errors import ConfigurationError

SMALLEST_VOXEL_MM, LARGEST_VOXEL_MM = 0.05, 50.0
"""Sizes beyond these are told: they are units gone wrong more often than scans."""

_MOST_READERS = 4
_REPAIR = "`harness data check --repair DIR` writes copies with one clean header each"


@dataclass(frozen=True)
class Finding:
    """One thing about a file that the organiser should know.

    Attributes:
        case: The case id.
        where: The file.
        what: What is so, as a sentence without a full stop.
        mend: What can be done; may be empty.
        fatal: Whether teams would pay for it, so that nothing may run before it is mended.
    """

    case: str
    where: Path
    what: str
    mend: str = ""
    fatal: bool = False


@dataclass(frozen=True)
class CaseFacts:
    """What was found in one case's files.

    Attributes:
        shape: Voxels along x, y, z.
        spacing_mm: Voxel size along x, y, z.
        labels: The values that the reference holds, background left out; None where there is no label.
        findings: What the organiser should know.
    """

    case: str
    shape: tuple[int, int, int] = (0, 0, 0)
    spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    labels: tuple[int, ...] | None = None
    findings: tuple[Finding, ...] = ()


def check_dataset(
    dataset: Dataset,
    *,
    labels: LabelTable | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[CaseFacts]:
    """Read every file of a data set to its end and compare what belongs together.

    Args:
        dataset: The data set.
        labels: The challenge's labels, if one is known: other values in references are then told.
        progress: Told after each case.
    """
    facts = []
    with ThreadPoolExecutor(min(_MOST_READERS, os.cpu_count() or 1)) as pool:
        for done, found in enumerate(
            pool.map(lambda case: check_case(case, labels=labels), dataset.cases), 1
        ):
            facts.append(found)
            if progress is not None:
                progress(done, len(dataset.cases))
    return facts


def require_sound(facts: list[CaseFacts]) -> None:
    """Refuse a data set that a team would pay for.

    Raises:
        ConfigurationError: names the first file at fault, and how many more cases have one.
    """
    fatal = [finding for fact in facts for finding in fact.findings if finding.fatal]
    if not fatal:
        return
    first, others = fatal[0], {finding.case for finding in fatal} - {fatal[0].case}
    more = f" {len(others)} more case(s) have faults; `harness data check` lists them." if others else ""
    raise ConfigurationError(
        first.what, where=first.where, mend=f"{first.mend}.{more}" if first.mend else more
    )


def check_channels(dataset: Dataset, names: tuple[str, ...]) -> None:
    """Refuse a data set whose cases have other channels than the challenge says.

    Args:
        dataset: The data set.
        names: The challenge's channels; none means one image a case.

    Raises:
        ConfigurationError: a method would be given another input than the challenge promises.
    """
    count = len(dataset.cases[0].channels)
    if count == max(1, len(names)):
        return
    shown = ", ".join(f'"{name}"' for name in dataset.channels or ("CT", "PET", "...")[:count])
    raise ConfigurationError(
        f"the data has {count} channel(s) a case and the challenge {max(1, len(names))}",
        where=dataset.folder,
        mend=f"Write `channels = [{shown}]` into the challenge's [contract], or take the images of others out.",
    )


def check_case(case: Case, *, labels: LabelTable | None = None) -> CaseFacts:
    """Read the files of one case to their ends; see `check_dataset`."""
    findings: list[Finding] = []
    first: VolumeHeader | None = None
    for path in case.channels:
        try:
            header = read_header(path)
            findings += _check_voxels(case, path, header)
        except EvaluatorError as error:
            findings.append(_unreadable(case, path, error))
            continue
        findings += _check_header(case, path, header)
        if first is None:
            first = header
        elif compare_geometry(first, header).kind != "same":
            findings.append(
                Finding(
                    case.id,
                    path,
                    f"a channel of case {case.id} is not on the grid of its first: "
                    f"{compare_geometry(first, header).text}",
                    "Resample it to the first channel's grid",
                    fatal=True,
                )
            )
    values: tuple[int, ...] | None = None
    for path in case.labels:
        held, found = _check_label(case, path, first, labels)
        values = held if values is None else tuple(sorted({*values, *(held or ())}))
        findings += found
    return CaseFacts(
        case.id,
        shape=first.shape if first is not None else (0, 0, 0),
        spacing_mm=first.spacing_mm if first is not None else (0.0, 0.0, 0.0),
        labels=values,
        findings=tuple(findings),
    )


def _check_voxels(case: Case, path: Path, header: VolumeHeader) -> list[Finding]:
    """Read an image to its end, and tell of values that stop most programs."""
    if header.dtype.kind != "f":
        read_to_the_end(header)
        return []
    strange, rest, skipped = 0, b"", header.data_offset
    for piece in read_pieces(header):
        content = rest + piece
        content, skipped = content[skipped:], max(0, skipped - len(content))
        whole = len(content) - len(content) % header.dtype.itemsize
        strange += int(np.count_nonzero(~np.isfinite(np.frombuffer(content[:whole], header.dtype))))
        rest = content[whole:]
    if not strange:
        return []
    what = f"the image of case {case.id} holds {strange:,} voxels that are no number (NaN or infinite)"
    return [Finding(case.id, path, what, "Most programs fail on these; write what the scanner gives for air")]


def _check_header(case: Case, path: Path, header: VolumeHeader) -> list[Finding]:
    """Tell what in an image's header readers make different things of."""
    findings = []
    if places := readers_disagree(header):
        what = (
            f"the header of case {case.id} states two places, and common readers differ: {'; '.join(places)}"
        )
        mend = f"Predictions on each are accepted, and scored alike; {_REPAIR}"
        findings.append(Finding(case.id, path, what, mend))
    else:
        findings += [Finding(case.id, path, note) for note in header.notes]
    sizes = [mm for mm, count in zip(header.spacing_mm, header.shape, strict=True) if count > 1]
    if any(not SMALLEST_VOXEL_MM <= mm <= LARGEST_VOXEL_MM for mm in sizes):
        shown = " x ".join(f"{mm:.4g}" for mm in header.spacing_mm)
        what = f"the voxels of case {case.id} measure {shown} mm, which no clinical scanner makes"
        findings.append(Finding(case.id, path, what, "Is the header in metres or micrometres?"))
    if header.format == "NIfTI-2":
        what = f"the image of case {case.id} is NIfTI-2, which ITK does not read"
        findings.append(
            Finding(case.id, path, what, "Submissions are given it as NIfTI-1 where that holds it")
        )
    return findings


def _check_label(
    case: Case, path: Path, image: VolumeHeader | None, table: LabelTable | None
) -> tuple[tuple[int, ...] | None, list[Finding]]:
    try:
        header = read_header(path)
        volume = read_label_volume(path)
    except EvaluatorError as error:
        return None, [_unreadable(case, path, error)]
    told = image.notes if image is not None else ()
    findings = [Finding(case.id, path, note) for note in volume.notes if note not in told]
    if image is not None:
        diagnosis = compare_geometry(image, header)
        if diagnosis.kind == "different":
            findings.append(
                Finding(
                    case.id,
                    path,
                    f"the label of case {case.id} is not on its image's grid: {diagnosis.text}",
                    f"{_REPAIR} and gives it its image's place"
                    if diagnosis.lacks_geometry and header.shape == image.shape
                    else "Resample it to the image's grid, nearest neighbour",
                    fatal=True,
                )
            )
        elif diagnosis.text != "same grid":
            findings.append(Finding(case.id, path, f"the label of case {case.id} is {diagnosis.text}"))
    values = tuple(int(value) for value in np.unique(volume.array) if value != 0)
    return values, findings + _check_values(case, path, values, table)


def _check_values(case: Case, path: Path, values: tuple[int, ...], table: LabelTable | None) -> list[Finding]:
    if table is None:
        return []
    findings = []
    if unknown := [value for value in values if value not in table.voxel_values]:
        findings.append(
            Finding(
                case.id,
                path,
                f"the label of case {case.id} holds {_words(unknown)}, which {table.name} does not score",
                f"Its labels are {_words(table.voxel_values)}",
                fatal=len(unknown) == len(values),
            )
        )
    if case.annotated is not None and (strange := set(case.annotated) - set(table.voxel_values)):
        findings.append(
            Finding(
                case.id,
                path,
                f"`annotated` of case {case.id} names {_words(strange)}, which {table.name} does not score",
                f"Its labels are {_words(table.voxel_values)}",
                fatal=True,
            )
        )
    return findings


def _unreadable(case: Case, path: Path, error: EvaluatorError) -> Finding:
    mend = error.mend or "Replace the file, or take the case out of the data set"
    return Finding(case.id, path, error.what, mend.removesuffix("."), fatal=True)


def _words(values: object) -> str:
    return ", ".join(str(value) for value in sorted(values))  # type: ignore[call-overload]
