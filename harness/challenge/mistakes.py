"""Say what is wrong with a challenge's file: which key of it, and what it may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from evaluator.errors import choose_one_of
from harness.challenge.model import Challenge, ChallengeLabel, Contract, Limits, Scoring
from harness.challenge.ranking import Metric, RankingScheme
from harness.challenge.words import word_key
from harness.errors import ConfigurationError

_TABLES: dict[tuple[str, ...], type[BaseModel]] = {
    (): Challenge,
    ("labels",): ChallengeLabel,
    ("limits",): Limits,
    ("contract",): Contract,
    ("scoring",): Scoring,
    ("ranking",): RankingScheme,
    ("ranking", "metrics"): Metric,
}
_IN_WORDS = {
    "Input should be": "it should be",
    "a valid tuple": "a list; a list of tables has two brackets, as in [[labels]]",
    "a valid dictionary or instance of": "a table, as of",
}
_GUIDE = "docs/challenges.md shows a whole file."


def explained(error: ValidationError, values: dict[str, Any], *, where: str) -> ConfigurationError:
    """Return what a person can act on: the first mistake, and how many more there are.

    Args:
        error: What is wrong with the file.
        values: Its content.
        where: Its name.
    """
    # A key that is unknown is most often the misspelt one that is missing: it is told first.
    mistakes = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    # A list is also too short where its only item is wrong.
    mistakes = [item for item in mistakes if item["type"] != "too_short"] or mistakes
    what, mend = _explain(mistakes[0], values)
    more = f" ({len(mistakes) - 1} more after it)" if len(mistakes) > 1 else ""
    return ConfigurationError(f"{what}{more}", where=where, mend=mend or _GUIDE)


def _explain(mistake: ErrorDetails, values: dict[str, Any]) -> tuple[str, str]:
    place, kind, given = mistake["loc"], mistake["type"], mistake["input"]
    if kind == "extra_forbidden":
        return _unknown_key(place)
    key = _written(place)
    if kind == "missing":
        return f"the key {key} is missing", f"{_description(place)}{_GUIDE}"
    if kind in ("literal_error", "enum"):
        allowed = [word.strip("'") for word in mistake["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        return f"{key} is {given!r}", f"{choose_one_of(str(given), allowed)}."
    message = mistake["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return (f"{key}: {message}" if place else message), _GUIDE
    if kind == "string_pattern_mismatch" and place == ("name",):
        return f"name is {given!r}", "Use lower case letters, digits and hyphens."
    for theirs, ours in _IN_WORDS.items():
        message = message.replace(theirs, ours)
    return f"{key} is {given!r}: {message}", _description(place)


def _unknown_key(place: Sequence[str | int]) -> tuple[str, str]:
    table = tuple(part for part in place[:-1] if isinstance(part, str))
    known = _keys(_TABLES[table]) if table in _TABLES else []
    return f"there is no key {_written(place)}", f"{choose_one_of(str(place[-1]), known)}."


def _keys(table: type[BaseModel]) -> list[str]:
    return [field.alias or word_key(name) for name, field in table.model_fields.items()]


def _description(place: Sequence[str | int]) -> str:
    """Return what a key is for, as a sentence with a space after it; empty if nothing is said of it."""
    table = tuple(part for part in place[:-1] if isinstance(part, str))
    fields = _TABLES[table].model_fields if table in _TABLES else {}
    described = fields[str(place[-1])].description if place and str(place[-1]) in fields else None
    return f"It is {described}. " if described else ""


def _written(place: Sequence[str | int]) -> str:
    """Return a key as a person finds it in the file: the third label's is `labels[3].tolerance_mm`."""
    written = ""
    for part in place:
        if isinstance(part, int):
            written += f"[{part + 1}]"
        else:
            written += f"{'.' if written else ''}{part if part == 'tolerance_mm' else word_key(part)}"
    return written
