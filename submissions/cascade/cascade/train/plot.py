"""A training's table as a picture."""

from __future__ import annotations

import csv
from pathlib import Path


def plot_progress(table: Path, picture: Path, title: str) -> None:
    """Draw losses and validation Dice of a progress.csv as SVG.

    Args:
        table: The CSV.
        picture: The SVG to write.
        title: Stands above.
    """
    from matplotlib.figure import Figure

    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = [int(row["iteration"]) for row in rows]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    for column, label in (("train_loss", "training"), ("validation_loss", "validation")):
        left.plot(steps, [float(row[column]) for row in rows], label=label)
    left.set(xlabel="step", ylabel="Dice loss + cross-entropy")
    left.legend()
    for column in rows[0]:
        if column.startswith("dice_"):
            right.plot(steps, [float(row[column]) for row in rows], color="0.8", linewidth=0.8)
    right.plot(steps, [float(row["validation_dice"]) for row in rows], color="C0", label="mean")
    right.set(xlabel="step", ylabel="validation Dice", ylim=(0, 1))
    right.legend()
    figure.savefig(picture, format="svg")
