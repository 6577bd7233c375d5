"""The leaderboard as files: JSON and CSV with raw values, Markdown with rounded ones."""

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
from harness.files import write_whole
from harness.leaderboard.columns import all_columns, shown_columns
from harness.leaderboard.model import MARKS, SCHEMA_VERSION, Division, Leaderboard, Row


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
            *(text.markdown_text(column.title) for column in columns),
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
            cells += [column.shown(column.of(row)) for column in columns]
            cells += [f"{row.failed}/{row.cases}", host_letter(row), mark_letters(row)]
            lines.append(_line(cells))
        lines.append("")
        lines += [f"- {line}" for line in legend(division, escape=True)]
        lines.append("")
    return "\n".join(lines)


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


def legend(division: Division, *, escape: bool = False) -> list[str]:
    """Return lines that explain the hosts, the marks and the notes of a division."""
    clean = text.markdown_text if escape else text.printable
    hosts = {host_letter(row): row.host for row in division.rows if row.host_kind}
    lines = [f"Host {letter}: {clean(host)}" for letter, host in sorted(hosts.items())]
    borne = {mark for row in division.rows for mark in row.marks}
    lines += [f"{letter}: {meaning}" for mark, (letter, meaning) in MARKS.items() if mark in borne]
    return lines + [clean(note) for note in division.notes]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _division(division: Division, leaderboard: Leaderboard) -> dict[str, Any]:
    boot = division.analysis.bootstrap if division.analysis is not None else None
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
        "rows": [_row(row, leaderboard) for row in division.rows],
    }


def _row(row: Row, leaderboard: Leaderboard) -> dict[str, Any]:
    """Return a row with each column at its place, and infinite values as JSON can hold them."""
    facts = asdict(row) | {"created_at": row.created_at.isoformat()}
    facts["metrics"] = {key: _json_number(value) for key, value in row.metrics.items()}
    values: dict[str, Any] = {}
    for name, fact in facts.items():
        if name == "cells":
            for column in all_columns(leaderboard.challenge):
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
    cells |= {column.key: column.of(row) for column in all_columns(leaderboard.challenge)}
    cells |= {
        "failed": row.failed,
        "cases": row.cases,
        "source": row.source,
        "complete": row.complete,
        "host": text.csv_text(row.host),
        "marks": " ".join(row.marks),
        "created_at": row.created_at.isoformat(),
    }
    return cells
