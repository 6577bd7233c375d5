"""Which label values each case annotates: a table, as data.

In a set pooled from several sources a background voxel says two different things. Of a class that the case
annotates it says "not here"; of any other class it says nothing. The table tells the two apart. It comes from

- the field `annotated` of dataset.json: {"case": [1, 2, 14], ...}, or
- a file of the same form (.json), or with the columns case and labels (.csv); labels are values or names
  of dataset.json ("1 2 14", "liver; left kidney"), "organs", "all" or "none".

A case that the table does not name annotates every class if it has a label file and none if it has not. So
does any case where there is no table, but only where somebody says so.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segkit.cases import IMAGE_ENDING, LABEL_ENDING
from segkit.partial.errors import AnnotationError
from segkit.partial.values import EVERYTHING, LABEL_NAMES, ORGANS, TUMOUR


@dataclass(frozen=True)
class Case:
    """One patient's CT and what is known about it.

    Attributes:
        name: The case id, `liver_012` for `liver_012_0000.nii.gz`.
        image: The CT.
        label: The label file; None if there is none.
        annotated: The label values that the label file vouches for, their background included.
    """

    name: str
    image: Path
    label: Path | None
    annotated: frozenset[int]


@dataclass(frozen=True)
class AnnotationTable:
    """The cases of a data set in the order of their ids. Use `read_annotations`.

    Attributes:
        data: The folder that holds imagesTr and labelsTr.
        cases: One entry for every image.
        origin: Where the table was read, for people.
    """

    data: Path
    cases: tuple[Case, ...] = field(repr=False)
    origin: str

    def __getitem__(self, name: str) -> Case:
        """The case of that id.

        Raises:
            AnnotationError: There is none.
        """
        for case in self.cases:
            if case.name == name:
                return case
        raise AnnotationError(
            f"{self.data} has no case {name}; case ids are image names without {IMAGE_ENDING}."
        )

    def with_all_organs(self) -> tuple[Case, ...]:
        """Cases that annotate all 13 organs: what an organ model can learn from."""
        return self._where(lambda annotated: annotated >= ORGANS)

    def with_tumour(self) -> tuple[Case, ...]:
        """Cases that annotate the tumour: what a tumour model can learn from."""
        return self._where(lambda annotated: TUMOUR in annotated)

    def with_everything(self) -> tuple[Case, ...]:
        """Cases that need no pseudo label."""
        return self._where(lambda annotated: annotated >= EVERYTHING)

    def with_some(self) -> tuple[Case, ...]:
        """Cases that annotate at least one class, but not every one: for fusion A."""
        return self._where(lambda annotated: bool(annotated) and not annotated >= EVERYTHING)

    def with_nothing(self) -> tuple[Case, ...]:
        """Cases that annotate no class: for fusion B."""
        return self._where(lambda annotated: not annotated)

    def lacking_organs(self) -> tuple[Case, ...]:
        """Cases that need an organ pseudo label."""
        return self._where(lacks_organs)

    def lacking_tumour(self) -> tuple[Case, ...]:
        """Cases that need a tumour pseudo label."""
        return self._where(lacks_tumour)

    def _where(self, holds: Callable[[frozenset[int]], bool]) -> tuple[Case, ...]:
        return tuple(case for case in self.cases if holds(case.annotated))


def lacks_organs(annotated: frozenset[int]) -> bool:
    """Whether an organ pseudo label has anything to say of a case with these annotated values."""
    return not annotated >= ORGANS


def lacks_tumour(annotated: frozenset[int]) -> bool:
    """Whether a tumour pseudo label has anything to say of a case with these annotated values."""
    return TUMOUR not in annotated


def _images_and_labels(data: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    images = _files(data / "imagesTr", IMAGE_ENDING)
    labels = _files(data / "labelsTr", LABEL_ENDING)
    if not images:
        raise AnnotationError(
            f"no imagesTr/<case>{IMAGE_ENDING} in {data}; give the folder that holds imagesTr."
        )
    if orphans := sorted(labels.keys() - images.keys()):
        raise AnnotationError(
            f"{data / 'labelsTr'}: {len(orphans)} label(s) without an image ({_some(orphans)}); "
            f"add imagesTr/{orphans[0]}{IMAGE_ENDING} or take the label away."
        )
    return images, labels


def read_annotations(data: Path, table: Path | None = None, *, complete: bool = False) -> AnnotationTable:
    """Find the cases of a FLARE-layout folder and what each of them annotates.

    No image and no label file is opened; `segkit.partial.survey` and `segkit.partial.fusion` compare the
    label files with the table when they read them.

    Args:
        data: Holds imagesTr/<case>_0000.nii.gz, labelsTr/<case>.nii.gz where there is a label, and
            optionally dataset.json with `labels` and `annotated`.
        table: A table in a file of its own; dataset.json then must have none, or the same.
        complete: Without a table, take every case with a label file to annotate every class. Where organs
            are missing from the labels, a model would learn that they are not there.

    Raises:
        AnnotationError: There is no table and nobody said that the labels are complete; there are no images,
            a label has no image, or the table cannot be read, names an unknown case or label, or says that a
            case without a label file annotates something.
    """
    images, labels = _images_and_labels(data)
    description = data / "dataset.json"
    content = _json(description) if description.is_file() else {}
    if not isinstance(content, dict):
        raise AnnotationError(f"{description} is no JSON object.")
    values = _values_by_name(content.get("labels"), description)
    rows, origin = {}, "every case with a label file annotates every class"
    if "annotated" in content:
        origin = f"{description}, field `annotated`"
        rows = _parsed(content["annotated"], values, origin)
    if table is not None:
        given = _parsed(_json(table) if table.suffix == ".json" else _csv(table), values, str(table))
        if "annotated" in content and given != rows:
            raise AnnotationError(
                f"there are two tables that differ: {table} and {origin}; take one of them away."
            )
        rows, origin = given, str(table)
    if "annotated" not in content and table is None and not complete:
        raise AnnotationError(
            f"{data} does not say which labels each case annotates: {description} has no field `annotated`; "
            "give a table with --annotated FILE (python -m segkit.partial.survey drafts one), or say "
            "--complete if every label file annotates every class."
        )
    if unknown := sorted(rows.keys() - images.keys()):
        raise AnnotationError(
            f"{origin}: no image for {len(unknown)} case(s) ({_some(unknown)}); case ids are the names in "
            f"imagesTr without {IMAGE_ENDING}."
        )
    everything = frozenset(values.values())
    cases = []
    for name, image in sorted(images.items()):
        label = labels.get(name)
        annotated = rows.get(name, everything if label else frozenset())
        if annotated and label is None:
            raise AnnotationError(
                f"{origin}: {name} annotates {_listed(annotated)}, but labelsTr/{name}{LABEL_ENDING} is "
                "missing; add the file or write that the case annotates none."
            )
        cases.append(Case(name, image, label, annotated))
    return AnnotationTable(data, tuple(cases), origin)


def _files(folder: Path, ending: str) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {
        path.name.removesuffix(ending): path
        for path in folder.iterdir()
        if path.name.endswith(ending) and not path.name.startswith(".")
    }


def _json(path: Path) -> Any:
    try:
        return json.loads(
            path.read_text(encoding="utf-8"), object_pairs_hook=lambda pairs: _unique(pairs, path)
        )
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{path} cannot be read as JSON ({error}).") from error


def _unique(pairs: Iterable[tuple[str, Any]], path: Path) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise AnnotationError(f"{path} names {key} twice; keep one entry.")
        result[key] = value
    return result


def _csv(path: Path) -> dict[str, str]:
    if path.suffix != ".csv":
        raise AnnotationError(f"{path}: a table of annotations is a .json or a .csv file.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"case", "labels"} <= set(reader.fieldnames or ()):
                raise AnnotationError(f"{path}: its first line must name the columns case and labels.")
            lines = []
            for row in reader:
                if None in row or row["labels"] is None:
                    raise AnnotationError(
                        f"{path}, line {reader.line_num}: not as many columns as the first line names; "
                        'separate labels by spaces ("1 2 14") or quote them.'
                    )
                lines.append((row["case"].strip(), row["labels"].strip()))
    except (OSError, ValueError, csv.Error) as error:
        raise AnnotationError(f"{path} cannot be read as CSV ({error}).") from error
    return _unique(lines, path)


def _values_by_name(labels: object, where: Path) -> dict[str, int]:
    """dataset.json's labels as {plain name: value} without the background; FLARE's where it has none.

    nnU-Net 1 wrote {"1": "liver"}, nnU-Net 2 {"liver": 1}.
    """
    if labels is None:
        return {name: value for value, name in LABEL_NAMES.items()}
    try:
        pairs = [(str(key), value) for key, value in labels.items()]  # type: ignore[attr-defined]
        if all(key.isdigit() for key, _ in pairs):
            pairs = [(str(name), key) for key, name in pairs]
        values = {_plain(name): int(value) for name, value in pairs}
    except (AttributeError, TypeError, ValueError) as error:
        raise AnnotationError(f"{where}: its `labels` are no table of names and values.") from error
    values = {name: value for name, value in values.items() if value != 0}
    if strange := sorted(set(values.values()) - EVERYTHING):
        raise AnnotationError(
            f"{where}: label values {_listed(strange)} mean nothing here; organs are 1 to {TUMOUR - 1} and "
            f"the tumour is {TUMOUR}."
        )
    for value, name in LABEL_NAMES.items():
        if values.get(name, value) != value:
            raise AnnotationError(
                f"{where}: {name} is {values[name]}, but {value} here; renumber the labels as FLARE does."
            )
    return values


def _parsed(rows: object, values: Mapping[str, int], origin: str) -> dict[str, frozenset[int]]:
    if not isinstance(rows, dict):
        raise AnnotationError(f'{origin}: not a table of cases; write {{"case": [1, 2, 3]}}.')
    return {case: _annotated(entry, values, f"{origin}, {case}") for case, entry in rows.items()}


def _annotated(entry: object, values: Mapping[str, int], where: str) -> frozenset[int]:
    """The values of one entry: a list of values or names, or both in a text."""
    if isinstance(entry, str):
        items: list[object] = [
            item for item in re.split(r"[;,]" if re.search("[;,]", entry) else r"\s+", entry) if item
        ]
        if not items:
            raise AnnotationError(f'{where}: the labels are empty; write "none" if nothing is annotated.')
    elif isinstance(entry, list):
        items = entry
    else:
        raise AnnotationError(f"{where}: {entry!r} is no list of label values; write e.g. [1, 2, 14] or [].")
    groups = {"all": frozenset(values.values()), "organs": ORGANS & set(values.values()), "none": frozenset()}
    found: set[int] = set()
    for item in items:
        name = _plain(str(item))
        if name in groups:
            found |= groups[name]
        elif name in values:
            found.add(values[name])
        elif not isinstance(item, bool) and name.isdigit() and int(name) in values.values():
            found.add(int(name))
        else:
            raise AnnotationError(
                f"{where}: unknown label {item!r}; values are {_listed(values.values())}, names are "
                f"{'; '.join(values)}. Separate names by semicolons."
            )
    return frozenset(found)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


def _listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(values)))


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
