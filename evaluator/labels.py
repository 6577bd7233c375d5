"""Which labels a challenge scores, what they are called, and how far a surface may be off."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from evaluator.errors import RequestError


@dataclass(frozen=True)
class Label:
    """One structure of a label volume.

    Attributes:
        value: The voxel value, 1 to 255.
        name: The organ in words, lower case.
        tolerance_mm: How far two surfaces may lie apart and still count as the same (NSD).
        column: The stem of the official FLARE column, as in `Liver_DSC`; the name where there is none.
        cropped_by_flare: The official scorers look at this label only between the first reference slice
            that holds it and the one before the last.
    """

    value: int
    name: str
    tolerance_mm: float
    column: str = ""
    cropped_by_flare: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.value <= 255:
            raise RequestError(f"label value {self.value} is not between 1 and 255", where=self.name)
        if not 0 <= self.tolerance_mm < float("inf"):
            raise RequestError(f"tolerance {self.tolerance_mm} mm is not a distance", where=self.name)
        if not self.column:
            object.__setattr__(self, "column", self.name)


@dataclass(frozen=True)
class LabelTable:
    """The labels that one challenge scores, in the order of its tables.

    Attributes:
        name: The challenge.
        labels: Its labels; values and columns are unique.
    """

    name: str
    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        if len({label.value for label in self.labels}) != len(self.labels):
            raise RequestError("a label value occurs twice", where=self.name)

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, value: int) -> Label:
        """Return the label with this voxel value.

        Raises:
            RequestError: The table has no such label.
        """
        for label in self.labels:
            if label.value == value:
                return label
        raise RequestError(
            f"{self.name} has no label {value}",
            mend=f"Its labels are {', '.join(str(label.value) for label in self.labels)}",
        )

    @property
    def values(self) -> tuple[int, ...]:
        """The voxel values in table order."""
        return tuple(label.value for label in self.labels)

    def subset(self, values: Collection[int]) -> LabelTable:
        """Return the table with only these labels, in table order.

        Raises:
            RequestError: One of the values is not in the table.
        """
        wanted = {self[value].value for value in values}
        return LabelTable(self.name, tuple(label for label in self.labels if label.value in wanted))


_ORGANS = (
    Label(1, "liver", 5, "Liver"),
    Label(2, "right kidney", 3, "RK"),
    Label(3, "spleen", 3, "Spleen"),
    Label(4, "pancreas", 5, "Pancreas"),
    Label(5, "aorta", 2, "Aorta", cropped_by_flare=True),
    Label(6, "inferior vena cava", 2, "IVC", cropped_by_flare=True),
    Label(7, "right adrenal gland", 2, "RAG"),
    Label(8, "left adrenal gland", 2, "LAG"),
    Label(9, "gallbladder", 2, "Gallbladder"),
    Label(10, "esophagus", 3, "Esophagus", cropped_by_flare=True),
    Label(11, "stomach", 5, "Stomach"),
    Label(12, "duodenum", 7, "Duodenum"),
    Label(13, "left kidney", 3, "LK"),
)
_TUMOR = Label(14, "tumor", 2, "Lesion")

LABEL_TABLES: dict[str, LabelTable] = {
    table.name: table
    for table in (
        LabelTable(
            "flare21",
            (
                Label(1, "liver", 1, "1"),
                Label(2, "kidney", 1, "2"),
                Label(3, "spleen", 1, "3"),
                Label(4, "pancreas", 1, "4"),
            ),
        ),
        LabelTable("flare22", _ORGANS),
        LabelTable("flare23", (*_ORGANS, _TUMOR)),
        LabelTable("flare24-task1", (Label(1, "lesion", 2, "Lesion"),)),
        LabelTable("flare24-task2", _ORGANS),
        LabelTable("phantom", (*_ORGANS, _TUMOR)),
    )
}
"""The label tables of the shipped challenges, after the public scoring scripts of the organisers."""


def label_table(challenge: str) -> LabelTable:
    """Return the label table of a shipped challenge.

    Raises:
        RequestError: There is no such challenge.
    """
    try:
        return LABEL_TABLES[challenge]
    except KeyError:
        raise RequestError(
            f"there is no challenge {challenge!r}", mend=f"Choose one of {', '.join(LABEL_TABLES)}"
        ) from None
