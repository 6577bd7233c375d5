"""`dataset.json`: an optional file that names a data set, its channels, and what each case annotates."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from harness.data.names import some
from harness.errors import ConfigurationError


@dataclass(frozen=True)
class Description:
    """What `dataset.json` says.

    Attributes:
        name: The data set's name; empty if the file gives none.
        channels: Names of the image channels in order, as nnU-Net writes them; empty if none are given.
        annotated: Label values that are annotated, of the cases that are not fully annotated.
    """

    name: str = ""
    channels: tuple[str, ...] = ()
    annotated: dict[str, tuple[int, ...]] | None = None


def read_description(folder: Path, cases: Collection[str]) -> Description:
    """Read `folder/dataset.json`; a byte order mark is no part of it.

    Args:
        folder: The data set's folder.
        cases: The ids of its cases, also those of other splits.

    Raises:
        ConfigurationError: it is no JSON object, or what it says of cases and labels makes no sense.
    """
    path = folder / "dataset.json"
    content = _content(path)
    name = content.get("name")
    return Description(
        name=name if isinstance(name, str) else "",
        channels=_channels(content, path),
        annotated=_annotated(content.get("annotated", {}), cases, path),
    )


def states_labels(folder: Path) -> bool:
    """Whether `folder/dataset.json` is there and names labels.

    Raises:
        ConfigurationError: it is no JSON object.
    """
    return bool(_content(folder / "dataset.json").get("labels"))


def _content(path: Path) -> dict[str, object]:
    """Return what the file says; nothing where there is none."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_without_repeats)
    except UnicodeDecodeError as error:
        raise ConfigurationError("dataset.json is not UTF-8", where=path, mend="Save it as UTF-8.") from error
    except (OSError, ValueError) as error:
        raise ConfigurationError("dataset.json cannot be read", where=path, mend=f"{error}.") from error
    if not isinstance(content, dict):
        raise ConfigurationError(
            "dataset.json is not an object", where=path, mend='Write e.g. {"name": "pilot"}.'
        )
    return content


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a name that stands twice: JSON readers keep the last, and an annotation would be lost."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands in it twice: keep one")
    return content


def _channels(content: dict[str, object], path: Path) -> tuple[str, ...]:
    table = content.get("channel_names", content.get("modality", {}))  # nnU-Net v2, v1 and MONAI
    if not isinstance(table, dict):
        raise ConfigurationError(
            "`channel_names` is not an object", where=path, mend='Write e.g. {"0": "CT", "1": "PET"}.'
        )
    try:
        return tuple(str(table[key]) for key in sorted(table, key=int))
    except ValueError as error:
        raise ConfigurationError(
            "a key of `channel_names` is no number", where=path, mend='Write e.g. {"0": "CT", "1": "PET"}.'
        ) from error


def _annotated(table: object, cases: Collection[str], path: Path) -> dict[str, tuple[int, ...]]:
    if not isinstance(table, dict):
        raise ConfigurationError(
            "`annotated` is not an object of case ids", where=path, mend='Write e.g. {"liver_01": [1, 2, 3]}.'
        )
    if unknown := sorted(table.keys() - set(cases)):
        close = get_close_matches(unknown[0], list(cases), n=1)
        raise ConfigurationError(
            f"`annotated` names case(s) that the data set does not have: {some(unknown)}",
            where=path,
            mend=f"Did you mean {close[0]}?" if close else f"Its cases: {some(sorted(cases))}.",
        )
    return {case: _label_values(values, case, path) for case, values in table.items()}


def _label_values(values: object, case: str, path: Path) -> tuple[int, ...]:
    fits = isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 255 for value in values
    )
    if not fits:
        raise ConfigurationError(
            f"`annotated` of case {case} is not a list of label values",
            where=path,
            mend="Write e.g. [1, 2, 3].",
        )
    assert isinstance(values, list)
    return tuple(sorted(set(values)))
