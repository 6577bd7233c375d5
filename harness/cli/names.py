"""Names that a person types, compared with those that there are; the nearest is suggested."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from harness.errors import ConfigurationError


def known_team(team: str, teams: Iterable[str], *, where: Path) -> None:
    """Check that a team has results.

    Raises:
        ConfigurationError: it has none; the message suggests the nearest name, whatever its case.
    """
    held = sorted(set(teams))
    if team in held:
        return
    by_folded = {name.casefold(): name for name in held}
    close = [by_folded[name] for name in get_close_matches(team.casefold(), by_folded, n=1)]
    names = ", ".join(held[:_MOST_NAMED]) + (" and more" if len(held) > _MOST_NAMED else "")
    raise ConfigurationError(
        f"there are no results of a team {team!r}",
        where=where,
        mend=f"Did you mean {close[0]}?" if close else f"There are: {names or 'none'}.",
    )


_MOST_NAMED = 20
