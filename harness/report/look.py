"""Look at cases: each is read once, and everything that the report shows is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import sched_getaffinity
from pathlib import Path

import numpy as np
from markupsafe import Markup

from evaluator.labels import LabelTable
from harness.data.dataset import Dataset
from harness.report.agreement import Agreement, confusion_ml, find_lesions, nsd_curve
from harness.report.overlays import three_slices
from harness.report.packing import PackedCase, pack_case
from harness.report.scene import Scene
from harness.report.volumes import Labels, labelled_box, read_case, read_labels

MOST_CASES = 20
MOST_METHODS = 20
"""Methods of a case that are read: the first in the ranking, and those whose worst case it is."""
_NSD_METHODS, _NSD_CASES = 4, 5
"""Distances without a bound are slow: the first methods in the first cases say enough."""
_PICTURES_EACH = 3
_MOST_THREADS = 4
"""Each holds a case's volumes in memory."""


@dataclass(frozen=True)
class CaseJob:
    """What is read of one case, and what for.

    Attributes:
        case: Its id.
        image: Its image.
        references: Its reference, or those of several raters.
        annotated: The voxel values that count in it.
        predictions: Files by row.
        pictures: The rows that get a still picture.
        curves: The rows that get NSD over tolerance.
        labels: The challenge's labels.
        lesions: The label values whose pieces are lesions.
        profile: The scoring profile, which says what a lesion is.
    """

    case: str
    image: Path
    references: tuple[Path, ...]
    annotated: tuple[int, ...]
    predictions: Mapping[int, Path]
    pictures: frozenset[int]
    curves: frozenset[int]
    labels: LabelTable
    lesions: tuple[int, ...]
    profile: str


@dataclass(frozen=True, eq=False)
class CaseLook:
    """What was made of a case.

    Attributes:
        case: Its id.
        annotated: The voxel values that count in it.
        packed: The volumes for the browser.
        agreements: By row.
        pictures: Axial, coronal and sagittal drawing by row.
    """

    case: str
    annotated: tuple[int, ...]
    packed: PackedCase
    agreements: Mapping[int, Agreement]
    pictures: Mapping[int, tuple[Markup, ...]]


def look_at(jobs: Sequence[CaseJob]) -> Iterator[CaseLook]:
    """Yield what is made of each case, in order, some at a time.

    What cannot be read or does not fit together is left out: a report is not the place to fail over it.
    """
    # Threads: nearly all of the work is NumPy's and the codecs', which let others run.
    with ThreadPoolExecutor(min(len(sched_getaffinity(0)), _MOST_THREADS)) as pool:
        yield from (look for look in pool.map(look_at_case, jobs) if look is not None)


def look_at_case(job: CaseJob) -> CaseLook | None:
    """Make everything of one case; None if its image or reference cannot be read."""
    case = read_case(job.image, job.references, job.annotated)
    if case is None:
        return None
    voxel_ml = float(np.prod(case.spacing_mm)) / 1000
    predictions: dict[int, Labels] = {}
    for row, path in job.predictions.items():
        read = read_labels(path, job.annotated)
        if read is not None and read[0].shape == case.reference.shape:
            predictions[row] = read[0]
    agreements, pictures = {}, {}
    lesions = LabelTable(
        "lesions",
        tuple(
            label
            for label in job.labels
            if label.value in job.lesions and set(label.voxel_values) <= set(job.annotated)
        ),
    )
    box = labelled_box([case.reference, *predictions.values()])
    for row, labels in predictions.items():
        pair = (case.reference[box], labels[box])
        agreements[row] = Agreement(
            confusion_ml(*pair, [0 if label.parts else label.value for label in job.labels], voxel_ml),
            find_lesions(*pair, lesions, case.spacing_mm, profile=job.profile) if len(lesions.labels) else (),
            nsd_curve(*pair, job.labels, case.spacing_mm) if row in job.curves else np.empty(0),
        )
        if row in job.pictures:
            pictures[row] = three_slices(case, labels, job.labels, name=job.case)
    return CaseLook(job.case, job.annotated, pack_case(case, predictions, box), agreements, pictures)


def plan_looks(scene: Scene, dataset: Dataset, *, most_pictures: int) -> list[CaseJob]:
    """Choose what is looked at: everyone's worst case first, then everyone's second, and so on.

    Args:
        scene: The division.
        dataset: Images and references.
        most_pictures: Still pictures in all.
    """
    known = {
        case.id: (case.image, case.labels) for case in dataset.cases if case.image is not None and case.labels
    }
    worst = [_worst_first(scene, row, known) for row in range(len(scene.rows))]
    turns = [
        (turn, row, order[turn])
        for turn in range(len(known))
        for row, order in enumerate(worst)
        if turn < len(order)
    ]
    chosen = list(dict.fromkeys(case for _, _, case in turns))[:MOST_CASES]
    pictures = [(row, case) for turn, row, case in turns if turn < _PICTURES_EACH and case in set(chosen)]
    pictures = pictures[:most_pictures]
    lesions = lesion_values(scene)
    annotated = scene.runs[0].annotated
    jobs = []
    for place, case in enumerate(sorted(chosen, key=scene.division.cases.index)):
        drawn = frozenset(row for row, other in pictures if other == case)
        rows = [row for row, order in enumerate(worst) if case in set(order)]
        rows = sorted({*rows[:MOST_METHODS], *drawn})
        paths = {row: scene.evidence[row].prediction(case) for row in rows}
        image, references = known[case]
        mask = annotated[scene.division.cases.index(case)]
        counted = [label for label, counts in zip(scene.challenge.labels, mask, strict=True) if counts]
        jobs.append(
            CaseJob(
                case=case,
                image=image,
                references=references,
                annotated=tuple(sorted({value for label in counted for value in label.voxel_values})),
                predictions={row: path for row, path in paths.items() if path is not None},
                pictures=drawn,
                curves=frozenset(range(_NSD_METHODS) if place < _NSD_CASES else ()),
                labels=scene.challenge.labels,
                lesions=lesions,
                profile=scene.division.profile,
            )
        )
    return jobs


def lesion_values(scene: Scene) -> tuple[int, ...]:
    """Return the labels that come in pieces of their own: those whose name or group says so."""
    words = ("tumour", "tumor", "lesion", "metastas", "nodule", "cyst")
    groups = {
        value
        for name, values in scene.challenge.label_groups.items()
        if any(word in name.lower() for word in words)
        for value in values
    }
    named = {
        item.value for item in scene.challenge.labels if any(word in item.name.lower() for word in words)
    }
    return tuple(sorted(groups | named))


def _worst_first(scene: Scene, row: int, known: Mapping[str, object]) -> list[str]:
    """Return a method's cases that left a prediction and can be looked at, worst first."""
    run, cases = scene.runs[row], scene.division.cases
    order = np.argsort(np.nan_to_num(scene.case_scores[:, row], nan=2.0), kind="stable")
    return [
        cases[case]
        for case in map(int, order)
        if run.succeeded[case]
        and cases[case] in known
        and scene.evidence[row].prediction(cases[case]) is not None
    ]
