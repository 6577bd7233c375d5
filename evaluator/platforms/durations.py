"""ISO 8601 durations such as `PT22M17.5S`, in which grand-challenge says how long an algorithm ran."""

from __future__ import annotations

import re

_DURATION = re.compile(
    r"P(?:(?P<d>\d+(?:\.\d+)?)D)?(?:T(?:(?P<h>\d+(?:\.\d+)?)H)?(?:(?P<m>\d+(?:\.\d+)?)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


def seconds_of(text: object) -> float | None:
    """Return a duration in seconds; None for what is no text of days, hours, minutes and seconds."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None or not any(match.groups()):
        return None
    return sum(_SECONDS[unit] * float(number) for unit, number in match.groupdict().items() if number)
