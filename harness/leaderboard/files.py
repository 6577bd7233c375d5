"""The leaderboard as files: JSON and CSV with raw values, Markdown and LaTeX with rounded ones."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness import text
from harness.challenge.metrics import heading_unit, shown_value
from harness.files import write_whole
from harness.leaderboard.columns import PENALTY, Column, all_columns, shown_columns
from harness.leaderboard.model import MARKS, SCHEMA_VERSION, Analysis, Division, Leaderboard, Row
from harness.leaderboard.subgroups import Subgroup


def write_files(leaderboard: Leaderboard, folder: Path) -> list[Path]:
    """Write `leaderboard.json`, `.csv` and `.md` into a folder, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "leaderboard.json": to_json(leaderboard),
        "leaderboard.csv": to_csv(leaderboard),
        "leaderboard.md": to_markdown(leaderboard),
    }
    for name, content in contents.items():
        write_whole(folder / name, content)
    return [folder / name for name in contents]


def as_dict(leaderboard: Leaderboard) -> dict[str, Any]:
    """Return the leaderboard as plain dictionaries and lists with raw values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "challenge": leaderboard.challenge.name,
        "scheme": leaderboard.scheme.model_dump(mode="json"),
        "bootstrap_samples": leaderboard.bootstrap_samples,
        "seed": leaderboard.seed,
        "confidence": leaderboard.confidence,
        "across_hosts": leaderboard.across_hosts,
        "notes": list(leaderboard.notes),
        "divisions": [_division(division, leaderboard) for division in leaderboard.divisions],
    }


def to_json(leaderboard: Leaderboard) -> str:
    """Return `as_dict` as JSON."""
    return json.dumps(as_dict(leaderboard), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(leaderboard: Leaderboard) -> str:
    """Return one line per row with raw values; the column names carry the units."""
    output = io.StringIO()
    writer: Any = None
    for division in leaderboard.divisions:
        for row in division.rows:
            cells = _cells(row, division, leaderboard)
            if writer is None:
                writer = csv.DictWriter(output, fieldnames=list(cells), lineterminator="\n")
                writer.writeheader()
            writer.writerow(cells)
    return output.getvalue()


def to_markdown(leaderboard: Leaderboard) -> str:
    """Return a page with a table per division, values rounded."""
    challenge = leaderboard.challenge
    lines = [f"# {text.markdown_text(challenge.title)}", ""]
    lines += [f"{note}\n" for note in leaderboard.notes]
    for division in leaderboard.divisions:
        lines += [
            f"## {text.markdown_text(division.dataset)}: {len(division.cases)} cases, "
            f"profile {division.profile}",
            "",
            f"Data set `{division.fingerprint[:12]}`, order {leaderboard.scheme.order}, ranked on "
            f"{', '.join(metric.key for metric in division.metrics) or 'nothing'}.",
            "",
        ]
        columns = shown_columns(challenge, division.rows)
        percent = f"{100 * leaderboard.confidence:g} %"
        headings = [
            "rank",
            percent,
            "team",
            *(text.markdown_text(column.heading(division.rows)) for column in columns),
            "failed",
            "host",
            "marks",
        ]
        aligned = ["--:", ":-:", "---", *("--:" for _ in columns), "--:", ":-:", "---"]
        lines += [_line(headings), _line(aligned)]
        for row in division.rows:
            cells = [
                str(row.rank or "–"),
                text.rank_interval(row.rank_low, row.rank_high),
                text.markdown_text(row.team),
            ]
            cells += [with_interval(column, row) for column in columns]
            cells += [f"{row.failed}/{row.cases}", host_letter(row), mark_letters(row)]
            lines.append(_line(cells))
        lines.append("")
        for title, table in subgroup_tables(division):
            headings, *body = [[text.markdown_text(cell) for cell in cells] for cells in table]
            rule = _line(["---", *("--:" for _ in headings[1:])])
            lines += ["", f"{text.markdown_text(title)}:", "", _line(headings), rule, *map(_line, body)]
        lines.append("")
        lines += [f"- {line}" for line in legend(division, escape=True)]
        lines.append("")
    return "\n".join(lines)


def subgroup_tables(division: Division) -> list[tuple[str, list[list[str]]]]:
    """Return a table per metric and column of the table of cases: its title, and its lines of cells."""
    tables = []
    for metric in division.metrics:
        for name in dict.fromkeys(part.column for part in division.subgroups):
            parts = [part for part in division.subgroups if part.column == name and metric.key in part.means]
            if not parts:
                continue
            table = [[name, *(f"{part.value} n={part.cases}" for part in parts)]]
            for place, row in enumerate(division.rows):
                means = [part.means[metric.key][place] for part in parts]
                shown = [shown_value(metric.facts, mean.mean if mean is not None else None) for mean in means]
                table.append([row.team, *shown])
            unit = heading_unit(metric.facts)
            tables.append((f"{metric.title}{f', {unit}' if unit else ''}, by {name}", table))
    return tables


def to_latex(leaderboard: Leaderboard) -> str:
    """Return a `tabular` per division with booktabs rules, values rounded, the best in bold."""
    lines = []
    for division in leaderboard.divisions:
        columns = shown_columns(leaderboard.challenge, division.rows)
        best = {column.key: column.best(division.rows) for column in columns}
        lines += [
            f"% {text.printable(leaderboard.challenge.title)}: {text.printable(division.dataset)}, "
            f"{len(division.cases)} cases, profile {division.profile}",
            "% needs \\usepackage{booktabs}",
            f"\\begin{{tabular}}{{rl{'r' * (len(columns) + 1)}}}",
            "\\toprule",
            _latex_row(["", "team", *(column.heading(division.rows) for column in columns), "failed"]),
            "\\midrule",
        ]
        for row in division.rows:
            cells = [_latex(str(row.rank or "–")), _latex(row.team)]
            for column in columns:
                shown = _latex(with_interval(column, row))
                is_best = column.can_be_best(row) and column.of(row) == best[column.key]
                cells.append(f"\\textbf{{{shown}}}" if is_best else shown)
            lines.append(" & ".join([*cells, f"{row.failed}/{row.cases}"]) + r" \\")
        lines += ["\\bottomrule", "\\end{tabular}", *(f"% {line}" for line in legend(division)), ""]
    return "\n".join(lines)


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "·": r"$\cdot$",
    "∞": r"$\infty$",
    PENALTY: r"\textdagger{}",
    "[": "{[}",
    "]": "{]}",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}


def _latex(words: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text.printable(words))


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


def with_interval(column: Column, row: Row) -> str:
    """Return a row's value as tables show it, with the interval of a mean behind it: `84.21 [81–87]`."""
    estimate = row.estimates.get(column.key)
    if estimate is None or estimate.bca is None or row.failed == row.cases:
        return column.text(row)
    low, high = (column.shown(end) for end in estimate.bca)
    if low == high:
        return column.text(row)
    fine = float(high) - float(low) < _FINE
    ends = "–".join(f"{float(end):.{1 if fine else 0}f}" for end in (low, high))
    return f"{column.text(row)} [{ends}]"


