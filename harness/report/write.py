"""Write the report of a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.data.dataset import Dataset
from harness.leaderboard import Leaderboard, Results
from harness.leaderboard.columns import group_columns, resource_columns
from harness.leaderboard.files import host_letter, legend, mark_letters, write_whole
from harness.leaderboard.text import printable, rank_interval

View = Literal["organiser", "participant"]


def write_report(
    runs: Sequence[Results],
    leaderboard: Leaderboard,
    folder: Path,
    *,
    view: View = "organiser",
    dataset: Dataset | None = None,
) -> Path:
    """Write `index.html` into a folder and return its path.

    Args:
        runs: The runs behind the leaderboard.
        leaderboard: The ranking.
        folder: Made if it does not exist.
        view: `participant` leaves out whatever tells of single cases of the data set.
        dataset: The images and references, for the pictures of the worst cases.
    """
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    page = environment.get_template("report.html").render(
        leaderboard=leaderboard,
        view=view,
        group_columns=group_columns(leaderboard.challenge),
        resource_columns=resource_columns,
        rank_interval=rank_interval,
        host_letter=host_letter,
        mark_letters=mark_letters,
        legend=legend,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "index.html", page)
    return folder / "index.html"
