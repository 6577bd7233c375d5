"""Label tables from files: a TOML with `[[labels]]`, or a `dataset.json` of nnU-Net, MONAI or the Decathlon.

    name = "knee"                       # optional: the file's name by default

    [[labels]]
    value = 1
    name = "femur"
    tolerance_mm = 1.0
    group = "bone"                      # optional, as are colour and column
    colour = "#e0c060"

    [[labels]]
    values = [1, 2]                     # a region: several values as one
    name = "bone and cartilage"
    tolerance_mm = 1.0

A challenge's own TOML holds the same `[[labels]]` among other things, and can be given as it is. A
`dataset.json` knows no tolerances: the default is used, and the table's notes say so.
"""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from evaluator.errors import MissingFileError, RequestError, choose_one_of
from evaluator.labels import Label, LabelTable

DEFAULT_TOLERANCE_MM = 2.0
"""The NSD tolerance of labels whose file states none."""

T = TypeVar("T")

_LARGEST_FILE_BYTES = 16 * 2**20
_NUMBER, _TEXT, _INTEGER, _LIST = "a number", "a text", "a whole number", "a list of whole numbers"
_KINDS = {
    "value": _INTEGER,
    "values": _LIST,
    "name": _TEXT,
    "tolerance_mm": _NUMBER,
    "group": _TEXT,
    "colour": _TEXT,
    "column": _TEXT,
}
_REQUIRED = ("value", "name", "tolerance_mm")
_TYPES = {_INTEGER: int, _TEXT: str, _NUMBER: (int, float), _LIST: list}
FIRST_REGION = 1001
"""The number of the first region that states none."""


def label_table_from_file(path: Path | str, *, tolerance_mm: float | None = None) -> LabelTable:
    """Return the labels that a file states.

    Args:
        path: A `.toml` with `[[labels]]`, or a `.json` with `labels` as nnU-Net (`{"liver": 1}`), the
            Medical Segmentation Decathlon and MONAI (`{"1": "liver"}`, `["background", "liver"]`) write it.
        tolerance_mm: The tolerance of labels that state none. By default a TOML must state each, and for a
            `dataset.json` it is `DEFAULT_TOLERANCE_MM`.

    Raises:
        MissingFileError: The file cannot be read.
        RequestError: It is not as expected; the error names file, key and what is allowed.
    """
    path = Path(path)
    text = _read(path)
    if path.suffix.lower() == ".json":
        return _from_dataset_json(path, text, DEFAULT_TOLERANCE_MM if tolerance_mm is None else tolerance_mm)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"the file is no TOML: {error}", where=path) from error
    if "labels" not in content:
        raise RequestError(
            "the file has no [[labels]]",
            where=path,
            mend=f"Write one [[labels]] per label with {', '.join(_REQUIRED)}",
        )
    name = content.get("name", path.stem)
    if not isinstance(name, str):
        raise RequestError(f"name is {name!r}, not {_TEXT}", where=path)
    return label_table_from_rows(name, content["labels"], where=path, tolerance_mm=tolerance_mm)


def label_table_from_dict(
    labels: object, *, name: str = "labels", tolerance_mm: float = DEFAULT_TOLERANCE_MM
) -> LabelTable:
    """Return the labels that a plain dict states.

    Args:
        labels: `{1: "liver"}`, `{"liver": 1}`, or with regions `{"kidney with mass": [1, 2]}`; 0 and "ignore"
            are left out.
        name: The table's.
        tolerance_mm: The NSD tolerance of all.

    Raises:
        RequestError: It is not as expected.
    """
    if not isinstance(labels, Mapping):
        table = f"LABEL_TABLES[{labels!r}]" if isinstance(labels, str) else "a LabelTable"
        raise RequestError(
            f"labels are a table or a dict, not a {type(labels).__name__}",
            where="labels",
            mend=f'Give a dict such as {{1: "liver", 2: "spleen"}}, or {table}',
        )
    stated = {str(key): list(other) if isinstance(other, tuple) else other for key, other in labels.items()}
    return _from_names(stated, name, tolerance_mm, where="labels")


def label_table_from_rows(
    name: str, rows: object, *, where: object, tolerance_mm: float | None = None
) -> LabelTable:
    """Return the table that `[[labels]]` of a TOML describes.

    Args:
        name: The table's.
        rows: A list of tables with `value` or `values`, `name`, `tolerance_mm`, `group`, `colour`, `column`.
        where: The file, for errors.
        tolerance_mm: The tolerance of labels that state none; `None` if each must.

    Raises:
        RequestError: A key is missing, unknown or has a wrong value.
    """
    if not isinstance(rows, list) or not rows:
        raise RequestError(
            "labels is no list of [[labels]]", where=where, mend="Write one [[labels]] per label"
        )
    assumed: list[str] = []
    labels: list[Label] = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise RequestError(
                f"labels[{number}] is {row!r}, not a table",
                where=where,
                mend="Write [[labels]] above its keys",
            )
    for number, values in enumerate(with_numbers(rows), start=1):
        key = f"labels[{number}]"
        if tolerance_mm is not None and "tolerance_mm" not in values:
            values["tolerance_mm"] = tolerance_mm
            assumed.append(str(values.get("name")))
        _check_row(key, values, where)
        parts = tuple(values.pop("values", ()))
        labels.append(_at(key, where, partial(Label, **values, parts=parts)))
    notes = (_assumption(tolerance_mm, assumed),) if assumed and tolerance_mm is not None else ()
    return _at("labels", where, partial(LabelTable, name, tuple(labels), notes))