_FINE = 5.0
"""An interval narrower than this is shown with a decimal."""


def host_letter(row: Row) -> str:
    """Return the letter of the kind of host a row ran on; a dash where nothing was run."""
    return (
        "–"
        if row.host_kind == 0
        else chr(ord("A") + row.host_kind - 1)
        if row.host_kind <= 26
        else str(row.host_kind)
    )


def mark_letters(row: Row) -> str:
    """Return the letters of a row's marks."""
    return "".join(MARKS[mark][0] for mark in row.marks)


def legend(division: Division, *, escape: bool = False, intervals: bool = True) -> list[str]:
    """Return lines that explain the hosts, the marks and the notes of a division."""
    clean = text.markdown_text if escape else text.printable
    hosts = {host_letter(row): row.host for row in division.rows if row.host_kind}
    lines = [f"Host {letter}: {clean(host)}" for letter, host in sorted(hosts.items())]
    borne = {mark for row in division.rows for mark in row.marks}
    lines += [f"{letter}: {meaning}" for mark, (letter, meaning) in MARKS.items() if mark in borne]
    if any(row.charged and row.failed < row.cases for row in division.rows):
        lines.append(f"{PENALTY}: is or holds what the challenge charges a failed case, no measurement")
    if intervals and any(estimate.bca for row in division.rows for estimate in row.estimates.values()):
        lines.append("[a–b]: the bootstrap interval of a mean over the n cases")
    return lines + [clean(note) for note in division.notes]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _division(division: Division, leaderboard: Leaderboard) -> dict[str, Any]:
    analysis = division.analysis
    boot = analysis.bootstrap if analysis is not None else None
    tau = boot.tau[~np.isnan(boot.tau)] if boot is not None else np.empty(0)
    return {
        "dataset": division.dataset,
        "fingerprint": division.fingerprint,
        "profile": division.profile,
        "cases": len(division.cases),
        "ranked_on": [metric.key for metric in division.metrics],
        "left_out": [{"metric": item.metric.key, "reason": item.reason} for item in division.left_out],
        "kendall_tau": {"mean": float(tau.mean()), "median": float(np.median(tau))} if len(tau) else None,
        "notes": list(division.notes),
        "power": asdict(analysis.power) if analysis is not None and analysis.power is not None else None,
        "win_rates": _win_rates(analysis, division),
        "subgroups": [_subgroup(part, division) for part in division.subgroups],
        "rows": [_row(row, leaderboard) for row in division.rows],
    }


