"""From the journals of many workers to the one chain of a run: each end once, in one writer's hand.

A line counts if an end names it by its hash, if it is signed with the run's key, and if it stands in an
unbroken chain that begins with the offer. All others were written by workers whose case was
another's by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.cluster.queue import RunQueue
from harness.cluster.records import End
from harness.errors import InfrastructureError
from harness.results.folder import RunWriter
from harness.results.journal import CASES_FILE, Chain, line_sha256, read_lines
from harness.results.key import Key
from harness.results.records import ExecutionRecord, ScoreRecord
from harness.run.stage import discard


@dataclass
class _Source:
    """One worker's journal, followed as it grows."""

    path: Path
    chain: Chain
    offset: int = 0
    waiting: dict[str, bytes] = field(default_factory=dict)

    def read_on(self) -> None:
        """Take up the lines that came since."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                content = file.read()
        except FileNotFoundError:
            return
        *lines, _torn = content.split(b"\n")
        for line in lines:
            for fault in self.chain.faults(line):
                raise InfrastructureError(
                    f"a worker's journal was changed: {fault}",
                    where=f"{self.path}:{self.chain.lines}",
                    mend="Nothing of it counts. Move it away; its cases are run again by the next call.",
                )
            self.waiting[line_sha256(line)] = line
            self.offset += len(line) + 1


class Merger:
    """Moves what workers ended into a run's folder.

    Args:
        queue: The run's.
        writer: The one who writes the run's journals.
        key: Signs them, and must have signed the workers'.
    """

    def __init__(self, queue: RunQueue, writer: RunWriter, key: Key) -> None:
        self._queue = queue
        self._writer = writer
        self._key = key
        self._start = queue.start
        self._sources: dict[tuple[str, str], _Source] = {}
        self._merged: set[int] = set()
        stored = read_lines(writer.folder / CASES_FILE, ExecutionRecord)
        self._stored = {(line.case, line.attempt) for line in stored}

    @property
    def merged(self) -> int:
        """How many cases are over, and in the run's folder."""
        return len(self._merged)

    def merge(self) -> Iterator[tuple[ExecutionRecord, ScoreRecord | None]]:
        """Store what came to its end since, and yield it as it was written."""
        for index in self._queue.ended():
            if index not in self._merged and (found := self._lines_of(index)) is not None:
                yield from self._store(index, found)
                self._merged.add(index)

    def merge_rest(self) -> Iterator[tuple[ExecutionRecord, ScoreRecord | None]]:
        """Store also what is not over: failed tries, and ends whose hint was lost."""
        for index in self._queue.touched():
            if index not in self._merged and (found := self._lines_of(index)) is not None:
                yield from self._store(index, found)
                if self._queue.is_settled(index):
                    self._merged.add(index)

    def _lines_of(self, index: int) -> list[tuple[int, End, bytes, bytes | None]] | None:
        """Return the number, end and lines of each end of a case; None while a share hides one."""
        found = []
        for number, each in enumerate(self._queue.history(index), start=1):
            if not isinstance(each, End):
                continue
            execution = self._line(each.holder.worker, "cases", each.execution_sha256)
            score = self._line(each.holder.worker, "scores", each.score_sha256) if each.score_sha256 else None
            if execution is None or (each.score_sha256 and score is None):
                return None
            found.append((number, each, execution, score))
        return found

    def _line(self, worker: str, kind: str, sha256: str) -> bytes | None:
        source = self._sources.get((worker, kind))
        if source is None:
            path = self._queue.root / "journals" / f"{worker}.{kind}.jsonl"
            source = _Source(path, Chain(self._start, self._key, signer=self._key.id))
            self._sources[worker, kind] = source
        if sha256 not in source.waiting:
            source.read_on()
        return source.waiting.get(sha256)

    def _store(
        self, index: int, found: list[tuple[int, End, bytes, bytes | None]]
    ) -> Iterator[tuple[ExecutionRecord, ScoreRecord | None]]:
        for number, end, line, score_line in found:
            execution = ExecutionRecord.model_validate_json(line)
            self._sources[end.holder.worker, "cases"].waiting.pop(end.execution_sha256)
            if end.score_sha256:
                self._sources[end.holder.worker, "scores"].waiting.pop(end.score_sha256)
            if (execution.case, execution.attempt) in self._stored:
                continue
            self._keep_files(index, number, execution.case)
            written = self._writer.add_execution(execution)
            self._stored.add((execution.case, execution.attempt))
            score = None
            if score_line is not None:
                score = self._writer.add_score(ScoreRecord.model_validate_json(score_line))
            yield written, score

    def _keep_files(self, index: int, number: int, case: str) -> None:
        """Move what stays of a case to its place; a merge that was cut off here finds it there."""
        held = self._queue.root / "held" / f"{index:05d}.{number - 1:04d}" / "cases" / case
        place = self._writer.folder / "cases" / case
        if held.is_dir():
            discard(place)
            place.parent.mkdir(exist_ok=True)
            held.rename(place)
