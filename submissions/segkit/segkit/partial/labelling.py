"""Pseudo labels of many cases, one file each: written whole, kept when the same command goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from segkit.cases import LABEL_ENDING
from segkit.image import CT, read_ct, write_labels
from segkit.partial.volumes import file_sha256, scratch_folder

Segment = Callable[[CT], np.ndarray]
MADE_BY = "made_by.json"


def label_cases(
    weights: Path,
    load: Callable[[], Segment],
    cases: Iterable[tuple[str, Path]],
    out: Path,
    on_case: Callable[[str], None] = lambda case: None,
) -> None:
    """Write a model's labels of cases; files that the same weights made stay, those of others are made anew.

    Args:
        weights: The weights' file. Its SHA-256 goes to out/made_by.json.
        load: Makes the model ready; called once, and only where there is work.
        cases: Names and CTs.
        out: Gets <case>.nii.gz with the CT's geometry.
        on_case: Told each case when its file is there.

    Raises:
        SegkitError: A CT cannot be read, or a file cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    maker = {"weights_sha256": file_sha256(weights)}
    note = out / MADE_BY
    if not note.exists() or json.loads(note.read_text()) != maker:
        for old in out.glob(f"*{LABEL_ENDING}"):
            old.unlink()
        note.write_text(json.dumps(maker, indent=2) + "\n")
    segment = None
    with scratch_folder(out) as scratch:
        for case, image in cases:
            path = out / f"{case}{LABEL_ENDING}"
            if not path.exists():
                segment = segment or load()
                ct = read_ct(image)
                part = scratch / path.name
                write_labels(part, segment(ct), like=ct)
                part.replace(path)
            on_case(case)
