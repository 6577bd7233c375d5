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
from harness.files import sync_folder
from harness.results.records import ExecutionRecord, RunRecord, ScoreRecord

RUN_FILE = "run.json"
CASES_FILE = "cases.jsonl"
SCORES_FILE = "scores.jsonl"

Line = TypeVar("Line", ExecutionRecord, ScoreRecord)


def read_lines(path: Path, kind: type[Line]) -> Iterator[Line]:
    """Yield a journal's records. A torn last line is left out: the run that wrote it was cut off there."""
    for number, line in enumerate(complete_lines(path), start=1):
        try:
            yield kind.model_validate_json(line)
        except ValidationError as error:
            raise damaged(f"{path}:{number}", error) from error


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


def _dump(record: Any) -> bytes:
    return _compact(record.model_dump(mode="json"))


def _compact(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def damaged(where: object, error: ValidationError) -> InfrastructureError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return InfrastructureError(
        f"a record is damaged{f' at {place}' if place else ''}: {first['msg']}",
        where=where,
        mend="`harness verify` lists every damaged record; move the run's folder away to start anew.",
    )
