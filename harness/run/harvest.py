"""Take one file out of a folder that a dead container wrote to, trusting nothing in it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import select
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from evaluator import EvaluatorError, read_header
from harness.errors import InfrastructureError
from harness.run.gate import Verdict

GATE_TIME_S = 60.0
"""The longest that one prediction may take to read."""

_COPY_CHUNK = 1 << 22
_DEEPEST = 32


@dataclass(frozen=True)
class Census:
    """What lies under an output folder, counted until one of the limits is passed.

    Attributes:
        size_bytes: Apparent or allocated size, whichever is larger, file by file.
        entries: Names counted, at most one more than was asked for.
        too_deep: Folders nested deeper than anybody needs.
    """

    size_bytes: int
    entries: int
    too_deep: bool = False
    names: tuple[str, ...] = ()


def take_census(folder: Path, *, most_entries: int) -> Census:
    """Count what lies under a folder without following a link, in bounded time and memory."""
    total = entries = 0
    names: list[str] = []
    too_deep = False
    waiting: list[tuple[Path, int]] = [(folder, 0)]
    while waiting and entries <= most_entries:
        current, depth = waiting.pop()
        try:
            with os.scandir(current) as found:
                for entry in found:
                    entries += 1
                    if entries > most_entries:
                        break
                    with contextlib.suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        total += (
                            max(status.st_size, status.st_blocks * 512) if stat.S_ISREG(status.st_mode) else 0
                        )
                        if stat.S_ISDIR(status.st_mode):
                            if depth >= _DEEPEST:
                                too_deep = True
                            else:
                                waiting.append((Path(entry.path), depth + 1))
                    if depth == 0 and len(names) < 20:
                        names.append(entry.name)
        except OSError:
            continue  # closed to us by the container, or gone while we looked
    return Census(total, entries, too_deep, tuple(sorted(names)))


@dataclass(frozen=True)
class Harvested:
    """The one file, copied and hashed; or why there is none.

    Attributes:
        missing: Nothing of the expected name is there; says what is there instead.
        refused: Something is there, and it is not an acceptable file.
    """

    path: Path | None = None
    sha256: str = ""
    size_bytes: int = 0
    missing: str = ""
    refused: str = ""


def harvest(
    outputs: Path, expected: str, target: Path, *, most_bytes: int, hard_links: bool = False
) -> Harvested:
    """Copy `outputs/expected` to `target` if it is a plain file of the container's own.

    Args:
        outputs: Written by a container that is gone.
        expected: The one name that counts.
        target: Where the copy goes; its folder exists.
        most_bytes: The largest file accepted.
        hard_links: Accept a file that has other names, as in a folder that no container wrote.

    Raises:
        InfrastructureError: the copy cannot be written.
    """
    folder = os.open(outputs, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        # O_NONBLOCK: a FIFO must not hold us.
        source = os.open(expected, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        return _not_opened(outputs, expected, error)
    finally:
        os.close(folder)
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            return Harvested(refused=f"{expected} is {_kind(status.st_mode)}, not a file")
        if status.st_nlink != 1 and not hard_links:
            return Harvested(refused=f"{expected} is a hard link")
        if status.st_size > most_bytes:
            return Harvested(refused=f"{expected} has {status.st_size} bytes")
        return _copy(source, target, most_bytes)
    finally:
        os.close(source)


def _not_opened(outputs: Path, expected: str, error: OSError) -> Harvested:
    if error.errno == errno.ENOENT:
        others = [name for name in take_census(outputs, most_entries=20).names if name != expected]
        shown = ", ".join(repr(name)[1:-1][:80] for name in others[:3])
        return Harvested(
            missing=f"no file {expected}" + (f"; it wrote {shown}" if others else "; it wrote nothing")
        )
    if error.errno == errno.ELOOP:
        return Harvested(refused=f"{expected} is a symbolic link, not a file")
    if error.errno in (errno.ENXIO, errno.EACCES, errno.EPERM, errno.ENODEV):
        return Harvested(refused=f"{expected} cannot be opened: {error.strerror}")
    raise InfrastructureError("an output cannot be read", where=outputs, mend=f"{error.strerror}.") from error


def _copy(source: int, target: Path, most_bytes: int) -> Harvested:
    digest = hashlib.sha256()
    size = 0
    temporary = target.with_name(f".{target.name}.part")
    try:
        with temporary.open("wb") as copy:
            while piece := os.read(source, _COPY_CHUNK):
                size += len(piece)
                if size > most_bytes:
                    return Harvested(refused=f"more than {most_bytes} bytes")
                digest.update(piece)
                copy.write(piece)
            copy.flush()
            os.fsync(copy.fileno())
        temporary.replace(target)
    except OSError as error:
        raise InfrastructureError(
            "a prediction cannot be stored", where=target, mend=f"{error.strerror}. Free space and run again."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return Harvested(path=target, sha256=digest.hexdigest(), size_bytes=size)


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


class Gatekeeper:
    """Asks the gate's process about one file at a time. Starts it when needed, and again if it dies.

    Attributes:
        last_peak_bytes: Resident memory that the last judgement took at most.
    """

    def __init__(self, known_labels: Iterable[int]) -> None:
        self._known = sorted(known_labels)
        self._process: subprocess.Popen[bytes] | None = None
        self.last_peak_bytes = 0

    def start(self) -> None:
        """Start the process without waiting for it to load."""
        environment = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        environment |= {
            name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME", "LANG") if name in os.environ
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.run.gate"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
            env=environment,
        )

    def judge(self, prediction: Path, image: Path, *, time_s: float = GATE_TIME_S) -> Verdict:
        """Return the gate's verdict on a prediction.

        Raises:
            InfrastructureError: the gate cannot be started.
        """
        request = {
            "prediction": str(prediction.resolve()),
            "image": str(image.resolve()),
            "known_labels": self._known,
            "time_s": time_s,
            "memory_bytes": _memory_for(prediction, image),
        }
        for _ in range(2):
            if self._process is None:
                self.start()
            answer = self._ask(json.dumps(request).encode() + b"\n", time_s + 10)
            if answer is not None:
                self.last_peak_bytes = int(answer["peak_bytes"])
                return Verdict(refused=answer["refused"], notes=tuple(answer["notes"]))
            self.close()
        raise InfrastructureError("the process that reads predictions does not answer", where=prediction)

    def _ask(self, request: bytes, time_s: float) -> dict[str, Any] | None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + time_s
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
        except OSError:
            return None
        descriptor = self._process.stdout.fileno()
        received = b""
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                return None
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                return None
            received += piece
            *lines, received = received.split(b"\n")
            for line in lines:
                answer: dict[str, Any] = json.loads(line)
                if "ready" not in answer:
                    return answer

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        self._process.kill()
        self._process.communicate()
        self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _memory_for(prediction: Path, image: Path) -> int:
    """Return what reading a honest prediction of this image takes at most."""
    try:
        voxels = read_header(image).voxel_count
    except EvaluatorError as error:
        raise InfrastructureError("the image cannot be read", where=image, mend=error.one_line()) from error
    return voxels * (8 + 5 + 8) + 2 * prediction.stat().st_size + 128 * 1024**2
