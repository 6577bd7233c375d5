"""The results on disk: one writer, lines that survive a power cut, a hash chain that shows any change."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from harness.errors import InfrastructureError
from harness.files import sync_folder
from harness.results.key import Key
from harness.results.records import ExecutionRecord, ScoreRecord
from harness.results.seal import JournalEnd

RUN_FILE = "run.json"
CASES_FILE = "cases.jsonl"
SCORES_FILE = "scores.jsonl"

_HASH_LETTERS = 64
_OWN = b'"sha256":"'
_PREVIOUS = b'"previous_sha256":"'
_SIGNATURE = b'"hmac":"'

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


class Chain:
    """Follows a journal line by line, without parsing it: a leaderboard reads a million of them.

    Args:
        start: From `chain_start`.
        key: This host's key; lines that claim to be signed with it must be.
        signer: Id of the key that every line must name; None where that is not looked at.
        vouched: For how many lines a seal vouches: their own signatures say no more, and are not looked at.

    Attributes:
        previous: Hash of the last line seen, or `start`.
        lines: How many were seen.
    """

    def __init__(
        self, start: str, key: Key | None = None, *, signer: str | None = None, vouched: int = 0
    ) -> None:
        self.previous = start
        self.lines = 0
        self._key = key
        self._signer = signer
        self._vouched = vouched

    def faults(self, line: bytes) -> list[str]:
        """Return what shows that the next line, given without its newline, was changed."""
        before = f"line {self.lines}" if self.lines else RUN_FILE
        self.lines += 1
        own = line[-_HASH_LETTERS - 2 : -2]
        content = line[: -_HASH_LETTERS - 2]
        carried = line.rfind(_PREVIOUS) + len(_PREVIOUS)
        if not (content.endswith(_OWN) and line.endswith(b'"}') and carried >= len(_PREVIOUS)):
            self.previous = line_sha256(line)
            return ["it is no journal line"]
        found = []
        if line[carried : carried + _HASH_LETTERS] != self.previous.encode():
            found.append(f"it does not follow {before}: one was changed or is missing")
        # Both hashes begin alike: of the line with its own hash empty, and of the whole line.
        hashed = hashlib.sha256(content)
        whole = hashed.copy()
        hashed.update(b'"}')
        whole.update(line[-_HASH_LETTERS - 2 :])
        self.previous = whole.hexdigest()
        if hashed.hexdigest().encode() != own:
            found.append("its content does not match its own hash")
        return found if self.lines <= self._vouched else found + self._signature_faults(content)

    def _signature_faults(self, content: bytes) -> list[str]:
        """Return what is wrong with a line's signature, given all of the line before its own hash."""
        begin = content.rfind(_SIGNATURE) + len(_SIGNATURE)
        signed = begin >= len(_SIGNATURE)
        end = content.find(b'"', begin)
        key_id, _, signature = (
            content[begin:end].decode(errors="replace").partition(":") if signed else ("", "", "")
        )
        if self._signer is not None and key_id != self._signer:
            return ["it is not signed by the run's key"]
        if self._key is None or key_id != self._key.id:
            return []
        if self._key.signed(content[:begin] + content[end:] + b'"}', signature):
            return []
        return ["it was not signed with the key that it names"]


def chain_faults(path: Path, *, start: str, key: Key | None = None) -> Iterator[tuple[int, str]]:
    """Yield the number of each line of a journal that was changed, and what shows it.

    Args:
        path: The journal.
        start: From `chain_start`.
        key: This host's key; lines that claim to be signed with it must be.
    """
    chain = Chain(start, key)
    for line in complete_lines(path):
        for fault in chain.faults(line):
            yield chain.lines, fault


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


class Journal(Generic[Line]):
    """Appends to one journal. Open it under the run's lock; it drops a torn last line at once."""

    def __init__(self, path: Path, *, start: str, key: Key | None = None) -> None:
        self.path = path
        self._key = key
        new = not path.exists()
        self._file = path.open("ab", buffering=0)
        try:
            if new:
                sync_folder(path.parent)
            self._take_up(start)
        except BaseException:
            self._file.close()
            raise

    def _take_up(self, start: str) -> None:
        """Check the lines that are there, and drop a torn last one."""
        path = self.path
        lines = complete_lines(path)
        for number, fault in chain_faults(path, start=start, key=self._key):
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

    def append(self, record: Line, *, sync: bool = True) -> Line:
        """Write a record and return it as written.

        Args:
            record: What to write.
            sync: Return once it is on the disk; else `sync` is to be called.

        Raises:
            InfrastructureError: the disk is full or failing; the journal is as it was before.
        """
        line = sealed_line(record, self._previous, self._key)
        data = line + b"\n"
        try:
            if self._file.write(data) != len(data):
                raise OSError(28, "No space left on device")
            if sync:
                os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(self._size)
            raise self._not_stored(error) from error
        self._size += len(data)
        self._lines += 1
        self._previous = line_sha256(line)
        return type(record).model_validate_json(line)

    def sync(self) -> None:
        """Return once all that was appended is on the disk.

        Raises:
            InfrastructureError: the disk is full or failing.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._not_stored(error) from error

    def _not_stored(self, error: OSError) -> InfrastructureError:
        return InfrastructureError(
            "a result cannot be stored", where=self.path, mend=f"{error.strerror}. Free space and run again."
        )

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
    """Return what to say of a record that is not as its schema says."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return InfrastructureError(
        f"a record is damaged{f' at {place}' if place else ''}: {first['msg']}",
        where=where,
        mend="`harness verify` lists every damaged record; move the run's folder away to start anew.",
    )
