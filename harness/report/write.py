"""Write the report: `index.html`, and `submissions/NAME.html` for each row."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness import text as format_
from harness._version import __version__
from harness.data.dataset import Dataset
from harness.files import write_whole
from harness.leaderboard import Leaderboard
from harness.report.index_page import index_page
from harness.report.overlays import Picture, Wanted, draw, worst_cases
from harness.report.scene import Figure, Scene, View
from harness.report.submission_page import submission_page

INDEX_PICTURES = 12
"""Methods whose worst case is on the first page."""
PAGE_PICTURES = 3
"""Worst cases with pictures on a submission's page."""
MOST_PICTURES = 72
"""Pictures in the whole report: reading volumes is what takes the time."""


def write_report(
    leaderboard: Leaderboard,
    folder: Path,
    *,
    view: View = "organiser",
    dataset: Dataset | None = None,
) -> Path:
    """Write the report into a folder and return the path of its first page.

    Every page is one file that needs nothing else: no network, no other file.

    Args:
        leaderboard: The ranking. Evidence, predictions, logs and memory curves come from its runs' folders.
        folder: Made if it does not exist. Pages of submissions that are no longer there are removed.
        view: `participant` leaves out whatever tells of single cases of the data set.
        dataset: The images and references, for the pictures of the worst cases (organiser's view only).
    """
    scenes = [
        Scene(leaderboard, division, view, f"d{place}")
        for place, division in enumerate(leaderboard.divisions, start=1)
    ]
    links = _links(scenes)
    pictures = _pictures(scenes, dataset)

    (folder / "submissions").mkdir(parents=True, exist_ok=True)
    pages = environment()
    common = {
        "challenge": leaderboard.challenge,
        "view": view,
        "version": __version__,
        "style": Markup(_asset("style.css")),
        "script": Markup(_asset("script.js")),
        "script_hash": _script_hash(),
    }
    written = set()
    for place, scene in enumerate(scenes):
        for index in range(len(scene.rows)):
            page = pages.get_template("submission.html").render(
                **common, **submission_page(scene, index, pictures[place])
            )
            write_whole(folder / links[place][index], page)
            written.add(folder / links[place][index])
    for stale in set((folder / "submissions").glob("*.html")) - written:
        stale.unlink()
    page = pages.get_template("report.html").render(
        **common, **index_page(leaderboard, scenes, links, pictures, most_pictures=INDEX_PICTURES)
    )
    write_whole(folder / "index.html", page)
    return folder / "index.html"


def environment() -> Environment:
    """Return the templates: every value is escaped unless this package drew it."""
    pages = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["printable"] = format_.printable
    pages.filters["score"] = format_.score
    pages.filters["seconds"] = format_.seconds
    pages.filters["size"] = format_.size
    pages.filters["groupby_runs"] = _runs_of_width
    return pages


def page_name(team: str, number: int) -> str:
    """Return a file name for a team's page that no name of a team can lead astray or clash with another's."""
    plain = re.sub(r"[^a-z0-9]+", "-", team.lower()).strip("-")[:60]
    return f"submissions/{number:03d}-{plain or 'team'}.html"


def _runs_of_width(figures: Iterable[Figure]) -> list[tuple[bool, list[Figure]]]:
    """Group neighbouring figures: a wide one alone, narrow ones together to fill two columns."""
    runs: list[tuple[bool, list[Figure]]] = []
    for figure in figures:
        if runs and not figure.wide and not runs[-1][0]:
            runs[-1][1].append(figure)
        else:
            runs.append((figure.wide, [figure]))
    return runs


def _links(scenes: list[Scene]) -> list[list[str]]:
    number = 0
    links = []
    for scene in scenes:
        links.append([page_name(row.team, number + index + 1) for index, row in enumerate(scene.rows)])
        number += len(scene.rows)
    return links


def _pictures(scenes: list[Scene], dataset: Dataset | None) -> list[Mapping[tuple[int, str], Picture]]:
    """Draw the worst cases of the first methods, as many as the report has room for."""
    drawn: list[Mapping[tuple[int, str], Picture]] = []
    room = MOST_PICTURES
    for scene in scenes:
        wanted: list[Wanted] = []
        if dataset is not None and scene.shows_cases:
            worst = [worst_cases(scene, index, PAGE_PICTURES) for index in range(len(scene.rows))]
            # First everyone's worst, then everyone's second: no method goes without while there is room.
            for turn in range(PAGE_PICTURES):
                wanted += [cases[turn] for cases in worst if len(cases) > turn]
            wanted = wanted[:room]
            room -= len(wanted)
        drawn.append(draw(wanted, dataset) if dataset is not None else {})
    return drawn


@lru_cache
def _asset(name: str) -> str:
    return (resources.files("harness.report") / "templates" / name).read_text(encoding="utf-8")


def _script_hash() -> str:
    """Return the one script's hash for the page's content security policy: no other script runs."""
    digest = hashlib.sha256(_asset("script.js").encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