def _win_rates(analysis: Analysis | None, division: Division) -> dict[str, dict[str, float]]:
    """Return in which share of the cases each team's combined rank beats each other one's."""
    if analysis is None or len(division.ranked) > _MOST_WRITTEN:
        return {}
    teams = [row.team for row in division.ranked]
    return {
        team: {other: float(rate) for other, rate in zip(teams, rates, strict=True) if other != team}
        for team, rates in zip(teams, analysis.win_rates, strict=True)
    }


_MOST_WRITTEN = 100
"""Matrices of more teams than this are for `harness export statistics` only."""


def _subgroup(part: Subgroup, division: Division) -> dict[str, Any]:
    return {
        "column": part.column,
        "value": part.value,
        "cases": part.cases,
        "means": {
            key: {
                row.team: None if estimate is None else _estimate(asdict(estimate))
                for row, estimate in zip(division.rows, means, strict=True)
            }
            for key, means in part.means.items()
        },
    }


def _estimate(facts: dict[str, Any]) -> dict[str, Any]:
    return facts | {"mean": _json_number(facts["mean"])}


def _row(row: Row, leaderboard: Leaderboard) -> dict[str, Any]:
    """Return a row with each column at its place, and infinite values as JSON can hold them."""
    facts = asdict(row) | {"created_at": row.created_at.isoformat()}
    facts["estimates"] = {key: _estimate(value) for key, value in facts["estimates"].items()}
    facts["metrics"] = {key: _json_number(value) for key, value in row.metrics.items()}
    values: dict[str, Any] = {}
    for name, fact in facts.items():
        if name == "cells":
            for column in all_columns(leaderboard.challenge, people=leaderboard.has_people):
                *tables, last = column.place
                table = values
                for each in tables:
                    table = table.setdefault(each, {})
                table[last] = _json_number(column.of(row))
        else:
            values[name] = fact
    return values


def _json_number(value: float | None) -> float | str | None:
    return str(value) if value is not None and math.isinf(value) else value


def _cells(row: Row, division: Division, leaderboard: Leaderboard) -> dict[str, object]:
    cells: dict[str, object] = {
        "rank": row.rank,
        "rank_low": row.rank_low,
        "rank_high": row.rank_high,
        "tie_group": row.tie_group,
        "score": row.score,
        "team": text.csv_text(row.team),
        "title": text.csv_text(row.title),
        "run": row.run,
        "dataset": text.csv_text(division.dataset),
        "fingerprint": division.fingerprint,
        "profile": division.profile,
    }
    columns = all_columns(leaderboard.challenge, people=leaderboard.has_people)
    cells |= {column.key: column.of(row) for column in columns}
    for column in columns:
        if column.per_case is None:
            continue
        estimate = row.estimates.get(column.key)
        cells[f"{column.key}_n"] = estimate.n if estimate is not None else 0
        if not column.organ:
            low, high = (None, None) if estimate is None or estimate.bca is None else estimate.bca
            cells |= {f"{column.key}_low": low, f"{column.key}_high": high}
    cells |= {
        "p_first": row.p_first,
        "charged": " ".join(row.charged),
        "failed": row.failed,
        "cases": row.cases,
        "source": row.source,
        "complete": row.complete,
        "host": text.csv_text(row.host),
        "marks": " ".join(row.marks),
        "created_at": row.created_at.isoformat(),
    }
    return cells
