"""What the report's first page shows."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness import text as format_
from harness.challenge.metrics import with_unit
from harness.leaderboard import Leaderboard
from harness.leaderboard.columns import shown_columns
from harness.leaderboard.files import host_letter, legend
from harness.leaderboard.model import MARKS, Division
from harness.leaderboard.power import Power
from harness.report.accuracy import accuracy_figures
from harness.report.agreement_figures import agreement_figures
from harness.report.case_page import Gallery
from harness.report.cases import case_figures
from harness.report.failures import failures
from harness.report.overlays import Picture
from harness.report.rankings import TAU_FROM, ranking_figures
from harness.report.resources import resource_figures
from harness.report.scene import Figure, Scene
from harness.report.subgroup_figures import subgroup_figures
from harness.results.records import HostFacts

Fact = tuple[str, str, str]
Pair = tuple[str, str]

_ALARM_VOLUMES = "false_alarms_ml_"
"""Their columns stand below the numbers of false alarms."""
_PICTURES = 12
"""Methods whose worst case is on the first page."""


@dataclass(frozen=True)
class Section:
    """Figures under one heading."""

    name: str
    title: str
    figures: list[Figure]


def index_page(
    leaderboard: Leaderboard,
    scenes: Sequence[Scene],
    links: Sequence[Sequence[str]],
    galleries: Sequence[Gallery],
) -> dict[str, Any]:
    """Return the first page's values for its template."""
    return {
        "title": leaderboard.challenge.title,
        "notes": leaderboard.notes,
        "confidence": leaderboard.confidence,
        "order": leaderboard.scheme.order,
        "marks": MARKS,
        "rank_interval": format_.rank_interval,
        "ratio": format_.ratio,
        "host_letter": host_letter,
        "parts": [_part(scene, links[place], galleries[place]) for place, scene in enumerate(scenes)],
    }


def _part(scene: Scene, links: Sequence[str], gallery: Gallery) -> dict[str, Any]:
    columns = [
        column
        for column in shown_columns(scene.challenge, scene.division.rows)
        if not column.key.startswith(_ALARM_VOLUMES)
    ]
    listed, total = failures(scene) if scene.shows_cases else ([], 0)
    worst: dict[int, Picture] = {}
    for (index, _), picture in gallery.pictures.items():
        if index not in worst or picture.score < worst[index].score:
            worst[index] = picture
    return {
        "id": scene.anchor,
        "division": scene.division,
        "facts": headline(scene),
        "columns": columns,
        "best": [column.best(scene.rows) for column in columns],
        "colour": scene.colour,
        "links": links,
        "many_hosts": len({row.host_kind for row in scene.rows}) > 1,
        "marked": any(row.marks for row in scene.division.rows),
        "grouped": any((row.tie_group or 1) > 1 for row in scene.rows),
        "ranked_on": ", ".join(metric.title for metric in scene.division.metrics) or "nothing",
        "legend": legend(scene.division, intervals=False),
        "sections": [section for section in _sections(scene, gallery) if section.figures],
        "failures": listed,
        "failures_total": total,
        "pictures": [worst[index] for index in sorted(worst)][:_PICTURES],
        "case_links": gallery.links,
        "browsed": _browsed(scene, gallery),
        "reproduce": _division_facts(scene),
        "runs": [(row, run_facts(scene, index)) for index, row in enumerate(scene.rows)],
    }


def _browsed(scene: Scene, gallery: Gallery) -> list[tuple[str, str, float, list[tuple[str, str]]]]:
    """Return each browsed case with its page, its median score, and a link per method."""
    listed = []
    for look in gallery.looks:
        page = gallery.links[look.case]
        scores = scene.case_scores[scene.division.cases.index(look.case)]
        known = scores[~np.isnan(scores)]
        methods = [(scene.rows[row].team, f"{page}#m={row}") for row in look.packed.predictions]
        listed.append((look.case, page, float(np.median(known)) if len(known) else np.nan, methods))
    return listed


def _sections(scene: Scene, gallery: Gallery) -> list[Section]:
    return [
        Section("accuracy", "Accuracy", accuracy_figures(scene)),
        Section("agreement", "Agreement with the reference", agreement_figures(scene, gallery.looks)),
        Section("subgroups", "Kinds of cases", subgroup_figures(scene)),
        Section("ranking", "Ranking", ranking_figures(scene)),
        Section("cost", "Time and memory", resource_figures(scene)),
        Section("cases", "Cases", case_figures(scene)),
    ]


