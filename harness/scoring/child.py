"""Score large volumes in a child whose memory is bounded by their size.

A label map in which no voxel is like its neighbours costs twenty bytes a voxel to score, and an honest one
three: gigabytes that a stranger decides over. The harness itself must not be what the kernel kills for them.

`python -m harness.scoring.child` reads pickled requests on its input and answers on its output; `score_apart`
starts and asks it. The bound is watched from outside: an allocation that fails in a thread of a kernel would
leave the others waiting for it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import select
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from evaluator import EvaluatorError, GeometryError
from evaluator.scores import CaseScore
from harness.errors import InfrastructureError

LARGE_VOXELS = 1 << 25
"""From here on a volume is scored apart: below, the costliest map takes less than a gigabyte."""

BASE_BYTES = 1 << 30
BYTES_PER_VOXEL = 24
"""What scoring may take: beyond what the costliest label map that we know of needs."""

_LOOK_EVERY_S = 0.1


def score_apart(*arguments: Any, voxels: int, **options: Any) -> CaseScore:
    """Return `evaluator.score_case(*arguments, **options)`, computed in a child with bounded memory.

    Args:
        arguments: Of `score_case`.
        voxels: Of the reference; they decide the bound.
        options: Of `score_case`.

    Raises:
        MemoryError: it took more than the bound.
        GeometryError, EvaluatorError: as `score_case`.
        InfrastructureError: the child was killed, or the evaluator failed as nobody foresaw.
    """
    bound = BASE_BYTES + BYTES_PER_VOXEL * voxels
    answer = _CHILD.ask((arguments, options), bound)
    if answer is None:
        raise InfrastructureError(
            "the process that scores was killed",
            mend=f"It may take {bound >> 20} MiB; free memory, then `harness score` goes on.",
        )
    kind, value = answer
    if kind == "scored":
        scored: CaseScore = value
        return scored
    if kind == "memory":
        raise MemoryError(f"scoring takes more than {bound >> 20} MiB")
    if kind == "unforeseen":
        raise InfrastructureError(f"the evaluator failed: {value}", where=options.get("case") or arguments[0])
    what, where, mend = value
    raise (GeometryError if kind == "geometry" else EvaluatorError)(what, where=where, mend=mend)


class _Child:
    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: object, bound: int) -> tuple[str, Any] | None:
        """Return the child's answer, or None if it died over the request.

        Args:
            request: What `_answer` takes.
            bound: Bytes of memory at which it is ended.
        """
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.scoring.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=Path(__file__).resolve().parents[2],
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump(request, self._process.stdin)
            self._process.stdin.flush()
            while not select.select([self._process.stdout], [], [], _LOOK_EVERY_S)[0]:
                if _resident_bytes(self._process.pid) > bound:
                    self.close()
                    return "memory", None
            answer: tuple[str, Any] = pickle.load(self._process.stdout)
        except (OSError, EOFError):
            self.close()
            return None
        except BaseException:
            self.close()  # interrupted: its answer would be taken for the next request's
            raise
        return answer

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


_CHILD = _Child()
atexit.register(_CHILD.close)


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    except (OSError, IndexError, ValueError):
        return 0


def _answer(arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[str, Any]:
    from evaluator import score_case

    try:
        return "scored", score_case(*arguments, **options)
    except MemoryError:
        return "memory", None
    except EvaluatorError as error:
        kind = "geometry" if isinstance(error, GeometryError) else "evaluator"
        return kind, (error.what, error.where, error.mend)
    except Exception as error:  # told where it is known which case it was
        traceback.print_exc()
        return "unforeseen", f"{type(error).__name__}: {error}"


def main() -> None:
    """Answer until the input ends, which it does with whoever asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks decides
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(EOFError):
        while True:
            pickle.dump(_answer(*pickle.load(sys.stdin.buffer)), answers)
            answers.flush()


if __name__ == "__main__":
    main()
