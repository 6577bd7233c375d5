"""Numbers and foreign text for reading: rounding with units, and names that disturb nothing around them."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

_SIZES = {"b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40} | {
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}
_TIMES = {"ms": 0.001, "s": 1, "sec": 1, "min": 60, "h": 3600, "d": 86400}
_QUANTITY = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")
_UNPRINTED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """Return text without control, direction or line-breaking characters: one line in the order it has."""
    return "".join(" " if unicodedata.category(sign) in _UNPRINTED else sign for sign in text)


def csv_text(text: str) -> str:
    """Return text that a spreadsheet does not take for a formula."""
    clean = printable(text)
    return f"'{clean}" if clean.startswith(_FORMULA_STARTS) else clean


def markdown_text(text: str) -> str:
    """Return text with Markdown's and HTML's signs escaped, safe within a table cell."""
    clean = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]()#+!|~" else sign for sign in clean)


def score(value: float | None) -> str:
    """Return a fraction with four decimals, as challenges publish them in percent with two."""
    return "–" if value is None else f"{100 * value:.2f}"


def seconds(value: float | None) -> str:
    """Return a time with three figures or whole seconds."""
    if value is None:
        return "–"
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s" if value < 100 else f"{value:,.0f} s"


def about(value_s: float) -> str:
    """Return a duration as one guesses it: `40 s`, `7 min`, `2.5 h`."""
    if value_s < 90:
        return f"{value_s:.0f} s"
    return f"{value_s / 60:.0f} min" if value_s < 5400 else f"{value_s / 3600:.1f} h"


def size(value: float | None) -> str:
    """Return bytes in MiB or GiB; zero as it is."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    return f"{value / 1024**2:.0f} MiB" if value < 1000 * 1024**2 else f"{value / 1024**3:.2f} GiB"


def byte_seconds(value: float | None) -> str:
    """Return a memory-time area in GiB s."""
    if value is None:
        return "–"
    return "0" if value == 0 else f"{value / 1024**3:.2f} GiB·s"


def rank_interval(low: int | None, high: int | None) -> str:
    """Return an interval of ranks such as `1–3`."""
    if low is None or high is None:
        return ""
    return f"{low}" if low == high else f"{low}–{high}"


def ratio(value: float | None, best: float | None) -> str:
    """Return how a value compares with the best, as `(0.97)`; empty where that says nothing."""
    if value is None or not best or math.isinf(value) or math.isinf(best):
        return ""
    share = value / best
    return f"({share:.2f})" if share < 10 else f"({share:.0f})"


def bytes_of(words: str) -> int:
    """Return the bytes that a size in words means, such as `4 GiB`, `512 MiB` or `8 GB` (of 10^9).

    Raises:
        ValueError: it is no size; the message says how one is written.
    """
    value = _quantity(words, _SIZES)
    if value is None:
        raise ValueError(f'{words!r} is no size; write a number and a unit, such as "4 GiB" or "512 MiB"')
    return round(value)


def seconds_of(words: str) -> float:
    """Return the seconds that a time in words means, such as `90 s`, `5 min` or `1 h`.

    Raises:
        ValueError: it is no time; the message says how one is written.
    """
    value = _quantity(words, _TIMES)
    if value is None:
        raise ValueError(f'{words!r} is no time; write a number and a unit, such as "90 s", "5 min" or "1 h"')
    return value


def _quantity(words: str, units: dict[str, float] | dict[str, int]) -> float | None:
    match = _QUANTITY.fullmatch(words)
    unit = units.get(match[2].lower()) if match else None
    return None if match is None or unit is None else float(match[1].replace("_", "")) * unit


def toml_text(values: Mapping[str, Any], *, name: str = "") -> str:
    """Return a mapping of texts, numbers, truth values, lists of these, and mappings of such as TOML."""
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    lines = [f"[{name}]"] if name and (plain or not tables) else []
    lines += [f"{_toml_key(key)} = {toml_value(value)}" for key, value in plain.items()]
    text = "\n".join(lines) + "\n" if lines else ""
    for key, table in tables.items():
        inner = f"{name}.{_toml_key(key)}" if name else _toml_key(key)
        text += ("\n" if text else "") + toml_text(table, name=inner)
    return text


def toml_value(value: object) -> str:
    """Return a text, number, truth value or list of these as TOML writes it."""
    # JSON's texts, numbers, truth values and lists are TOML's, apart from one sign.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