def headline(scene: Scene) -> list[Fact]:
    """Return the few facts to read first."""
    division, rows = scene.division, scene.rows
    first = [row.team for row in division.ranked if row.rank == 1]
    facts: list[Fact] = []
    if first:
        group = [row for row in division.ranked if row.tie_group == division.ranked[0].tie_group]
        equal = len(group) - len(first)
        more = f"{equal} more not separated by a test" if equal > 0 else "ahead of all others by test"
        if len(division.ranked) == 1:
            more = "alone in competition"
        elif (power := _power(division)) is not None and not power.can_separate:
            more = f"so few cases separate no methods by a test: it takes {power.cases_needed}"
        leader = division.ranked[0].p_first
        if leader is not None and len(division.ranked) > 1:
            more = f"first in {100 * leader:.0f} % of bootstrap samples; {more}"
        facts.append(("first", ", ".join(first[:3]) + (" …" if len(first) > 3 else ""), more))
    failed, total = sum(row.failed for row in rows), sum(row.cases for row in rows)
    facts.append(("failed cases", f"{failed:,} of {total:,}", f"{100 * failed / max(total, 1):.2g} %"))
    analysis = division.analysis
    if analysis is not None and analysis.bootstrap is not None and scene.ranked >= TAU_FROM:
        tau = analysis.bootstrap.tau[~np.isnan(analysis.bootstrap.tau)]
        if len(tau):
            facts.append(
                (
                    "stability of the order",
                    f"{np.median(tau):.3f}",
                    "median Kendall's tau of bootstrap samples; 1: the same order",
                )
            )
    facts.append(("scoring profile", division.profile, f"{len(division.cases)} cases of {division.dataset}"))
    kinds = {row.host_kind for row in rows if row.host_kind}
    facts.append(("hosts", str(len(kinds)) if kinds else "none", _kinds(len(kinds))))
    return facts


def _power(division: Division) -> Power | None:
    return None if division.analysis is None else division.analysis.power


def _kinds(count: int) -> str:
    return (
        "nothing was run" if not count else "all ran on like hosts" if count == 1 else "unlike kinds of host"
    )


def _division_facts(scene: Scene) -> list[Pair]:
    board = scene.leaderboard
    return [
        ("data set", scene.division.dataset),
        ("fingerprint", scene.division.fingerprint),
        ("cases", str(len(scene.division.cases))),
        ("profile", scene.division.profile),
        ("scheme", _scheme(board)),
        (
            "bootstrap",
            f"{board.bootstrap_samples} samples, seed {board.seed}, confidence {board.confidence:g}",
        ),
        ("ranked on time across unlike hosts", "yes" if board.across_hosts else "no"),
    ]


def _scheme(board: Leaderboard) -> str:
    parts = []
    for metric in board.scheme.metrics:
        tolerance = (
            "" if metric.tolerance is None else f", tolerance {with_unit(metric.facts, metric.tolerance)}"
        )
        parts.append(f"{metric.title} ({metric.direction.value}, weight {metric.weight:g}{tolerance})")
    return f"{board.scheme.order}: {'; '.join(parts)}"


def run_facts(scene: Scene, index: int) -> list[Pair]:
    """Return what another host needs to run a row again. A participant does not see the command."""
    record = scene.runs[index].record
    facts = [("run", record.run), ("created", record.created_at.isoformat(timespec="seconds"))]
    if record.image is not None:
        facts += [
            ("image", record.image.reference),
            ("digest", record.image.digest),
            ("image size", format_.size(record.image.size_bytes)),
        ]
    limits = record.limits
    cpus = "all" if limits.cpus is None else f"{limits.cpus:g}"
    facts.append(
        (
            "limits",
            f"memory {format_.size(limits.memory_bytes)}, time {format_.seconds(limits.time_s)}, CPUs {cpus}",
        )
    )
    if record.host is not None:
        facts.append(("host", _host(record.host)))
    if record.baseline_s is not None:
        facts.append(("empty container", format_.seconds(record.baseline_s)))
    if scene.shows_cases and record.argv:
        facts.append(("command", shlex.join(record.argv)))
    if record.versions:
        facts.append(
            ("versions", ", ".join(f"{name} {value}" for name, value in sorted(record.versions.items())))
        )
    return facts


def _host(host: HostFacts) -> str:
    parts = [
        f"{host.cpu_model}, {host.cores} cores",
        format_.size(host.memory_bytes),
        *host.gpus,
        f"driver {host.gpu_driver}" if host.gpu_driver else "",
        f"kernel {host.kernel}",
        host.engine,
        f"cgroup v{host.cgroup_version}" if host.cgroup_version else "",
        "" if host.isolated else "not isolated",
    ]
    return ", ".join(part for part in parts if part)
