"""What ships with the evaluator, by name: label tables, profiles, and tables of other programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from evaluator import flare, official, official_labels
from evaluator.errors import RequestError, choose_one_of
from evaluator.labels import LabelTable
from evaluator.profiles import EXACT, Profile
from evaluator.scores import CaseScore

LABEL_TABLES: dict[str, LabelTable] = {**flare.TABLES, **official_labels.TABLES}
"""The label tables of the shipped challenges."""


def _fixed(profile: Profile, challenge: str) -> Profile:
    return profile


PROFILES: dict[str, Callable[[str], Profile]] = {
    "exact": lambda challenge: EXACT,
    "flare": flare.profile,
    **{name: partial(flare.named_profile, name) for name in flare.PROFILE_NAMES},
    **{name: partial(_fixed, profile) for name, profile in official.PROFILES.items()},
}
"""Profile names, each with a function from the challenge's name to its rules."""

Columns = Callable[[LabelTable], list[str]]
Row = Callable[[CaseScore, LabelTable], list[str | float]]

CASE_TABLES: Mapping[str, tuple[Columns, Row]] = {"flare": (flare.columns, flare.row)}
"""Tables of other programs that have a row a case: their columns for a label table, and a case's row."""


def label_table(challenge: str) -> LabelTable:
    """Return the label table of a shipped challenge.

    Raises:
        RequestError: There is no such challenge.
    """
    try:
        return LABEL_TABLES[challenge]
    except KeyError:
        raise RequestError(
            f"there is no challenge {challenge!r}", mend=choose_one_of(challenge, LABEL_TABLES)
        ) from None


def profile_named(name: str, challenge: str) -> Profile:
    """Return the rules of a profile for a challenge.

    Raises:
        RequestError: There is no such profile.
    """
    try:
        return PROFILES[name](challenge)
    except KeyError:
        raise RequestError(f"there is no profile {name!r}", mend=choose_one_of(name, PROFILES)) from None
