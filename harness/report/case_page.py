"""What the page of one case shows: its packed volumes, and every method's scores in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.challenge.metrics import shown_value
from harness.report.look import CaseLook
from harness.report.overlays import Picture, colours
from harness.report.scene import Scene
from harness.text import printable, score

WINDOWS = (
    ("soft tissue", 40, 400),
    ("liver", 70, 150),
    ("lung", -600, 1500),
    ("bone", 400, 1800),
    ("whole range", 0, 0),
)
"""Presets: name, level and width in HU; a width of 0 takes all that the page holds."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """What was looked at of a division.

    Attributes:
        looks: The cases, in the order of the data set.
        links: The page of each case, relative to the report's folder.
        pictures: Still pictures by row and case.
    """

    looks: Sequence[CaseLook]
    links: Mapping[str, str]
    pictures: Mapping[tuple[int, str], Picture]


def make_gallery(scene: Scene, looks: Sequence[CaseLook]) -> Gallery:
    """Name the cases' pages and collect their still pictures."""
    paint = colours(scene.challenge.labels)
    pictures = {}
    for look in looks:
        at = scene.division.cases.index(look.case)
        for row, slices in look.pictures.items():
            volumes = look.agreements[row].confusion_ml
            drawn = volumes.sum(axis=0) + volumes.sum(axis=1) > 0
            named = tuple(
                (label.name, paint[label.value])
                for label, held in zip(scene.challenge.labels, drawn[1:], strict=True)
                if held
            )
            mean = float(scene.case_scores[at, row])
            pictures[row, look.case] = Picture(row, look.case, mean, slices, named)
    links = {
        look.case: page_name(scene.anchor, place, look.case) for place, look in enumerate(looks, start=1)
    }
    return Gallery(looks, links, pictures)


def page_name(anchor: str, number: int, case: str) -> str:
    """Return a file name for a case's page that no name of a case can lead astray."""
    plain = re.sub(r"[^a-z0-9]+", "-", case.lower()).strip("-")[:40]
    return f"cases/{anchor}-{number:02d}-{plain or 'case'}.html"


def case_page(scene: Scene, gallery: Gallery, place: int) -> dict[str, Any]:
    """Return a case page's values for its template."""
    look = gallery.looks[place]
    pages = [gallery.links[other.case].removeprefix("cases/") for other in gallery.looks]
    return {
        "title": f"{look.case}: {scene.challenge.title}",
        "case": look.case,
        "division": scene.division,
        "others": [(other.case, page) for other, page in zip(gallery.looks, pages, strict=True)],
        "before": pages[place - 1] if place else None,
        "after": pages[place + 1] if place + 1 < len(pages) else None,
        "windows": [window[0] for window in WINDOWS] if look.packed.is_hu else ["whole range"],
        "methods": [printable(scene.rows[row].team) for row in look.packed.predictions],
        "left_out": look.packed.left_out,
        "data": _data(scene, look),
    }


def _data(scene: Scene, look: CaseLook) -> dict[str, Any]:
    packed = look.packed
    paint = colours(scene.challenge.labels)
    return {
        "shape": packed.shape,
        "spacing": [round(size, 4) for size in packed.spacing_mm],
        "image": packed.image,
        "across": packed.across,
        "knots": packed.knots,
        "windows": [window[1:] for window in WINDOWS] if packed.is_hu else [(0, 0)],
        "labels": [
            {"value": label.value, "name": label.name, "colour": paint[label.value]}
            for label in scene.challenge.labels
            if label.value in look.annotated
        ],
        "reference": packed.reference,
        "methods": [
            {"row": row, "team": printable(scene.rows[row].team), "labels": labels}
            | _scores(scene, row, look.case)
            for row, labels in packed.predictions.items()
        ],
    }


def _scores(scene: Scene, row: int, case: str) -> dict[str, Any]:
    """Return a method's mean score of a case and, by label value, its scores in words."""
    at = scene.division.cases.index(case)
    mean = float(scene.case_scores[at, row])
    said: dict[int, list[str]] = {value: [] for value in scene.runs[row].labels}
    for facts in scene.label_facts:
        values = scene.label_cases(row, facts.key)[at]
        for value, own in zip(said, values, strict=True):
            shown = "–" if np.isnan(own) else f"{100 * own:.1f}" if facts.percent else shown_value(facts, own)
            said[value].append(shown)
    return {
        "mean": "–" if np.isnan(mean) else score(mean),
        "scores": said,
        "heads": [facts.title for facts in scene.label_facts],
    }
