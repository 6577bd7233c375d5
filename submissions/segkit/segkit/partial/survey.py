"""What a data set annotates: every label file read once, compared with the table, and counted.

    python -m segkit.partial.survey DATA [--annotated FILE] [--json FILE] [--draft FILE.csv]

`--draft` writes the table that the label files suggest: a class counts as annotated where it occurs. That is
a first guess to go over by hand, since an organ that a patient lacks looks like one that nobody annotated.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segkit.errors import SegkitError
from segkit.log import log
from segkit.partial.annotation import AnnotationTable, Case, read_annotations
from segkit.partial.errors import AnnotationError, VolumeError
from segkit.partial.values import LABEL_NAMES
from segkit.partial.volumes import file_sha256, read_grid, read_labels, voxels_by_value
from segkit.program import run_program


@dataclass(frozen=True)
class CaseSurvey:
    """What one case annotates and holds.

    Attributes:
        case: The case id.
        annotated: The annotated label values, ascending.
        label_sha256: Of the label file; None if there is none.
        voxels: Voxels by label value, those that occur.
        grid: The CT's grid, see `segkit.partial.volumes.Grid`.
    """

    case: str
    annotated: tuple[int, ...]
    label_sha256: str | None
    voxels: dict[int, int]
    grid: dict[str, list[float]]

    def volume_ml(self, value: int) -> float:
        """The volume of what holds a label value."""
        return self.voxels[value] * math.prod(self.grid["spacing_mm"]) / 1000


def survey(table: AnnotationTable, out: Path, on_case: Callable[[str], None] = lambda case: None) -> str:
    """Read all label files, write what they hold to a JSON file and return it as a text table.

    Files that an earlier survey has read are not read again while they stay the same; that goes for a survey
    that was stopped or found faults, too.

    Args:
        table: The cases and what they annotate.
        out: The JSON file, survey.json.
        on_case: Told each case when its files have been looked at.

    Raises:
        AnnotationError: Label files that cannot be used or hold what the table says they do not annotate;
            the message names the first few.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f"{out.name}.part")
    known = _earlier(part) | _earlier(out)
    rows: list[CaseSurvey] = []
    faults = []
    try:
        for case in table.cases:
            try:
                rows.append(_survey_case(case, known.get(case.name)))
            except VolumeError as fault:
                faults.append(str(fault))
            on_case(case.name)
    finally:
        cases = [asdict(row) for row in rows]
        content = {"table": table.origin, "groups": groups_of(table), "cases": cases}
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if faults:
        shown = "\n  ".join(faults[:10]) + ("\n  ..." if len(faults) > 10 else "")
        raise AnnotationError(f"{len(faults)} of {len(table.cases)} cases cannot be used:\n  {shown}")
    part.replace(out)
    return text_of(table, rows)


def groups_of(table: AnnotationTable) -> dict[str, int]:
    """How many cases annotate what."""
    return {
        "cases": len(table.cases),
        "everything": len(table.with_everything()),
        "some": len(table.with_some()),
        "nothing": len(table.with_nothing()),
        "all organs": len(table.with_all_organs()),
        "tumour": len(table.with_tumour()),
    }


def text_of(table: AnnotationTable, rows: list[CaseSurvey]) -> str:
    """The survey for people: groups, and for each label in how many cases it is annotated and found."""
    groups = groups_of(table)
    lines = [
        f"{groups['cases']} cases in {table.data}; annotations: {table.origin}",
        f"annotating everything {groups['everything']}, some {groups['some']}, nothing {groups['nothing']}; "
        f"all organs {groups['all organs']}, the tumour {groups['tumour']}",
        f"{'label':<23}{'annotated':>10}{'found':>7}{'median ml':>11}",
    ]
    for value, name in LABEL_NAMES.items():
        annotated = sum(value in row.annotated for row in rows)
        volumes_ml = [row.volume_ml(value) for row in rows if value in row.voxels]
        median = f"{statistics.median(volumes_ml):.1f}" if volumes_ml else ""
        lines.append(f"{value:>2} {name:<20}{annotated:>10}{len(volumes_ml):>7}{median:>11}".rstrip())
    return "\n".join(lines)


def write_draft(survey_json: Path, out: Path) -> None:
    """Write a CSV table in which each case annotates the classes that occur in its label file.

    Args:
        survey_json: What `survey` wrote.
        out: The table.

    Raises:
        AnnotationError: `out` exists: it may have been gone over by hand.
    """
    if out.exists():
        raise AnnotationError(f"{out} exists and may have been edited; take it away or name another file.")
    rows = _earlier(survey_json)
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("case", "labels"))
        for name, row in rows.items():
            writer.writerow((name, " ".join(map(str, sorted(row.voxels))) or "none"))


def _survey_case(case: Case, known: CaseSurvey | None) -> CaseSurvey:
    grid = read_grid(case.image)
    place = grid.as_dict()
    sha256 = file_sha256(case.label) if case.label else None
    annotated = tuple(sorted(case.annotated))
    if known and (known.annotated, known.label_sha256, known.grid) == (annotated, sha256, place):
        return known
    voxels: dict[int, int] = {}
    if case.label:
        mend = f"the table says that {case.name} annotates no other; mend the table or the file"
        voxels = voxels_by_value(read_labels(case.label, grid, case.annotated, mend))
    return CaseSurvey(case.name, annotated, sha256, voxels, place)


def _earlier(path: Path) -> dict[str, CaseSurvey]:
    """The cases of a survey by name; none where there is no whole file."""
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cases"]
        return {
            row["case"]: CaseSurvey(
                case=row["case"],
                annotated=tuple(row["annotated"]),
                label_sha256=row["label_sha256"],
                voxels={int(value): count for value, count in row["voxels"].items()},
                grid=row["grid"],
            )
            for row in rows
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m segkit.partial.survey", description=__doc__.split("\n")[0]
    )
    parser.add_argument("data", type=Path, help="folder with imagesTr, labelsTr, dataset.json")
    parser.add_argument("--annotated", type=Path, help="table of annotations, .json or .csv")
    parser.add_argument("--json", type=Path, default=Path("survey.json"), help="default: ./survey.json")
    parser.add_argument("--draft", type=Path, help="write the table that the label files suggest, .csv")
    options = parser.parse_args(arguments)

    def work() -> None:
        # A survey drafts the table, so it cannot ask for one.
        table = read_annotations(options.data, options.annotated, complete=True)
        print(survey(table, options.json, log.info))
        if options.draft:
            write_draft(options.json, options.draft)

    return run_program(work, errors=(SegkitError, OSError))


if __name__ == "__main__":
    sys.exit(main())
