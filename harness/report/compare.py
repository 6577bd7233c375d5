"""Figures that a reader works with: two methods case by case, and the ranking under other weights.

The page's script draws them; here is what it draws from.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from harness.leaderboard.model import Analysis
from harness.report.scene import Figure, Scene
from harness.text import printable


def difference(scene: Scene) -> Figure | None:
    """Let the reader choose two methods; None where there are not two, or cases have no score."""
    if len(scene.rows) < 2 or not scene.scores_cases or not scene.shows_cases:
        return None
    scores = np.round(100 * scene.case_scores.T, 2)
    data = {
        "teams": [printable(row.team) for row in scene.rows],
        "cases": [printable(case) for case in scene.division.cases],
        "scores": [[None if np.isnan(value) else value for value in line] for line in scores.tolist()],
        "failed": [[case for case, lost in enumerate(line) if lost] for line in scene.failed.T.tolist()],
    }
    choices = "".join(
        f'<label>{words} <select name="{name}">{_options(scene, chosen)}</select></label> '
        for name, words, chosen in (("first", "method", 0), ("second", "against", 1))
    )
    return Figure(
        "difference",
        "Where do two methods differ?",
        "Mean score of each case, first method minus second, in percentage points, from the largest gain to "
        "the largest loss. Cases that one of them failed have a red rim.",
        Markup(
            f'<div class="tools work">{choices}<span aria-live="polite"></span></div>'
            f'<div class="scroll drawn" data-draws="difference">{_holder("Difference of two methods")}</div>'
        )
        + _held(data),
        wide=True,
    )


def weights(scene: Scene, analysis: Analysis) -> Figure | None:
    """Let the reader weigh the metrics anew; None where there is nothing to weigh."""
    metrics = analysis.table.metrics
    if len(metrics) < 2 or scene.ranked < 2:
        return None
    data = {
        "teams": [printable(row.team) for row in scene.division.ranked],
        "parts": np.round(analysis.ranking.metric_scores.T, 6).tolist(),
        "ranks": [row.rank for row in scene.division.ranked],
        "weights": [metric.weight for metric in metrics],
    }
    top = max(1.0, *(metric.weight for metric in metrics))
    sliders = "".join(
        f'<label>{escape(metric.title)} <input type="range" min="0" max="{top:g}" step="{top / 20:g}" '
        f'value="{metric.weight:g}"><output>{metric.weight:g}</output></label> '
        for metric in metrics
    )
    return Figure(
        "weights",
        "What would other weights do?",
        "Move a slider: the ranking is computed anew from each metric's part of the score, as the challenge "
        "would. Bars: the combined rank, less is better; beside a name: the rank now, and what it was.",
        Markup(
            f'<div class="tools work">{sliders}<button type="button">reset</button></div>'
            f'<div class="scroll drawn" data-draws="weights">{_holder("Ranking under other weights")}</div>'
        )
        + _held(data),
        wide=True,
    )


def _options(scene: Scene, chosen: int) -> str:
    marks = ["" if index != chosen else " selected" for index in range(len(scene.rows))]
    return "".join(
        f'<option value="{index}"{marks[index]}>{escape(printable(row.team))}</option>'
        for index, row in enumerate(scene.rows)
    )


def _holder(label: str) -> str:
    return f'<svg role="img" aria-label="{label}" viewBox="0 0 1100 10" width="1100" height="10"></svg>'


def _held(data: dict[str, Any]) -> Markup:
    """Return data for the page's script, as text that no name in it can leave."""
    return Markup("<template>{}</template>").format(json.dumps(data, separators=(",", ":")))
