"""The results on disk: one writer, lines that survive a power cut, a hash chain that shows any change."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from pydantic import ValidationError

from harness.errors import ConfigurationError, InfrastructureError
from harness.files import sync_folder
from harness.results.key import Key
from harness.results.seal import JournalEnd
from harness.results.records import ExecutionRecord, RunRecord, ScoreRecord

RUN_FILE = "run.json"
CASES_FILE = "cases.jsonl"
SCORES_FILE = "scores.jsonl"

_OWN_HASH = re.compile(rb'"sha256":"([0-9a-f]{64})"}$')
_PREVIOUS_HASH = re.compile(rb'"previous_sha256":"([0-9a-f]{64})"')
_SIGNATURE = re.compile(rb'"hmac":"([0-9a-f:]*)"')

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


def chain_faults(path: Path, *, start: str, key: Key | None = None) -> Iterator[tuple[int, str]]:
    """Yield the number of each line of a journal that was changed, and what shows it.

    Args:
        path: The journal.
        start: From `chain_start`.
        key: This host's key; lines that claim to be signed with it must be.
    """
    previous = start
    for number, line in enumerate(complete_lines(path), start=1):
        for fault in line_faults(line, previous, key):
            yield number, fault.format(before=f"line {number - 1}" if number > 1 else RUN_FILE)
        previous = line_sha256(line)


def line_faults(line: bytes, previous: str, key: Key | None = None) -> Iterator[str]:
    """Yield what shows that a line was changed, without parsing it: a leaderboard reads a million of them.

    Args:
        line: Without its newline.
        previous: Hash of the line before.
        key: This host's key.
    """
    own = _OWN_HASH.search(line)
    carried = _PREVIOUS_HASH.findall(line)
    if own is None or not carried:
        yield "it is no journal line"
        return
    if carried[-1].decode() != previous:
        yield "it does not follow {before}: one was changed or is missing"
    if line_sha256(line[: own.start(1)] + line[own.end(1) :]).encode() != own[1]:
        yield "its content does not match its own hash"
    signatures = _SIGNATURE.findall(line)
    if key is None or not signatures or not signatures[-1]:
        return
    key_id, _, signature = signatures[-1].decode().partition(":")
    if key_id == key.id and not key.signed(_signed_content(line, signatures[-1]), signature):
        yield "it was not signed with the key that it names"


def sealed_line(record: Line, previous_sha256: str, key: Key | None = None) -> bytes:
    """Return a record as its journal line: the previous line's hash, a signature, and its own hash.

    The signature is over the line with `hmac` and `sha256` empty, the hash over the line with an empty
    `sha256`: so the last line is covered too.
    """
    linked = record.model_copy(update={"previous_sha256": previous_sha256, "hmac": "", "sha256": ""})
    if key is not None:
        linked = linked.model_copy(update={"hmac": f"{key.id}:{key.sign(_dump(linked))}"})
    own = line_sha256(_dump(linked))
    return _dump(linked.model_copy(update={"sha256": own}))


def _signed_content(line: bytes, signature: bytes) -> bytes:
    """Return what a line's signature is over."""
    before, _, after = line.rpartition(b'"hmac":"' + signature + b'"')
    return _OWN_HASH.sub(b'"sha256":""}', before + b'"hmac":""' + after)


class Journal(Generic[Line]):
    """Appends to one journal. Open it under the run's lock; it drops a torn last line at once."""

    def __init__(self, path: Path, *, start: str, key: Key | None = None) -> None:
        self.path = path
        self._key = key
        new = not path.exists()
        self._file = path.open("ab", buffering=0)
        if new:
            sync_folder(path.parent)
        lines = complete_lines(path)
        for number, fault in chain_faults(path, start=start, key=key):
            self._file.close()
            raise InfrastructureError(
                f"the journal was changed: {fault}",
                where=f"{path}:{number}",
                mend="Nothing is added to it. See `harness verify`; move the folder away to start anew.",
            )
        self._previous = line_sha256(lines[-1]) if lines else start
        self._lines = len(lines)
        self._size = sum(len(line) + 1 for line in lines)
        if self._file.tell() != self._size:
            self._file.truncate(self._size)
            os.fsync(self._file.fileno())

    def append(self, record: Line) -> Line:
        """Write a record and return it as written, once it is on the disk.

        Raises:
            InfrastructureError: the disk is full or failing; the journal is as it was before.
        """
        line = sealed_line(record, self._previous, self._key)
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
        self._lines += 1
        self._previous = line_sha256(line)
        return type(record).model_validate_json(line)

    @property
    def end(self) -> JournalEnd:
        """How many lines it has, and the hash of the last one."""
        return JournalEnd(lines=self._lines, last_sha256=self._previous)

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
