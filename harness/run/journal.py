"""The results on disk: one writer, lines that survive a power cut, a hash chain that shows any change."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from pydantic import ValidationError

from harness.errors import ConfigurationError, InfrastructureError
from harness.run.records import ExecutionRecord, RunRecord, ScoreRecord

RUN_FILE = "run.json"
CASES_FILE = "cases.jsonl"
SCORES_FILE = "scores.jsonl"

Line = TypeVar("Line", ExecutionRecord, ScoreRecord)


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
        raise _damaged(path, error) from error


def read_lines(path: Path, kind: type[Line]) -> Iterator[Line]:
    """Yield a journal's records. A torn last line is left out: the run that wrote it was cut off there."""
    for number, line in enumerate(complete_lines(path), start=1):
        try:
            yield kind.model_validate_json(line)
        except ValidationError as error:
            raise _damaged(f"{path}:{number}", error) from error


def complete_lines(path: Path) -> list[bytes]:
    """Return the lines of a journal without their newlines, except for a torn last one."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return content.split(b"\n")[:-1]


def line_sha256(line: bytes) -> str:
    """Return the hash that the next line of the journal carries."""
    return hashlib.sha256(line).hexdigest()


def chain_faults(path: Path, *, start: str) -> Iterator[tuple[int, str]]:
    """Yield the number of each line of a journal that was changed, and what shows it.

    Args:
        path: The journal.
        start: From `chain_start`.
    """
    previous = start
    for number, line in enumerate(complete_lines(path), start=1):
        try:
            content = json.loads(line)
            carried, own = content["previous_sha256"], content["sha256"]
            content["sha256"] = ""
            unsealed = _compact(content)
        except (ValueError, KeyError, TypeError):
            yield number, "it is no journal line"
        else:
            if carried != previous:
                before = f"line {number - 1}" if number > 1 else RUN_FILE
                yield number, f"it does not follow {before}: one was changed or is missing"
            if line_sha256(unsealed) != own or _compact(content | {"sha256": own}) != line:
                yield number, "its content does not match its own hash"
        previous = line_sha256(line)


def sealed_line(record: Line, previous_sha256: str) -> bytes:
    """Return a record as its journal line, which carries the previous line's hash and its own.

    Its own is over the line with an empty `sha256`: so the last line is covered too.
    """
    linked = record.model_copy(update={"previous_sha256": previous_sha256, "sha256": ""})
    own = line_sha256(_dump(linked))
    return _dump(linked.model_copy(update={"sha256": own}))


def write_run_record(folder: Path, record: RunRecord) -> None:
    """Write `run.json` so that it is either whole or not there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RUN_FILE
    temporary = folder / f".{RUN_FILE}.part"
    content = json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    try:
        with temporary.open("w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(folder)
    except OSError as error:
        raise InfrastructureError(
            "the run cannot be written", where=path, mend=f"{error.strerror}."
        ) from error


class Journal(Generic[Line]):
    """Appends to one journal. Open it under the run's lock; it drops a torn last line at once."""

    def __init__(self, path: Path, *, start: str) -> None:
        self.path = path
        new = not path.exists()
        self._file = path.open("ab", buffering=0)
        if new:
            sync_folder(path.parent)
        lines = complete_lines(path)
        for number, fault in chain_faults(path, start=start):
            self._file.close()
            raise InfrastructureError(
                f"the journal was changed: {fault}",
                where=f"{path}:{number}",
                mend="Nothing is added to it. See `harness verify`; move the folder away to start anew.",
            )
        self._previous = line_sha256(lines[-1]) if lines else start
        self._size = sum(len(line) + 1 for line in lines)
        if self._file.tell() != self._size:
            self._file.truncate(self._size)
            os.fsync(self._file.fileno())

    def append(self, record: Line) -> Line:
        """Write a record and return it as written, once it is on the disk.

        Raises:
            InfrastructureError: the disk is full or failing; the journal is as it was before.
        """
        line = sealed_line(record, self._previous)
        data = line + b"\n"
        try:
            if self._file.write(data) != len(data):
                raise OSError(28, "No space left on device")
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(self._size)
            raise InfrastructureError(
                "a result cannot be stored",
                where=self.path,
                mend=f"{error.strerror}. Free space and run again.",
            ) from error
        self._size += len(data)
        self._previous = line_sha256(line)
        return type(record).model_validate_json(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
        self._lock = FolderLock(folder)
        self._lock.acquire()
        if not (folder / RUN_FILE).exists():
            write_run_record(folder, record)
        start = chain_start(folder)
        self._cases: Journal[ExecutionRecord] = Journal(folder / CASES_FILE, start=start)
        self._scores: Journal[ScoreRecord] = Journal(folder / SCORES_FILE, start=start)

    def add_execution(self, execution: ExecutionRecord) -> ExecutionRecord:
        """Append to cases.jsonl."""
        return self._cases.append(execution)

    def add_score(self, score: ScoreRecord) -> ScoreRecord:
        """Append to scores.jsonl."""
        return self._scores.append(score)

    def close(self) -> None:
        """Release the run."""
        self._cases.close()
        self._scores.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FolderLock:
    """At most one holder per folder. The kernel drops it with the process, however that ends."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock without waiting.

        Raises:
            InfrastructureError: someone else holds it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 64).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise InfrastructureError(
                f"another harness works in this folder{f' (process {holder})' if holder else ''}",
                where=self.path.parent,
                mend="Wait for it, or use another results folder.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def chain_start(folder: Path) -> str:
    """Return what the first line of each journal carries: the hash of run.json."""
    return hashlib.sha256((folder / RUN_FILE).read_bytes()).hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _dump(record: Any) -> bytes:
    return _compact(record.model_dump(mode="json"))


def _compact(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _damaged(where: object, error: ValidationError) -> InfrastructureError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return InfrastructureError(
        f"a record is damaged{f' at {place}' if place else ''}: {first['msg']}",
        where=where,
        mend="`harness verify` lists every damaged record; move the run's folder away to start anew.",
    )
