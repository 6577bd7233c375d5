"""Asks the judge's process about one file at a time, and starts it again if it dies."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from evaluator import EvaluatorError, read_header
from harness.errors import InfrastructureError
from harness.gate.judge import Reading

GATE_TIME_S = 60.0
"""The longest that one prediction may take to read."""


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
            [sys.executable, "-m", "harness.gate.judge"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
            env=environment,
        )

    def judge(self, prediction: Path, image: Path, *, time_s: float = GATE_TIME_S) -> Reading:
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
                return Reading(refused=answer["refused"], notes=tuple(answer["notes"]))
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
