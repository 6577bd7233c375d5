"""Which labels a challenge scores, what they are called, and how far a surface may be off."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from evaluator.errors import RequestError

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Label:
    """One structure of a label volume.

    Attributes:
        value: The voxel value, 1 to 255; of a region, a number that no other row has.
        name: The structure in words, lower case.
        tolerance_mm: How far two surfaces may lie apart and still count as the same (NSD).
        group: The group of labels that it belongs to, over which scores may be averaged; may be empty.
        colour: How it is drawn, as `#rrggbb`; empty leaves the choice to whoever draws.
        column: Its stem in tables whose columns have names of their own; the name where there is none.
        parts: The voxel values of a region made of several labels; empty for a plain label.
    """

    value: int
    name: str
    tolerance_mm: float
    group: str = ""
    colour: str = ""
    column: str = ""
    parts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for value in self.parts or (self.value,):
            if not 1 <= value <= 255:
                raise RequestError(f"label value {value} is not between 1 and 255", where=self.name)
        if self.value < 1 or len(set(self.parts)) < len(self.parts):
            raise RequestError("a region has a number above 0, and names each value once", where=self.name)
        if not self.name:
            raise RequestError(f"label {self.value} has no name")
        if not 0 <= self.tolerance_mm < float("inf"):
            raise RequestError(
                f"tolerance {self.tolerance_mm} mm is not a distance, 0 or more", where=self.name
            )
        if self.colour and not _COLOUR.fullmatch(self.colour):
            raise RequestError(f"colour {self.colour!r} is not of the form #rrggbb", where=self.name)
        if not self.column:
            object.__setattr__(self, "column", self.name)

    @property
    def voxel_values(self) -> tuple[int, ...]:
        """The voxel values that it is made of."""
        return self.parts or (self.value,)


@dataclass(frozen=True)
class LabelTable:
    """The labels that one challenge scores, in the order of its tables.

    Attributes:
        name: The challenge.
        labels: Its labels; values and names are unique.
        notes: What was assumed where the table's source left something open.
    """

    name: str
    labels: tuple[Label, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        for what in ("value", "name"):
            seen: set[object] = set()
            for label in self.labels:
                each = getattr(label, what)
                if each in seen:
                    raise RequestError(f"the label {what} {each!r} occurs twice", where=self.name)
                seen.add(each)

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
        """The numbers of the labels in table order: voxel values, except for regions."""
        return tuple(label.value for label in self.labels)

    @property
    def voxel_values(self) -> tuple[int, ...]:
        """The voxel values that any of the labels and regions is made of, ascending."""
        return tuple(sorted({value for label in self.labels for value in label.voxel_values}))

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """The voxel values of each named group, both in table order; labels without a group are in none."""
        names = dict.fromkeys(label.group for label in self.labels if label.group)
        return {name: tuple(label.value for label in self.labels if label.group == name) for name in names}

    def subset(self, values: Collection[int]) -> LabelTable:
        """Return the table with only these labels, in table order.

        Raises:
            RequestError: One of the values is not in the table.
        """
        wanted = {self[value].value for value in values}
        return LabelTable(
            self.name, tuple(label for label in self.labels if label.value in wanted), self.notes
        )

    def annotated(self, values: Collection[int] | None) -> LabelTable:
        """Return the labels that a partially annotated case holds; values of other tables are passed over.

        Args:
            values: What the case annotates; `None` for all.
        """
        if values is None:
            return self
        known = set(values)
        return self.subset([label.value for label in self.labels if known.issuperset(label.voxel_values)])
