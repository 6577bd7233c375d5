"""A submission's scores as one HTML page without scripts, for a platform that shows it to the participant."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

from evaluator._version import __version__
from evaluator.platforms.means import CaseResult, case_value, means_of
from evaluator.platforms.rules import Column, PlatformRules

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:80em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:.6em 0}
td,th{padding:.15em .9em .15em 0;text-align:right;white-space:nowrap}
td:first-child,th:first-child,td.note{text-align:left}td.note{white-space:normal}tr.failed td{color:#b02020}
.scroll{overflow-x:auto}"""


def page_of(results: Sequence[CaseResult], errors: Sequence[str], rules: PlatformRules) -> str:
    """Return the page: the means, a row per case, and what is to be said of files and cases."""
    means = means_of(results, rules)
    shown = [column for column in rules.columns if column.key in means]
    failed = sum(result.failed for result in results)
    head = ["", *(column.title for column in shown)]
    rows = [_row([f"mean of {len(results)} cases", *(_cell(means[column.key], column) for column in shown)])]
    for result in results:
        cells = [_cell(case_value(result, column, rules), column) for column in shown]
        rows.append(_row([result.score.case, *cells], failed=result.failed))
    notes = [_row([result.score.case, note], note=True) for result in results for note in result.notes]
    parts = [
        f"<h1>{html.escape(rules.title or rules.name)}</h1>",
        f"<p>{len(results)} cases, {failed} of them without a usable prediction; those count as the"
        f" challenge says. Rules: {html.escape(rules.profile)}. Evaluator {html.escape(__version__)}.</p>",
        *(f"<p>{html.escape(error)}</p>" for error in errors),
        f"<div class=scroll><table>{_row(head, tag='th')}{''.join(rows)}</table></div>",
    ]
    if notes:
        parts.append(f"<h2>Notes</h2><table>{''.join(notes)}</table>")
    body = "\n".join(parts)
    title = html.escape(rules.name)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>\n"
        f"{body}\n</html>\n"
    )


def _row(cells: Iterable[str], *, tag: str = "td", failed: bool = False, note: bool = False) -> str:
    kind = " class=note" if note else ""
    inside = "".join(f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for cell in cells)
    return f"<tr{' class=failed' if failed else ''}>{inside}</tr>"


def _cell(value: float, column: Column) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    return f"{100 * value:.2f}" if column.percent else f"{value:.2f}"
