"""Who takes part: a file that lists teams, a folder that archives are dropped into, or names given.

[quota]                              # of every team; each line may be left out
runs = 3                             # different images that a team may have judged
time = "6 h"                         # that the containers of one evaluation may run in all
deadline = 2026-12-01T12:00:00Z      # what was changed later is not taken in

[[teams]]
name = "small_unet"                  # a folder of submissions/

[[teams]]
name = "team_a"
image = "inbox/team_a.tar.gz"        # a tag, an archive or a folder; a path is read from this file's folder
quota = { runs = 5 }                 # instead of everybody's
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from harness.errors import ConfigurationError
from harness.results.folder import check_team
from harness.results.records import OptOuts
from harness.submission.load import team_of
from harness.submission.sources import is_archive_name
from harness.text import seconds_of

_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart")
"""Endings that programs give to files which they are still copying."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _seconds(value: object) -> object:
    return seconds_of(value) if isinstance(value, str) else value


class Quota(_Record):
    """What a team may use. None is without bound.

    Attributes:
        runs: Different images that it may have judged on a challenge.
        time: Seconds that the containers of one evaluation may run in all; `"6 h"` in the file.
        deadline: What was changed later is not taken in. Without a time zone it is UTC.
    """

    runs: Annotated[int, Field(ge=1)] | None = None
    time: Annotated[float, Field(gt=0), BeforeValidator(_seconds)] | None = None
    deadline: datetime | None = None

    def or_else(self, general: Quota) -> Quota:
        """Return this quota, with what it leaves open from another."""
        own = {name: value for name, value in self if value is not None}
        return general.model_copy(update=own)

    def is_late(self, moment: datetime) -> bool:
        """Whether a moment lies after the deadline."""
        if self.deadline is None:
            return False
        zone = self.deadline.tzinfo or UTC
        return moment > self.deadline.replace(tzinfo=zone)


@dataclass(frozen=True)
class Entrant:
    """One who takes part, before anything of it was looked at.

    Attributes:
        name: The team's.
        image: A tag, an archive or a folder; empty for the folder of submissions that bears the name.
    """

    name: str
    image: str = ""
    title: str = ""
    device: Literal["cpu", "cuda"] | None = None
    opt_outs: OptOuts = field(default_factory=OptOuts)
    quota: Quota = field(default_factory=Quota)

    @property
    def source(self) -> str:
        """What it is known by in the organiser's table."""
        return self.image or self.name

    def changed_at(self) -> datetime:
        """When the archive was last written to; now for what is no file."""
        try:
            return datetime.fromtimestamp(Path(self.image).stat().st_mtime, UTC)
        except (OSError, ValueError):
            return datetime.now(UTC)


class _Team(_Record):
    name: str
    image: str = ""
    title: str = ""
    device: Literal["cpu", "cuda"] | None = None
    requires_root: bool = False
    writable_root: bool = False
    writable_inputs: bool = False
    quota: Quota = Quota()


class _Roster(_Record):
    quota: Quota = Quota()
    teams: Annotated[tuple[_Team, ...], Field(min_length=1)]


def read_roster(path: Path) -> list[Entrant]:
    """Return the teams that a TOML file lists, in its order.

    Raises:
        ConfigurationError: it cannot be read, holds a field that is unknown or wrong, or a name twice.
    """
    try:
        roster = _Roster.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(
            "the list of teams cannot be read", where=path, mend=f"{error.strerror}."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError("the list of teams is no TOML", where=path, mend=f"{error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"the list of teams is wrong at {place or 'its top'}: {first['msg']}",
            where=path,
            mend="A team has `name`, and may have `image`, `title`, `device`, `quota` and the opt-outs.",
        ) from error
    found = [_entrant(team, roster.quota, path.parent) for team in roster.teams]
    _check_names(found, path)
    return found


def _entrant(team: _Team, general: Quota, folder: Path) -> Entrant:
    beside = folder / team.image
    return Entrant(
        name=team.name,
        image=str(beside) if team.image and beside.exists() else team.image,
        title=team.title,
        device=team.device,
        opt_outs=OptOuts(
            requires_root=team.requires_root,
            writable_root=team.writable_root,
            writable_inputs=team.writable_inputs,
        ),
        quota=team.quota.or_else(general),
    )


def _check_names(entrants: list[Entrant], where: Path) -> None:
    names = [entrant.name for entrant in entrants]
    for name in names:
        check_team(name)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigurationError(
            f"{twice!r} is listed {names.count(twice)} times",
            where=where,
            mend="A team stands once in the list; a newer image takes the older one's place.",
        )


def entrants_of(sources: Iterable[str], quota: Quota | None = None) -> list[Entrant]:
    """Return those who take part by archive, folder or tag; each is the team of its file's name."""
    return [Entrant(team_of(source), source, quota=quota or Quota()) for source in sources]


class Inbox:
    """A folder that archives are dropped into, one a team.

    Args:
        folder: Archives and folders in it take part; hidden names and unfinished copies do not.
    """

    def __init__(self, folder: Path, quota: Quota | None = None) -> None:
        if not folder.is_dir():
            raise ConfigurationError("there is no such inbox", where=folder, mend="Make the folder.")
        self._folder = folder
        self._quota = quota or Quota()
        self._seen: dict[str, tuple[int, int]] = {}
        self._given: dict[str, tuple[int, int]] = {}

    def arrivals(self, *, settled: bool = True) -> list[Entrant]:
        """Return what is new or changed since it was last returned.

        Args:
            settled: Leave out what was not there, or not as it is now, at the last call: it may still be
                being copied.
        """
        there = {str(path): _state(path) for path in sorted(self._folder.iterdir()) if _takes_part(path)}
        new = [
            name
            for name, state in there.items()
            if self._given.get(name) != state and (not settled or self._seen.get(name) == state)
        ]
        self._seen = there
        self._given |= {name: there[name] for name in new}
        return entrants_of(new, self._quota)


def _takes_part(path: Path) -> bool:
    name = path.name.lower()
    return not name.startswith(".") and not name.endswith(_UNFINISHED) and path.exists()


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def looks_like_source(word: str) -> bool:
    """Whether a word of the command line is an archive or a path, not the name of a team."""
    return is_archive_name(word) or "/" in word or ":" in word
