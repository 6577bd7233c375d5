"""Take in who takes part: check name, deadline and quota, and make the image ready; or say why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.engine.base import ContainerEngine
from harness.errors import ConfigurationError, HarnessError
from harness.results.folder import check_team, read_run_record
from harness.results.journal import RUN_FILE
from harness.run.request import EvaluationRequest
from harness.teams.entries import EntryRow, EntryTable, rejected
from harness.teams.roster import Entrant

Prepare = Callable[[Entrant], EvaluationRequest]
"""Makes an image ready and returns what to evaluate; raises what is wrong with it."""


@dataclass(frozen=True)
class Entered:
    """Somebody who was taken in."""

    entrant: Entrant
    request: EvaluationRequest
    row: EntryRow


class Intake:
    """Takes in one after the other, and keeps the table of who was not.

    Args:
        folder: `results/CHALLENGE`.
        engine: Tells which image is which.
        prepare: Makes an image ready.
        entries: The table.
        note: Gets one line for each who is rejected.
    """

    def __init__(
        self,
        folder: Path,
        engine: ContainerEngine,
        *,
        prepare: Prepare,
        entries: EntryTable,
        note: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._engine = engine
        self._prepare = prepare
        self._entries = entries
        self._note = note
        self._sources: dict[str, str] = {}
        self.rejected: list[EntryRow] = []

    def take_in(self, entrants: Iterable[Entrant]) -> Iterator[Entered]:
        """Yield those who may be evaluated."""
        for entrant in entrants:
            try:
                request = self._admit(entrant)
            except HarnessError as error:
                line = self._entries.put(rejected(entrant, error))
                self.rejected.append(line)
                self._note(f"{entrant.name}: rejected: {error.one_line()}")
            else:
                line = self._entries.put(EntryRow(entrant.name, entrant.source))
                yield Entered(entrant, request, line)

    def _admit(self, entrant: Entrant) -> EvaluationRequest:
        check_team(entrant.name)
        known = self._sources.setdefault(entrant.name, entrant.source)
        if known != entrant.source:
            raise ConfigurationError(
                f"{known} is the team {entrant.name!r} already",
                where=entrant.source,
                mend="Give it another name, or list both under names of their own with --teams.",
            )
        self._check_deadline(entrant)
        request = self._prepare(entrant)
        if entrant.quota.runs is not None:
            digest = self._engine.image(request.image).digest
            _check_runs(self._folder / request.team, digest, entrant.quota.runs)
        return request

    def _check_deadline(self, entrant: Entrant) -> None:
        """What is no file is known by the moment at which it was first met."""
        seen = self._entries.seen(entrant.name, entrant.source)
        is_file = bool(entrant.image) and Path(entrant.image).exists()
        came = seen if seen is not None and not is_file else entrant.changed_at()
        if entrant.quota.is_late(came):
            raise ConfigurationError(
                f"it came on {came:%Y-%m-%d %H:%M %Z}, after the deadline",
                where=entrant.source,
                mend=f"The deadline was {entrant.quota.deadline}.",
            )


def _check_runs(folder: Path, digest: str, most: int) -> None:
    """Check that a team has judged images left. The one that it has a run of already is not counted."""
    records = [read_run_record(path.parent) for path in folder.glob(f"*/{RUN_FILE}")]
    judged = {record.image.digest for record in records if record.image is not None} - {digest}
    if len(judged) >= most:
        raise ConfigurationError(
            f"the team has had {len(judged)} images judged, and {most} are allowed",
            where=folder,
            mend="Raise `runs` in its quota, or leave it out.",
        )
