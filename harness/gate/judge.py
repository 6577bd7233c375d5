"""Judge a prediction file that a stranger wrote, in a child that cannot harm the harness.

`python -m harness.gate.judge` is the keeper: a small single-threaded process that has the reader loaded.
For each request, one JSON line on its input, it forks a child with limited memory and time, and answers
with one JSON line. `Gatekeeper` in harness.gate.keeper starts and asks it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from evaluator.errors import EvaluatorError
from evaluator.geometry import compare_geometry
from evaluator.values import count_values, notes_on_labels
from evaluator.volume import read_header, read_label_volume

_OVERHEAD_BYTES = 192 * 1024**2
_LARGEST_ANSWER = 1 << 16


@dataclass(frozen=True)
class Reading:
    """What the gate says of a file: `refused` is the reason, empty if it may pass."""

    refused: str = ""
    notes: tuple[str, ...] = ()


def judge(prediction: Path, image: Path, *, known_labels: frozenset[int]) -> Reading:
    """Check a prediction against the image that it is for.

    The header alone decides first: nothing is decompressed for a file whose grid is not the image's.

    Args:
        prediction: A file that nobody else can change any more.
        image: The case's CT.
        known_labels: Values that the challenge scores; others in 1..255 are noted, not refused.
            What is read, and in how much memory, is decided by the reader that the scorer uses.
    """
    try:
        expected, found = read_header(image), read_header(prediction)
        diagnosis = compare_geometry(expected, found)
        if diagnosis.kind == "different":
            return Reading(refused=_sentence(f"not on the image's grid: {diagnosis.text}", diagnosis.mend))
        volume = read_label_volume(prediction)
    except EvaluatorError as error:
        return Reading(refused=_sentence(error.what, error.mend))
    strange = notes_on_labels(count_values(volume.array), known_labels)
    return Reading(notes=(*volume.notes, *diagnosis.notes, *strange))


def _sentence(what: str, mend: str) -> str:
    return " ".join((f"{what}. {mend}" if mend else what).split())


def main() -> None:
    """Answer requests until the input closes."""
    import imagecodecs  # noqa: F401 - loaded once here instead of in each child

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C at the terminal is the harness's to handle
    print(json.dumps({"ready": True}), flush=True)  # noqa: T201 - the answers go this way
    for line in sys.stdin:
        request = json.loads(line)
        reading, peak_bytes = _in_child(request)
        print(json.dumps(asdict(reading) | {"peak_bytes": peak_bytes}), flush=True)  # noqa: T201


def _in_child(request: dict[str, object]) -> tuple[Reading, int]:
    """Return the reading, and the most memory that the child had resident."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        _child(request, send)
    os.close(send)
    time_s = float(str(request["time_s"]))
    deadline = time.monotonic() + time_s
    answer = b""
    timed_out = False
    while not timed_out:
        ready, _, _ = select.select([receive], [], [], max(0.0, deadline - time.monotonic()))
        timed_out = not ready
        piece = os.read(receive, _LARGEST_ANSWER) if ready else b""
        if not piece:
            break
        answer += piece
    os.close(receive)
    os.kill(child, signal.SIGKILL)  # not reaped yet, so the number is still the child's
    peak_bytes = os.wait4(child, 0)[2].ru_maxrss * 1024
    if timed_out:
        return Reading(refused=f"could not be read within {time_s:g} s"), peak_bytes
    try:
        content = json.loads(answer)
        return Reading(str(content["refused"]), tuple(map(str, content["notes"]))), peak_bytes
    except (ValueError, KeyError, TypeError):
        return Reading(refused="could not be read: the reader died of it"), peak_bytes


def _child(request: dict[str, object], send: int) -> None:
    """Judge and exit, never return."""
    code = 1
    try:
        prediction, image = Path(str(request["prediction"])), Path(str(request["image"]))
        limit = _address_space() + _OVERHEAD_BYTES + int(str(request["memory_bytes"]))
        for what, most in (
            (resource.RLIMIT_AS, limit),
            (resource.RLIMIT_CPU, int(float(str(request["time_s"]))) + 1),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NPROC, 0),
        ):
            resource.setrlimit(what, (most, most))
        known = frozenset(int(str(value)) for value in request["known_labels"])  # type: ignore[attr-defined]
        try:
            reading = judge(prediction, image, known_labels=known)
        except MemoryError:
            reading = Reading(refused="could not be read within the memory that its image's size allows")
        except Exception as error:
            reading = Reading(refused=f"the reader failed on it: {type(error).__name__}: {error}")
        os.write(send, json.dumps(asdict(reading)).encode()[:_LARGEST_ANSWER])
        code = 0
    finally:
        os._exit(code)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main()
