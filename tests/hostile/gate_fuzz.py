"""Throw mutated NIfTI files at the gate: it must answer each in time, in bounded memory, and stay alive.

    python tests/hostile/gate_fuzz.py --count 20000 --seed 1

Mutations work on the unpacked stream, on the packed bytes, and on the header's fields, because random
bytes in a deflate stream hardly ever reach the parser. What the gate does not survive is kept beside
the report and belongs into tests/hostile/corpus, which the tests replay.
"""

from __future__ import annotations

import argparse
import gzip
import io
import random
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from harness.gate.keeper import Gatekeeper

SHAPE = (9, 8, 7)
AFFINE = np.diag([0.8, 0.9, 2.5, 1.0])
TIME_S = 5.0
MEMORY_BYTES = 512 * 1024**2
FIELDS_1 = (
    0,
    40,
    42,
    44,
    46,
    48,
    70,
    72,
    76,
    80,
    84,
    88,
    108,
    112,
    116,
    123,
    252,
    254,
    256,
    280,
    296,
    312,
    344,
)
FIELDS_2 = (0, 4, 12, 14, 16, 24, 32, 40, 104, 112, 120, 128, 168, 176, 184, 344, 348, 352, 400, 500)
VALUES: tuple[bytes, ...] = tuple(
    struct.pack(layout, value)
    for layout, values in {
        "<h": (0, 1, -1, 2, 7, 8, 255, 30000, -32768, 32767),
        "<i": (0, -1, 348, 540, 2**31 - 1, -(2**31)),
        "<q": (0, -1, 2**62, -(2**63), 2**32),
        "<f": (0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), 352.0, 353.0, 1e9),
        "<d": (float("nan"), float("-inf"), 1e300, 5e-324),
    }.items()
    for value in values
)


@dataclass(frozen=True)
class Finding:
    """A file that the gate did not stand."""

    number: int
    what: str
    content: bytes


def seeds() -> list[bytes]:
    """Return the streams that mutations start from: what honest submissions write, and near misses."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:6, 2:6, 2:5] = 1
    streams = []
    for dtype in (np.uint8, np.int16, np.int32, np.float32, np.float64, np.uint16):
        streams.append(nibabel.Nifti1Image(labels.astype(dtype), AFFINE).to_bytes())
    streams.append(nibabel.Nifti2Image(labels, AFFINE).to_bytes())
    big = nibabel.Nifti1Header(endianness=">")
    streams.append(nibabel.Nifti1Image(labels.astype(">i2"), AFFINE, big).to_bytes())
    extended = nibabel.Nifti1Image(labels, AFFINE)
    extended.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"text" * 20))
    streams.append(extended.to_bytes())
    scaled = nibabel.Nifti1Image(labels, AFFINE)
    scaled.header.set_slope_inter(0.5, 3)
    streams.append(scaled.to_bytes())
    streams.append(nibabel.Nifti1Image(labels[..., None, None], AFFINE).to_bytes())
    return streams


def mutations(source: random.Random, count: int) -> Iterator[bytes]:
    """Yield files to judge, the same for the same seed."""
    streams = seeds()
    steps: tuple[Callable[[random.Random, bytearray], None], ...] = (
        _field,
        _field,
        _field,
        _bytes,
        _cut,
        _grow,
    )
    for _ in range(count):
        stream = bytearray(source.choice(streams))
        for _ in range(source.choice((0, 1, 1, 2, 4))):
            source.choice(steps)(source, stream)
        yield _packed(source, bytes(stream))


def _field(source: random.Random, stream: bytearray) -> None:
    offset = source.choice(
        FIELDS_1 if len(stream) < 4 or stream[0] == 0x5C or stream[3] == 0x5C else FIELDS_2
    )
    value = source.choice(VALUES)
    if source.random() < 0.3:
        value = value[::-1]
    stream[offset : offset + len(value)] = value


def _bytes(source: random.Random, stream: bytearray) -> None:
    for _ in range(source.randint(1, 12)):
        if stream:
            # The header is where the decisions are.
            limit = min(len(stream), 560) if source.random() < 0.7 else len(stream)
            stream[source.randrange(limit)] = source.randrange(256)


def _cut(source: random.Random, stream: bytearray) -> None:
    del stream[source.randint(0, len(stream)) :]


def _grow(source: random.Random, stream: bytearray) -> None:
    stream += bytes(source.choice((1, 100, 1 << 20)))


def _packed(source: random.Random, stream: bytes) -> bytes:
    how = source.random()
    if how < 0.1:
        return stream
    packed = bytearray(gzip.compress(stream, 1))
    if how < 0.2:  # two gzip members
        middle = source.randint(0, len(stream))
        packed = bytearray(gzip.compress(stream[:middle], 1) + gzip.compress(stream[middle:], 1))
    if how < 0.35:
        _bytes(source, packed)
    elif how < 0.45:
        _cut(source, packed)
    elif how < 0.5:
        buffer = io.BytesIO()
        with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
            file.write(stream)
            file.write(bytes(64 << 20))
        packed = bytearray(buffer.getvalue())
    return bytes(packed)


def judge_all(files: Iterator[bytes], folder: Path) -> tuple[int, int, int, list[Finding]]:
    """Judge files and return how many passed, the slowest in ms, the largest in bytes, and what broke."""
    image = folder / "image_0000.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE), image)
    prediction = folder / "prediction.nii.gz"
    passed = largest = 0
    slowest_s = 0.0
    findings: list[Finding] = []
    with Gatekeeper([1, 2, 3]) as keeper:
        keeper.judge(image, image)
        process = keeper._process
        for number, content in enumerate(files):
            prediction.write_bytes(content)
            begin = time.monotonic()
            verdict = keeper.judge(prediction, image, time_s=TIME_S)
            slowest_s = max(slowest_s, time.monotonic() - begin)
            largest = max(largest, keeper.last_peak_bytes)
            passed += not verdict.refused
            if keeper._process is not process:
                findings.append(Finding(number, "the keeper died", content))
                process = keeper._process
            for sign in ("the reader", "could not be read within"):
                if sign in verdict.refused:
                    findings.append(Finding(number, verdict.refused, content))
            if keeper.last_peak_bytes > MEMORY_BYTES:
                findings.append(Finding(number, f"took {keeper.last_peak_bytes} bytes", content))
    return passed, round(slowest_s * 1000), largest, findings


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = mutations(random.Random(options.seed), options.count)
        passed, slowest_ms, largest, findings = judge_all(files, Path(folder))
    print(
        f"{options.count} files, {passed} passed the gate, slowest {slowest_ms} ms, "
        f"largest {largest / 2**20:.0f} MiB, {len(findings)} finding(s)"
    )
    for finding in findings[:20]:
        path = Path(f"gate-finding-{options.seed}-{finding.number}.bin")
        path.write_bytes(finding.content)
        print(f"{path}: {finding.what}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