def with_numbers(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of labels with a `value` for regions that state none: 1001 for the first, and so on."""
    number = itertools.count(FIRST_REGION)
    return [{"value": next(number)} | dict(row) if row.get("values") else dict(row) for row in rows]


def _check_row(key: str, values: Mapping[str, Any], where: object) -> None:
    for name, value in values.items():
        if name not in _KINDS:
            raise RequestError(f"{key}.{name} is not known", where=where, mend=choose_one_of(name, _KINDS))
        kind = _KINDS[name]
        if not isinstance(value, _TYPES[kind]) or isinstance(value, bool):  # type: ignore[arg-type]
            raise RequestError(f"{key}.{name} is {value!r}, not {kind}", where=where)
        if kind == _LIST and (not value or any(type(part) is not int for part in value)):
            raise RequestError(f"{key}.{name} is {value!r}, not {kind}", where=where)
    for name in _REQUIRED:
        if name not in values:
            raise RequestError(f"{key} has no {name}", where=where, mend=f"Write {name} = {_KINDS[name]}")


def _from_dataset_json(path: Path, text: str, tolerance_mm: float) -> LabelTable:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise RequestError(f"the file is no JSON: {error}", where=path) from error
    stated = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(stated, dict | list) or not stated:
        raise RequestError(
            "the file has no labels", where=path, mend='Write "labels": {"liver": 1} or {"1": "liver"}'
        )
    table_name = content.get("name")
    name = table_name if isinstance(table_name, str) and table_name else path.resolve().parent.name
    return _from_names(stated, name, tolerance_mm, where=path)


def _from_names(
    stated: dict[str, Any] | list[Any], table_name: str, tolerance_mm: float, *, where: object
) -> LabelTable:
    notes, rows = [], []
    for name, values in _named_values(stated, where):
        if values == (0,):
            continue
        if name.lower() == "ignore":
            notes.append(f"label {values[0]}, {name!r}, is not scored; where it lies counts as background")
            continue
        rows.append({"name": name, **({"values": values} if len(values) > 1 else {"value": values[0]})})
    labels = [
        _at(
            f"labels.{row['name']}",
            where,
            partial(Label, row["value"], row["name"], tolerance_mm, parts=row.get("values", ())),
        )
        for row in with_numbers(rows)
    ]
    if not labels:
        raise RequestError("labels names nothing but background", where=where)
    notes.insert(0, _assumption(tolerance_mm, [label.name for label in labels]))
    return _at("labels", where, partial(LabelTable, table_name, tuple(labels), tuple(notes)))


def _named_values(stated: dict[str, Any] | list[Any], place: object) -> Iterable[tuple[str, tuple[int, ...]]]:
    """Yield name and voxel values of each label, whichever of the two is the key."""
    pairs = list(stated.items()) if isinstance(stated, dict) else [(str(i), n) for i, n in enumerate(stated)]
    for key, other in pairs:
        if isinstance(other, list) and other and all(type(value) is int for value in other):
            yield key, tuple(other)
        elif isinstance(other, int) and not isinstance(other, bool):
            yield key, (other,)
        elif isinstance(other, str) and key.isdecimal():
            yield other, (int(key),)
        else:
            raise RequestError(
                f"labels.{key} is {other!r}",
                where=place,
                mend='Write "name": value, "name": [values] or "value": "name"',
            )


def _assumption(tolerance_mm: float, names: list[str]) -> str:
    return f"no tolerance is stated for {', '.join(names)}: {tolerance_mm:g} mm is assumed"


def _at(key: str, where: object, make: Callable[[], T]) -> T:
    """Make a label or a table; say at which key of the file it failed."""
    try:
        return make()
    except RequestError as error:
        about = f" ({error.where})" if error.where else ""
        raise RequestError(f"{key}: {error.what}{about}", where=where, mend=error.mend) from None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE_BYTES + 1)
        if len(raw) > _LARGEST_FILE_BYTES:
            raise RequestError("the labels file is larger than 16 MiB", where=path)
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise MissingFileError(f"cannot read the labels: {error.strerror}", where=path) from error
    except UnicodeDecodeError as error:
        raise RequestError("the labels file is no text in UTF-8", where=path) from error
