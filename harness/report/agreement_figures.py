"""Figures of how predictions agree with references: labels mixed up, lesions found, volumes, tolerances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.leaderboard.values import Floats
from harness.report.agreement import TOLERANCES_MM, Agreement, Lesion
from harness.report.look import CaseLook
from harness.report.marks import Cell, heat_cell, panel_grid, scrolled, tabs
from harness.report.overlays import colours
from harness.report.scene import Figure, Scene
from harness.report.svg import LETTER, Linear, Svg, log_around, short, x_axis, y_axis

_METHODS = 8
"""Figures with a panel per method show the first ones."""
_SIZES_ML = (0.1, 1.0, 10.0)
_LEAST_ML = 0.01
_MIXED = 0.005


def agreement_figures(scene: Scene, looks: Sequence[CaseLook]) -> list[Figure]:
    """Return the figures that need volumes, of the cases that were looked at, and that of stored volumes."""
    by_row = {
        row: [look.agreements[row] for look in looks if row in look.agreements]
        for row in range(len(scene.rows))
    }
    known = {row: items for row, items in by_row.items() if items}
    figures = []
    if known:
        figures.append(confusion(scene, known))
        if any(item.lesions for items in known.values() for item in items):
            figures.append(lesions(scene, known))
        if any(len(item.nsd) for items in known.values() for item in items):
            figures.append(tolerances(scene, known))
    if scene.shows_cases and (volumes := volume_agreement(scene)) is not None:
        figures.append(volumes)
    return figures


def _first(rows: Sequence[int] | dict[int, list[Agreement]]) -> list[int]:
    return sorted(rows)[:_METHODS]


def _of_cases(known: dict[int, list[Agreement]]) -> str:
    counts = {len(items) for items in known.values()}
    many = f"{max(counts)}" if len(counts) == 1 else f"up to {max(counts)}"
    return f"Over the {many} case{'' if max(counts) == 1 else 's'} of the case browser"


def confusion(scene: Scene, known: dict[int, list[Agreement]]) -> Figure:
    """Draw what each label's volume is taken for, one method at a time."""
    options = [(scene.rows[row].team, scrolled(_confusion_of(scene, known[row]))) for row in _first(known)]
    return Figure(
        "confusion",
        "What is taken for what?",
        f"{_of_cases(known)}: each line is a label of the reference, each cell the share of its volume that "
        "the prediction calls by the column's name, in percent. The last line says what false volume was "
        "made of, against the largest.",
        tabs(f"confusion-{scene.anchor}", options),
        wide=True,
    )


def _confusion_of(scene: Scene, items: Sequence[Agreement]) -> Svg:
    volumes = np.sum([item.confusion_ml for item in items], axis=0)
    names = ["background", *(label.name for label in scene.challenge.labels)]
    used = [
        0,
        *(place for place in range(1, len(names)) if volumes[place].sum() + volumes[:, place].sum() > 0),
    ]
    order = [*used[1:], 0]
    left, top, step, height = 150.0, 8.0, 52.0, 24.0
    width = left + step * len(order)
    slant = max(len(short(names[guess], 18)) for guess in order) * 0.65 * LETTER
    svg = Svg(
        width + 30,
        top + height * len(order) + 24 + slant,
        label="Volume of each label by what it is taken for",
    )
    for line, truth in enumerate(order):
        y = top + height * line
        svg.text(left - 8, y + height / 2 + 4, short(names[truth], 21), "end name")
        whole = volumes[truth].sum() if truth else volumes[0].max()
        for column, guess in enumerate(order):
            share = volumes[truth, guess] / whole if whole > 0 else 0.0
            cell = Cell(left + step * column, y, step, height)
            if share < _MIXED or (truth == guess == 0):
                svg.rect(cell.x, cell.y, step - 1, height - 1, "cell no")
                continue
            tip = f"{names[truth]} taken for {names[guess]}: {volumes[truth, guess]:,.1f} ml"
            mixed = truth != guess
            heat_cell(svg, cell, share, shown=f"{100 * share:.0f}", tip=tip, wrong=mixed)
    base = top + height * len(order) + 12
    for column, guess in enumerate(order):
        x = left + step * (column + 0.5)
        svg.text(x, base, short(names[guess], 18), "end name", transform=f"rotate(-40 {x:.1f} {base:.1f})")
    return svg


