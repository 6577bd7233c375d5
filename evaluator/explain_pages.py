"""An explanation as text for a terminal, or as one HTML page with pictures."""

from __future__ import annotations

import base64
import html
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from evaluator.explain import METRIC_KEYS, Explanation, LabelExplanation, Place, text_of
from evaluator.metrics import METRICS
from evaluator.shipped import profile_named

_MARGIN = 24
_SHARED, _MISSED, _FALSE = (150, 160, 150), (40, 90, 220), (220, 60, 40)
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:.6em 0}td,th{padding:.15em .9em .15em 0;text-align:right}
td:first-child,th:first-child{text-align:left}figure{display:inline-block;margin:.5em 1.5em .5em 0}
img{image-rendering:pixelated;border:1px solid #ccc;max-width:22em}li{margin:.1em 0}
@media(prefers-color-scheme:dark){body{background:#181a1b;color:#ddd}}"""


def as_text(explanation: Explanation) -> str:
    """Return the explanation for a terminal."""
    lines = [
        f"{explanation.case}: {len(explanation.labels)} labels",
        *map("  note: {}".format, explanation.notes),
    ]
    lines += [f"  {name} scores nothing: {why}" for name, why in explanation.refused.items()]
    for found in explanation.labels:
        lines += ["", f"{found.label.name} (label {found.label.value})", *_table(found)]
        lines += [f"  why: {sentence}" for sentence in reasons_of(found)]
        lines.append(f"  NSD by tolerance: {_curve(found)}")
        lines += [f"  worst: {_place_text(place)}" for place in found.places]
    defects = list(_defects(explanation))
    return "\n".join([*lines, *([""] if defects else []), *defects]) + "\n"


def _table(found: LabelExplanation) -> Iterator[str]:
    width = max(map(len, found.scores))
    yield f"  {'':{width}}  " + "  ".join(f"{METRICS[key].facts.title:>10}" for key in METRIC_KEYS)
    for name, scores in found.scores.items():
        yield f"  {name:{width}}  " + "  ".join(f"{text_of(key, scores[key]):>10}" for key in METRIC_KEYS)


def reasons_of(found: LabelExplanation) -> list[str]:
    """Return a sentence for each profile and rule that changes a number by itself."""
    sentences = []
    for name, reasons in found.reasons.items():
        by_rule: dict[str, list[str]] = {}
        for reason in reasons:
            title = METRICS[reason.metric].facts.title
            before, after = text_of(reason.metric, reason.exact), text_of(reason.metric, reason.changed)
            change = (
                f"{title} {before} to {after}"
                if before != after
                else f"{title} by {reason.changed - reason.exact:.1e}"
            )
            by_rule.setdefault(f"{reason.why} ({reason.rule})", []).append(change)
        sentences += [f"{name}: {why}: {', '.join(changes)}" for why, changes in by_rule.items()]
    return sentences


def _curve(found: LabelExplanation) -> str:
    own = found.label.tolerance_mm
    return ", ".join(
        f"{'*' if mm == own else ''}{mm:g} mm {text_of('nsd', nsd)}"
        for mm, nsd in found.nsd_by_tolerance.items()
    )


def _place_text(place: Place) -> str:
    x, y, z = place.voxel
    where = f"slice {z}, voxel {x}, {y}"
    if place.position_mm is not None:
        where += " at ({:.1f}, {:.1f}, {:.1f}) mm".format(*place.position_mm)
    what = "predicted, but the reference is" if place.side == "prediction" else "missed: the prediction is"
    return f"{where}: {what} {place.distance_mm:.1f} mm away"


def _defects(explanation: Explanation) -> Iterator[str]:
    """Yield the known faults of the profiles."""
    if not explanation.labels:
        return
    for name in explanation.labels[0].scores:
        for defect in profile_named(name, "any").defects:
            yield f"{name}: {defect}"


def as_html(explanation: Explanation) -> str:
    """Return the explanation as one page that needs no other file."""
    escape = html.escape
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(explanation.case)}</title>"
        f"<style>{_STYLE}</style><h1>{escape(explanation.case)}</h1>",
        "<p>Grey: both. Blue: the reference alone. Red: the prediction alone.</p>",
        _list([*explanation.notes, *(f"{k} scores nothing: {v}" for k, v in explanation.refused.items())]),
    ]
    for found in explanation.labels:
        head = "".join(f"<th>{escape(METRICS[key].facts.title)}" for key in METRIC_KEYS)
        rows = "".join(
            f"<tr><td>{escape(name)}" + "".join(f"<td>{text_of(key, scores[key])}" for key in METRIC_KEYS)
            for name, scores in found.scores.items()
        )
        parts.append(f"<h2>{escape(found.label.name)}</h2><table><tr><th>rules{head}{rows}</table>")
        parts.append(_list(reasons_of(found)))
        parts.append(f"<p>NSD by tolerance: {escape(_curve(found))}</p>")
        for place in found.places:
            picture = base64.b64encode(_png(_picture(explanation, found, place))).decode()
            text = escape(_place_text(place))
            parts.append(
                f'<figure><img alt="{text}" src="data:image/png;base64,{picture}" width=320>'
                f"<figcaption>{text}</figcaption></figure>"
            )
    return (
        "\n".join([*parts, "<h2>Known faults of the rules</h2>", _list(list(_defects(explanation)))]) + "\n"
    )


def _list(sentences: list[str]) -> str:
    return (
        f"<ul>{''.join(f'<li>{html.escape(sentence)}' for sentence in sentences)}</ul>" if sentences else ""
    )


def _picture(explanation: Explanation, found: LabelExplanation, place: Place) -> NDArray[np.uint8]:
    """Return the slice around a place as RGB: rows along y from the back to the front, columns along x."""
    x, y, z = place.voxel
    shape = explanation.reference.shape
    z = min(z, shape[2] - 1)
    window = tuple(
        slice(max(0, at - _MARGIN), min(size, at + _MARGIN)) for at, size in ((x, shape[0]), (y, shape[1]))
    )
    one, other = (
        np.isin(volume.array[window[0], window[1], z], found.label.voxel_values)
        for volume in (explanation.reference, explanation.prediction)
    )
    picture = np.full((*one.shape, 3), 250, np.uint8)
    for where, colour in ((one & other, _SHARED), (one & ~other, _MISSED), (other & ~one, _FALSE)):
        picture[where] = colour
    return picture.transpose(1, 0, 2)[::-1]


def _png(picture: NDArray[np.uint8]) -> bytes:
    """Return an RGB picture as a PNG file."""
    height, width, _ = picture.shape
    rows = b"".join(b"\0" + np.ascontiguousarray(row).tobytes() for row in picture)

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
