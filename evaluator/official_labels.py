"""Labels and regions of challenges whose labels are fixed, for the profiles of official.py."""

from __future__ import annotations

from collections.abc import Mapping

from evaluator.labels import Label, LabelTable

UNVERIFIED = "-unverified"
"""How the name of a profile ends whose rules were never held against the script's own numbers."""

_ANY = tuple(range(1, 256))


def _region(number: int, name: str, parts: tuple[int, ...], tolerance_mm: float = 1.0) -> Label:
    return Label(number, name, tolerance_mm, parts=parts)


def _lesions(name: str, parts: tuple[int, ...] = _ANY, tolerance_mm: float = 1.0) -> LabelTable:
    return LabelTable(name, (_region(1001, "lesion", parts, tolerance_mm),))


_BRATS = (_region(1001, "WT", (1, 2, 3)), _region(1002, "TC", (1, 3)), Label(3, "ET", 1.0))


_TEETH = tuple(value for first in (11, 21, 31, 41) for value in range(first, first + 8))
_KITS_TOLERANCES_MM = (1.0330772532390826, 1.1328796488598762, 1.1498198361434828)


def _teeth(values: tuple[int, ...]) -> tuple[Label, ...]:
    return tuple(Label(value, f"label {value}", 1.0) for value in values)


_TABLES = (
    *(LabelTable(f"brats2023-{task}", _BRATS) for task in ("gli", "ped", "ssa", "men", "met")),
    LabelTable(
        "brats2025-gli",
        (*_BRATS, Label(1, "NETC", 1.0), Label(2, "SNFH", 1.0), Label(4, "RC", 1.0)),
    ),
    LabelTable(
        "brats2025-ped",
        (
            Label(1, "ET", 1.0),
            Label(2, "NETC", 1.0),
            Label(3, "CC", 1.0),
            Label(4, "ED", 1.0),
            _region(1001, "TC", (1, 2, 3)),
            _region(1002, "WT", (1, 2, 3, 4)),
        ),
    ),
    LabelTable("brats2025-mets", (*_BRATS, Label(4, "RC", 1.0))),
    *(LabelTable(f"brats2025-{task}", _BRATS) for task in ("men", "goat")),
    LabelTable(
        "kits23",
        tuple(
            _region(1001 + index, name, parts, _KITS_TOLERANCES_MM[index])
            for index, (name, parts) in enumerate(
                (("kidney_and_mass", (1, 2, 3)), ("mass", (2, 3)), ("tumor", (2,)))
            )
        ),
    ),
    *(_lesions(name) for name in ("autopet", "isles22", "isles24", "atlas2")),
    _lesions("panther", tolerance_mm=5.0),
    *(
        LabelTable(name, (_region(1001, "liver", _ANY), Label(2, "lesion", 1.0)))
        for name in ("lits2017", f"lits2017-server{UNVERIFIED}")
    ),
    LabelTable("toothfairy2", _teeth((*range(1, 11), *_TEETH))),
    LabelTable(
        "toothfairy3",
        (
            *_teeth((*range(1, 11), *_TEETH, 103, 104, 105)),
            _region(1001, "pulp", tuple(range(111, 149))),
        ),
    ),
)

TABLES: Mapping[str, LabelTable] = {table.name: table for table in _TABLES}
"""Labels and regions of the challenges whose labels are fixed, by the name of their profile."""