def lesions(scene: Scene, known: dict[int, list[Agreement]]) -> Figure:
    """Draw how many lesions of each size every method finds, misses and invents."""
    found = {row: [lesion for item in items for lesion in item.lesions] for row, items in known.items()}
    most = max(_counts(pieces).sum(axis=1).max() for pieces in found.values())
    panels = [_lesion_panel(scene, row, found[row], int(most)) for row in _first(known)]
    return Figure(
        "lesions",
        "Which lesions are found?",
        f"{_of_cases(known)}: lesions of tumour and lesion labels by volume, matched as the scoring "
        "profile says. Blue: found; red: missed; grey: a false alarm, predicted where none matches.",
        panel_grid(panels, least=280),
        wide=True,
    )


def _counts(pieces: Sequence[Lesion]) -> Floats:
    """Return how many pieces of each size are found, missed and false alarms: (sizes, 3)."""
    counts = np.zeros((len(_SIZES_ML) + 1, 3))
    for piece in pieces:
        kind = 2 if not piece.real else 0 if piece.met else 1
        counts[int(np.searchsorted(_SIZES_ML, piece.ml, side="right")), kind] += 1
    return counts


def _lesion_panel(scene: Scene, row: int, pieces: Sequence[Lesion], most: int) -> Svg:
    counts = _counts(pieces)
    team = scene.rows[row].team
    left, top, height = 78.0, 26.0, 26.0
    svg = Svg(320, top + height * len(counts) + 22, label=f"Lesions found, missed and false alarms of {team}")
    svg.name(left, top - 10, team, "head", data_t=row)
    scale = Linear(0, max(most, 1), left, 308)
    x_axis(svg, scale, top, top + height * len(counts), lambda value: f"{value:g}" if value % 1 == 0 else "")
    ends = [
        f"< {_SIZES_ML[0]:g} ml",
        *(f"< {size:g} ml" for size in _SIZES_ML[1:]),
        f"≥ {_SIZES_ML[-1]:g} ml",
    ]
    for line, (words, (hit, missed, false)) in enumerate(zip(ends, counts, strict=True)):
        y = top + height * line + 4
        svg.text(left - 8, y + 13, words, "tick end")
        start, tip = 0.0, f"{team}, {words}: {hit:.0f} found, {missed:.0f} missed, {false:.0f} false alarms"
        for count, kind in ((hit, "found"), (missed, "missed"), (false, "false")):
            if count:
                svg.rect(scale(start), y, scale(start + count) - scale(start), height - 8, kind, tip=tip)
                start += count
    return svg


