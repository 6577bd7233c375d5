"""Write the report: `index.html`, and a page for each row (`submissions/`) and browsed case (`cases/`)."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness import text as format_
from harness._version import __version__
from harness.data.dataset import Dataset
from harness.files import write_whole
from harness.leaderboard import Leaderboard
from harness.report.case_page import Gallery, case_page, make_gallery
from harness.report.index_page import index_page
from harness.report.look import look_at, plan_looks
from harness.report.scene import Figure, Scene, View
from harness.report.submission_page import submission_page

MOST_PICTURES = 72
"""Still pictures in the whole report."""


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
        dataset: The images and references: for the case browser, and figures that need volumes (organiser's
            view only).
    """
    scenes = [
        Scene(leaderboard, division, view, f"d{place}")
        for place, division in enumerate(leaderboard.divisions, start=1)
        if not all(run.is_human for run in division.values)
    ]
    links = _links(scenes)
    galleries = [_gallery(scene, dataset) for scene in scenes]
    pages = environment()
    common = {
        "challenge": leaderboard.challenge,
        "view": view,
        "version": __version__,
        "style": Markup(_asset("style.css")),
        **_script("script.js"),
    }

    def write(path: str, template: str, values: Mapping[str, Any]) -> None:
        write_whole(folder / path, pages.get_template(template).render({**common, **values}))
        written.add(folder / path)

    written: set[Path] = set()
    for name in ("submissions", "cases"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for place, scene in enumerate(scenes):
        gallery = galleries[place]
        for index in range(len(scene.rows)):
            write(links[place][index], "submission.html", submission_page(scene, index, gallery))
        for number, look in enumerate(gallery.looks):
            values = {**case_page(scene, gallery, number), **_script("script.js", "case.js")}
            write(gallery.links[look.case], "case.html", values)
    write("index.html", "report.html", index_page(leaderboard, scenes, links, galleries))
    for stale in {*folder.glob("submissions/*.html"), *folder.glob("cases/*.html")} - written:
        stale.unlink()
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


def _gallery(scene: Scene, dataset: Dataset | None) -> Gallery:
    """Look at a division's cases, if they are to be seen at all."""
    if dataset is None or not scene.shows_cases:
        return Gallery((), {}, {})
    jobs = plan_looks(scene, dataset, most_pictures=MOST_PICTURES)
    return make_gallery(scene, [look for look in look_at(jobs) if look.packed.predictions])


def _script(*names: str) -> dict[str, Markup | str]:
    """Return a page's one script, with its hash for the content security policy: no other script runs."""
    script = "".join(map(_asset, names))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"script": Markup(script), "script_hash": f"sha256-{digest}"}


@lru_cache
def _asset(name: str) -> str:
    return (resources.files("harness.report") / "templates" / name).read_text(encoding="utf-8")
