"""A training's table, and the table as a picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segkit.files import whole_file


@dataclass(frozen=True)
class Columns:
    """Which columns of a progress.csv are drawn.

    Attributes:
        step: The horizontal axis.
        losses: Column and name of each loss.
        mean_dice: The mean over labels.
        dice_prefix: What the columns of single labels begin with; they are drawn in grey.
    """

    step: str
    losses: Sequence[tuple[str, str]]
    mean_dice: str
    dice_prefix: str


ITERATIONS = Columns(
    step="iteration",
    losses=(("train_loss", "training"), ("validation_loss", "validation")),
    mean_dice="validation_dice",
    dice_prefix="dice_",
)
EPOCHS = Columns(
    step="epoch",
    losses=(("train_loss", "training"), ("validation_loss", "validation")),
    mean_dice="pseudo_dice",
    dice_prefix="pseudo_dice_",
)


def plot_progress(table: Path, picture: Path, title: str, columns: Columns = ITERATIONS) -> None:
    """Draw losses and Dice of a progress.csv as SVG; the picture appears whole or not at all.

    Args:
        table: The CSV, with at least one row.
        picture: The SVG to write.
        title: Stands above.
        columns: What the table's columns are called.
    """
    from matplotlib.figure import Figure

    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    steps = [int(row[columns.step]) for row in rows]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    for column, name in columns.losses:
        left.plot(steps, [float(row[column]) for row in rows], label=name)
    left.set(xlabel=columns.step, ylabel="Dice loss + cross-entropy")
    left.legend()
    for column in rows[0]:
        if column.startswith(columns.dice_prefix):
            right.plot(steps, [float(row[column]) for row in rows], color="0.8", linewidth=0.8)
    right.plot(steps, [float(row[columns.mean_dice]) for row in rows], color="C0", label="mean")
    right.set(xlabel=columns.step, ylabel=columns.mean_dice.replace("_", " "), ylim=(0, 1))
    right.legend()
    with whole_file(picture) as part:
        figure.savefig(part, format="svg")


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a training's table whole, so that rows which a power cut undid do not stay behind.

    Args:
        path: The CSV file.
        rows: One at least; the columns are those of the first.
    """
    with whole_file(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
