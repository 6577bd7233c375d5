"""A run's folder, `results/CHALLENGE/TEAM/RUN`: what is in it, and the one who may write it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from harness.errors import ConfigurationError, InfrastructureError
from harness.files import write_whole
from harness.results.journal import (
    CASES_FILE,
    RUN_FILE,
    SCORES_FILE,
    Journal,
    complete_lines,
    damaged,
    line_sha256,
    read_lines,
)
from harness.results.key import Key, signing_key
from harness.results.lock import FolderLock
from harness.results.records import ExecutionRecord, RunRecord, ScoreRecord
from harness.results.register import register_folder, register_seal, registered_seals
from harness.results.seal import SEAL_FILE, JournalEnd, Seal, read_seal, write_seal

MOST_TEAM_LETTERS = 64
MOST_TITLE_LETTERS = 200


@dataclass(frozen=True)
class RunResults:
    """Everything on disk about one run. Lines are in the order written; the last one of a case counts."""

    folder: Path
    record: RunRecord
    executions: tuple[ExecutionRecord, ...]
    scores: tuple[ScoreRecord, ...]

    def final_executions(self) -> dict[str, ExecutionRecord]:
        """Return the last execution of each case that has one."""
        return {execution.case: execution for execution in self.executions}

    def final_scores(self, profile: str) -> dict[str, ScoreRecord]:
        """Return the last score of each case under a profile."""
        return {score.case: score for score in self.scores if score.profile == profile}


def read_run(folder: Path) -> RunResults:
    """Read one run's folder.

    Raises:
        ConfigurationError: the folder holds no run.
        InfrastructureError: a record is damaged.
    """
    record = read_run_record(folder)
    return RunResults(
        folder=folder,
        record=record,
        executions=tuple(read_lines(folder / CASES_FILE, ExecutionRecord)),
        scores=tuple(read_lines(folder / SCORES_FILE, ScoreRecord)),
    )


def read_results(results: Path, challenge: str) -> list[RunResults]:
    """Read every run of a challenge, `results/CHALLENGE/TEAM/RUN`, by team and then by time of creation."""
    folders = sorted(path.parent for path in (results / challenge).glob(f"*/*/{RUN_FILE}"))
    runs = [read_run(folder) for folder in folders]
    return sorted(runs, key=lambda run: (run.record.team, run.record.created_at))


def read_run_record(folder: Path) -> RunRecord:
    """Read `run.json`. Raises as `read_run`."""
    path = folder / RUN_FILE
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            "there is no run in this folder", where=path, mend=f"{error.strerror}."
        ) from error
    except ValidationError as error:
        raise damaged(path, error) from error


def write_run_record(folder: Path, record: RunRecord) -> None:
    """Write `run.json` so that it is either whole or not there."""
    path = folder / RUN_FILE
    content = json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, content, durable=True)
    except OSError as error:
        raise InfrastructureError(
            "the run cannot be written", where=path, mend=f"{error.strerror}."
        ) from error


def _is_empty(folder: Path) -> bool:
    """Whether a run was killed before its first seal: no line was written, so none was taken away either."""
    journals = (folder / name for name in (CASES_FILE, SCORES_FILE))
    return not (folder / SEAL_FILE).exists() and not any(
        path.exists() and path.stat().st_size for path in journals
    )


class RunWriter:
    """Writes one run's folder, alone: holds its lock until closed.

    Args:
        folder: `results/CHALLENGE/TEAM/RUN`; made if missing.
        record: Written to run.json if that is not there yet; an existing one is kept.

    Raises:
        InfrastructureError: another process writes this run.
    """

    def __init__(self, folder: Path, record: RunRecord) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._at_once = True
        self._lock = FolderLock(folder)
        self._lock.acquire()
        try:
            self._key = self._signing_key()
            self._open(record)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, record: RunRecord) -> None:
        folder, key = self.folder, self._key
        new = not (folder / RUN_FILE).exists()
        if new and key is not None:
            write_run_record(folder, record.model_copy(update={"key": key.id}))
        new = new or _is_empty(folder)
        if not new and key is not None:
            self._refuse_cut_journals(key)
        start = chain_start(folder)
        with ExitStack() as opened:
            self._cases: Journal[ExecutionRecord] = Journal(folder / CASES_FILE, start=start, key=key)
            opened.callback(self._cases.close)
            self._scores: Journal[ScoreRecord] = Journal(folder / SCORES_FILE, start=start, key=key)
            opened.callback(self._scores.close)
            if new:
                self.seal(durable=True)
            opened.pop_all()

    def _signing_key(self) -> Key | None:
        """Return the key that the run's lines are signed with; None of one that was begun without.

        Raises:
            InfrastructureError: it is signed with a key that this host does not have.
        """
        key = signing_key()
        begun_with = read_run_record(self.folder).key if (self.folder / RUN_FILE).exists() else key.id
        if begun_with not in ("", key.id):
            raise InfrastructureError(
                f"the run is signed with key {begun_with}, which this host does not have",
                where=self.folder,
                mend="Nothing is added to it. Give the key's file as FLAREHARNESS_KEY.",
            )
        return key if begun_with else None

    def add_execution(self, execution: ExecutionRecord) -> ExecutionRecord:
        """Append to cases.jsonl."""
        written = self._cases.append(execution, sync=self._at_once)
        if self._at_once:
            self.seal()
        return written

    def add_score(self, score: ScoreRecord) -> ScoreRecord:
        """Append to scores.jsonl."""
        written = self._scores.append(score, sync=self._at_once)
        if self._at_once:
            self.seal()
        return written

    @contextmanager
    def together(self) -> Iterator[None]:
        """Bring what is added within to the disk once, at its end, and seal it then.

        A power cut before the end may lose it: for what can be had again, as from the journals of workers.
        """
        self._at_once = False
        before = self._cases.end, self._scores.end
        try:
            yield
        finally:
            self._at_once = True
            if (self._cases.end, self._scores.end) != before:
                self._cases.sync()
                self._scores.sync()
                self.seal()

    def seal(self, *, durable: bool = False) -> None:
        """Sign how far the journals go now, here and in the register; a run without a key has no seal."""
        if self._key is None:
            return
        ends = folder_seal(self.folder, cases=self._cases.end, scores=self._scores.end, key=self._key.id)
        seal = ends.signed_by(self._key)
        where = self.folder
        try:
            write_seal(where, seal, durable=durable)
            where = register_folder()
            register_seal(_results_of(self.folder), seal, durable=durable)
        except OSError as error:
            raise InfrastructureError(
                "the run cannot be sealed", where=where, mend=f"{error.strerror}."
            ) from error

    def _refuse_cut_journals(self, key: Key) -> None:
        """Nothing is added to a run that lines were taken from: its cases would be tried again."""
        for fault in seal_faults(self.folder, key):
            raise InfrastructureError(
                f"the run was changed: {fault}",
                where=self.folder,
                mend="Nothing is added to it. See `harness verify`; move the folder away to start anew.",
            )

    def close(self) -> None:
        """Release the run."""
        self._cases.close()
        self._scores.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _results_of(folder: Path) -> Path:
    """Return the results folder that holds `CHALLENGE/TEAM/RUN`."""
    return folder.resolve().parents[2]


def chain_start(folder: Path) -> str:
    """Return what the first line of each journal carries: the hash of run.json."""
    return hashlib.sha256((folder / RUN_FILE).read_bytes()).hexdigest()


def seal_faults(folder: Path, key: Key | None) -> Iterator[str]:
    """Yield what does not agree between a run's seal and what its folder holds.

    Args:
        folder: `results/CHALLENGE/TEAM/RUN`.
        key: This host's key; without it nothing can be said of signatures.
    """
    seal, faults = judged_seal(folder, read_run_record(folder), key)
    yield from faults
    if seal is None:
        return
    for name, sealed in ((CASES_FILE, seal.cases), (SCORES_FILE, seal.scores)):
        lines = complete_lines(folder / name)
        there = _end(folder, lines[: sealed.lines])
        yield from end_faults(name, sealed, lines=len(lines), last_sha256=there.last_sha256)


def judged_seal(folder: Path, record: RunRecord, key: Key | None) -> tuple[Seal | None, list[str]]:
    """Return what a run's journals must hold at least, and what is wrong with its seal.

    That is what the seal says, or a later one in this host's register, after which the run was put back.
    None without a seal that can be read.
    """
    if not (folder / SEAL_FILE).is_file():
        return None, ["the seal is missing"]
    seal = read_seal(folder)
    if seal is None:
        return None, ["the seal is damaged"]
    faults = []
    if key is not None and seal.key == key.id and not key.signed(seal.content(), seal.hmac):
        faults.append("the seal was not made with the key that it names")
    there = folder_seal(folder, cases=seal.cases, scores=seal.scores, key=record.key)
    faults += [
        f"the seal is of another {name.replace('_sha256', '.json')}"
        for name in ("run", "team", "challenge", "run_sha256", "key")
        if getattr(seal, name) != getattr(there, name)
    ]
    if key is not None:
        # The longest; of two that are equally long the registered one.
        seals = [*registered_seals(there.run_sha256, _results_of(folder), key), seal]
        ends = {
            name: max((getattr(each, name) for each in seals), key=lambda end: end.lines)
            for name in ("cases", "scores")
        }
        seal = seal.model_copy(update=ends)
    return seal, faults


def end_faults(name: str, sealed: JournalEnd, *, lines: int, last_sha256: str) -> Iterator[str]:
    """Yield what does not agree between a journal and how far it went when it was sealed.

    Args:
        name: Of the journal.
        sealed: Its end then.
        lines: How many it has.
        last_sha256: Hash of the last line that was sealed, if that many are there.
    """
    if lines < sealed.lines:
        yield f"{sealed.lines - lines} of {sealed.lines} lines of {name} are missing"
    elif last_sha256 != sealed.last_sha256:
        yield f"the first {sealed.lines} lines of {name} are not the ones that were sealed"


def _end(folder: Path, lines: list[bytes]) -> JournalEnd:
    last = line_sha256(lines[-1]) if lines else chain_start(folder)
    return JournalEnd(lines=len(lines), last_sha256=last)


def folder_seal(folder: Path, *, cases: JournalEnd, scores: JournalEnd, key: str) -> Seal:
    """Return the seal of `results/CHALLENGE/TEAM/RUN`, as its names say, without a signature."""
    place = folder.resolve()
    return Seal(
        run=place.name,
        team=place.parent.name,
        challenge=place.parent.parent.name,
        run_sha256=chain_start(folder),
        cases=cases,
        scores=scores,
        key=key,
    )


HUMAN = "human"
"""The row of the data set's own raters, which stands where a team's does."""


def check_team(team: str) -> None:
    """Check that a team's name can name its folder, beside the leaderboard's own files.

    Raises:
        ConfigurationError: it cannot.
    """
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
    if not team or not set(team) <= allowed or team.startswith("."):
        raise ConfigurationError(
            f"{_shortened(team)!r} is no team name", mend="Use lower case letters, digits, `-`, `_` and `.`."
        )
    if len(team) > MOST_TEAM_LETTERS:
        raise ConfigurationError(
            f"the team name {_shortened(team)!r} has {len(team)} letters",
            mend=f"Use at most {MOST_TEAM_LETTERS}.",
        )
    if team in ("report", HUMAN) or team.startswith(("leaderboard.", "entries.")):
        raise ConfigurationError(
            f"a team cannot be called {team!r}: results of the challenge have that name",
            mend="Choose another name.",
        )


def check_title(title: str) -> None:
    """Check that a title fits into a table.

    Raises:
        ConfigurationError: it does not.
    """
    if len(title) > MOST_TITLE_LETTERS:
        raise ConfigurationError(
            f"the title has {len(title)} letters",
            where=_shortened(title),
            mend=f"Use at most {MOST_TITLE_LETTERS}.",
        )


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