def tolerances(scene: Scene, known: dict[int, list[Agreement]]) -> Figure:
    """Draw NSD over the tolerance."""
    curves = {}
    for row, items in known.items():
        own = [item.nsd for item in items if len(item.nsd)]
        if own:
            curves[row] = np.mean(own, axis=0)
    left, right, top, bottom = 40.0, 296.0, 16.0, 280.0
    x, y = Linear(0, TOLERANCES_MM[-1], left, right), Linear(0, 1, bottom, top)
    svg = Svg(440, bottom + 42, label="Mean NSD over the tolerance, a line per method")
    x_axis(svg, x, top, bottom, lambda value: f"{value:g}")
    y_axis(svg, y, left, right, lambda value: f"{100 * value:.0f}")
    svg.text((left + right) / 2, bottom + 34, "tolerance, mm", "tick mid")
    taken = -np.inf
    for row, curve in sorted(curves.items(), key=lambda item: -item[1][-1]):
        points = [(x(mm), y(float(value))) for mm, value in zip(TOLERANCES_MM, curve, strict=True)]
        mine = scene.mine(row)
        said = ", ".join(
            f"{mm:g} mm {100 * value:.1f}" for mm, value in zip(TOLERANCES_MM, curve, strict=True)
        )
        svg.path(points, f"curve {mine.colour}", tip=f"{mine.name}: {said}", data_t=row)
        svg.dots(points, f"mid {mine.colour}", data_t=row)
        taken = max(points[-1][1] + 4, taken + 14)
        svg.dots([(right + 12, taken - 4)], f"mid {mine.colour}", data_t=row)
        svg.text(right + 20, taken, short(mine.name, 17), "name", data_t=row)
    return Figure(
        "tolerances",
        "Would a stricter or a kinder tolerance change the picture?",
        "Mean NSD in percent over the labels that both volumes hold, in a few cases of the case browser, for "
        "the first methods. What is missed altogether is not in it.",
        scrolled(svg),
    )


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Volumes of one method: ml in reference and prediction, with the label and the case of each."""

    row: int
    ml: Floats
    labels: Sequence[int]
    cases: Sequence[str]


def volume_agreement(scene: Scene) -> Figure | None:
    """Draw each label's volume in the prediction against that in the reference, after Bland and Altman."""
    pairs = [
        pair for row in range(min(len(scene.rows), _METHODS)) if (pair := _pairs(scene, row)) is not None
    ]
    if not pairs:
        return None
    return Figure(
        "volumes",
        "Are the volumes right, and for small organs too?",
        "Each dot is a label of a case: across, the mean of its volume in reference and prediction "
        "(logarithmic); up, how much larger the prediction is, in percent of that mean: 200 is invented, "
        "-200 missed. Line: the mean difference; dashed: 1.96 standard deviations. After Bland and Altman, "
        "Lancet 1986. The colours are those of the labels in the case browser.",
        panel_grid([_volume_panel(scene, pair) for pair in pairs], least=280),
        wide=True,
    )


def _pairs(scene: Scene, row: int) -> _Pairs | None:
    known, labels, cases = [], [], []
    mask = scene.runs[row].annotated
    values = scene.runs[row].labels
    volumes = scene.evidence[row].volumes(scene.runs[row].profile)
    for at, case in enumerate(scene.division.cases):
        own = volumes.get(case, {})
        for value, counts in zip(values, mask[at], strict=True):
            pair = own.get(value)
            if counts and pair is not None and max(pair) > _LEAST_ML and scene.runs[row].succeeded[at]:
                known.append(pair)
                labels.append(value)
                cases.append(case)
    return _Pairs(row, np.array(known), labels, cases) if known else None


def _volume_panel(scene: Scene, pairs: _Pairs) -> Svg:
    mean = pairs.ml.mean(axis=1)
    off = 100 * (pairs.ml[:, 1] - pairs.ml[:, 0]) / mean
    names = {label.value: label.name for label in scene.challenge.labels}
    paint = colours(scene.challenge.labels)
    team = scene.rows[pairs.row].team
    left, right, top, bottom = 42.0, 316.0, 28.0, 200.0
    svg = Svg(340, bottom + 24, label=f"Difference of volumes of {team}")
    svg.name(left, top - 12, team, "head", data_t=pairs.row)
    x, y = log_around(mean.tolist(), left, right), Linear(-200, 200, bottom, top)
    x_axis(svg, x, top, bottom, lambda value: f"{value:g} ml" if value >= 1 else f"{value:g}")
    y_axis(svg, y, left, right, lambda value: f"{value:+.0f}" if value else "0")
    for value in sorted(set(pairs.labels)):
        own = [place for place, label in enumerate(pairs.labels) if label == value]
        points = [(x(float(mean[place])), y(float(off[place]))) for place in own]
        worst = max(own, key=lambda place: abs(off[place]))
        tip = f"{names[value]}: worst {off[worst]:+.0f} % in {pairs.cases[worst]}"
        svg.dots(points, "volume", style=f"stroke:{paint[value]}", tip=tip)
    middle, spread = float(off.mean()), 1.96 * float(off.std(ddof=1)) if len(off) > 1 else 0.0
    svg.line(left, y(middle), right, y(middle), "middle", tip=f"mean difference {middle:+.1f} %")
    for edge in (middle - spread, middle + spread):
        place = y(float(np.clip(edge, -200, 200)))
        svg.line(left, place, right, place, "front", tip=f"{edge:+.1f} %")
    return svg
