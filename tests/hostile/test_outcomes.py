"""Every hostile image gets exactly the outcome that the evidence supports, within its limit plus 5 s."""

from __future__ import annotations

import gzip
import io
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pytest
from containers import MIB, SLOWNESS, TEST_IMAGES, Arena, affine, kept_until_the_end, reference_labels

from harness.results.records import Outcome

pytestmark = pytest.mark.engine

IMAGES = Path(__file__).parent / "images"
GRACE_S = 5.0 * SLOWNESS


@dataclass(frozen=True)
class Hostile:
    """An image, and what must be said of it."""

    image: str
    outcome: Outcome
    summary: str = ""
    limits: dict[str, object] = field(default_factory=dict)


HOSTILE = [
    Hostile("sleeps_forever", Outcome.TIME_LIMIT, "still running after 2 s", {"time_s": 2.0}),
    Hostile("ignores_sigterm", Outcome.TIME_LIMIT, "still running after 2 s", {"time_s": 2.0}),
    Hostile("allocates_past_the_limit", Outcome.MEMORY_LIMIT, "limit 128 MiB"),
    Hostile("child_killed_for_memory_exits_0", Outcome.MEMORY_LIMIT, "limit 128 MiB"),
    Hostile("waits_after_its_child_was_killed", Outcome.MEMORY_LIMIT, "limit 128 MiB", {"time_s": 4.0}),
    Hostile("fork_bomb", Outcome.MEMORY_LIMIT, "limit 128 MiB", {"time_s": 5.0}),
    Hostile("fork_bomb", Outcome.TIME_LIMIT, "after 5 s", {"time_s": 5.0, "memory_bytes": 6144 * MIB}),
    Hostile("fills_tmp", Outcome.CRASHED, "exit code 1"),
    Hostile("fills_tmp", Outcome.MEMORY_LIMIT, "limit 128 MiB", {"tmp_bytes": 512 * MIB}),
    Hostile("fills_shm", Outcome.CRASHED, "exit code 1"),
    Hostile("one_huge_file", Outcome.OUTPUT_LIMIT, "48 MiB"),
    Hostile(
        "huge_sparse_file", Outcome.OUTPUT_LIMIT, "32 MiB", {"output_bytes": 32 * MIB, "tmp_bytes": 64 * MIB}
    ),
    Hostile("million_small_files", Outcome.OUTPUT_LIMIT, "10000 files"),
    Hostile("endless_folders", Outcome.OUTPUT_LIMIT, "folders without end"),
    Hostile("floods_stdout", Outcome.SUCCEEDED, "prediction of"),
    Hostile("floods_stdout_forever", Outcome.TIME_LIMIT, "still running after 3 s", {"time_s": 3.0}),
    Hostile("symlink_to_passwd", Outcome.INVALID_OUTPUT, "symbolic link"),
    Hostile("symlink_to_a_guessed_label", Outcome.INVALID_OUTPUT, "symbolic link"),
    Hostile("outputs_full_of_links", Outcome.SUCCEEDED),
    Hostile("fifo", Outcome.INVALID_OUTPUT, "a named pipe"),
    Hostile("device", Outcome.CRASHED, "exit code 1"),
    Hostile("hard_link", Outcome.INVALID_OUTPUT, "hard link"),
    Hostile("hard_link_to_the_input", Outcome.CRASHED, "exit code 1"),
    Hostile("folder_named_like_the_case", Outcome.INVALID_OUTPUT, "a folder"),
    Hostile("forges_results", Outcome.NO_OUTPUT, "it wrote case.json, cases.jsonl, run.json"),
    Hostile("exits_0_without_output", Outcome.NO_OUTPUT, "it wrote nothing"),
    Hostile("wrong_name", Outcome.NO_OUTPUT, "it wrote prediction.nii.gz"),
    Hostile("exits_1_after_a_perfect_output", Outcome.CRASHED, "exit code 1"),
    Hostile("fake_traceback", Outcome.SUCCEEDED),
    Hostile("leaves_a_daemon", Outcome.SUCCEEDED),
    Hostile("kills_everything", Outcome.CRASHED, "SIGKILL"),
    Hostile("claims_to_be_out_of_memory", Outcome.CRASHED, "SIGKILL"),
    Hostile("writes_to_the_root", Outcome.CRASHED, "exit code 3"),
    Hostile("writes_to_the_input", Outcome.CRASHED, "exit code 3"),
    Hostile("looks_around", Outcome.SUCCEEDED),
]


def script(image: str) -> str:
    """Return an image's predict.sh."""
    return (IMAGES / image / "predict.sh").read_text()


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: f"{hostile.image}-{hostile.outcome.value}")
def test_a_hostile_image_gets_its_outcome(arena: Arena, hostile: Hostile) -> None:
    request_limit = float(str(hostile.limits.get("time_s", arena.limits["time_s"])))
    arena.image(script(hostile.image))
    begin = time.monotonic()
    results = arena.run(script(hostile.image), **hostile.limits)
    wall_s = time.monotonic() - begin
    (execution,) = results.executions
    assert (execution.outcome, execution.attempt) == (hostile.outcome, 1), execution.evidence
    assert hostile.summary in execution.evidence.summary
    assert execution.stages.run_s is not None
    assert execution.stages.run_s <= request_limit + GRACE_S
    assert wall_s <= request_limit + 2 * GRACE_S  # the case, staging and scoring together
    log = arena.log(results)
    assert "REACHED" not in log
    assert "WRITTEN" not in log
    assert len(log) <= int(str(arena.limits["log_bytes"])) + 100
    assert (execution.prediction is not None) == (hostile.outcome is Outcome.SUCCEEDED)
    scores = {label.scores.get("dsc") for label in results.scores[0].scores}
    assert scores == ({1.0} if hostile.outcome is Outcome.SUCCEEDED else {None})


def volume(array: np.ndarray, matrix: np.ndarray | None = None) -> bytes:
    """Return an array as the bytes of a .nii.gz file."""
    image = nibabel.Nifti1Image(array, affine() if matrix is None else matrix)
    return gzip.compress(image.to_bytes(), 1)


def with_bytes(offset: int, new: bytes) -> bytes:
    """Return a good prediction with some bytes of its header changed."""
    plain = bytearray(gzip.decompress(volume(reference_labels())))
    plain[offset : offset + len(new)] = new
    return gzip.compress(bytes(plain), 1)


def bomb() -> bytes:
    """A good header, and a gigabyte of zeros behind it that packs into one megabyte."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        file.write(gzip.decompress(volume(reference_labels())))
        for _ in range(64):
            file.write(bytes(16 * MIB))
    return buffer.getvalue()


def flipped_affine() -> np.ndarray:
    """The tests' grid, walked backwards along x."""
    matrix = affine()
    matrix[0, 3] += matrix[0, 0] * (reference_labels().shape[0] - 1)
    matrix[0, 0] *= -1
    return matrix


class Payload:
    """A pickle that would run a command where it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return __import__("os").system, ("touch /tmp/flareharness-pickle-ran",)


SPACED = np.diag([1.0, 1.0, 1.0, 1.0])
GOOD = reference_labels()
INVALID = Outcome.INVALID_OUTPUT
PAYLOADS: list[tuple[str, Callable[[], bytes], Outcome, str]] = [
    ("a gzip bomb", bomb, INVALID, "more data than its header announces"),
    ("a truncated file", lambda: volume(GOOD)[:-60], INVALID, "ends before"),
    ("nothing at all", lambda: b"", INVALID, "no NIfTI header"),
    (
        "a header of 30000 cubed",
        lambda: with_bytes(42, b"\x30\x75" * 3),
        INVALID,
        "grid: shape",
    ),
    (
        "a header of float64",
        lambda: with_bytes(70, b"\x40\x00\x40\x00"),
        INVALID,
        "ends before",
    ),
    ("a header of negative size", lambda: with_bytes(42, b"\xff\xff"), INVALID, "shape"),
    ("the wrong shape", lambda: volume(GOOD[:-1]), INVALID, "shape"),
    ("the wrong spacing", lambda: volume(GOOD, SPACED), INVALID, "spacing 1x1x1"),
    ("a flip that the affine tells", lambda: volume(GOOD[::-1], flipped_affine()), Outcome.SUCCEEDED, ""),
    (
        "swapped axes that the affine tells",
        lambda: volume(GOOD.transpose(1, 0, 2), affine()[:, [1, 0, 2, 3]]),
        Outcome.SUCCEEDED,
        "",
    ),
    ("swapped axes, old affine", lambda: volume(GOOD.transpose(1, 0, 2)), INVALID, "shape"),
    ("reversed axes, old affine", lambda: volume(GOOD.transpose(2, 1, 0)), INVALID, "shape"),
    ("integers stored as floats", lambda: volume(GOOD.astype(np.float32)), Outcome.SUCCEEDED, ""),
    ("fractions", lambda: volume(GOOD * np.float32(0.7)), INVALID, "no whole number"),
    (
        "NaN",
        lambda: volume(np.where(GOOD == 3, np.float32("nan"), GOOD).astype(np.float32)),
        INVALID,
        "nan, which is no whole number",
    ),
    (
        "negative labels",
        lambda: volume(GOOD.astype(np.int16) - 1),
        INVALID,
        "holds the label -1",
    ),
    ("labels beyond 255", lambda: volume(GOOD.astype(np.int16) * 100), INVALID, "label 300"),
    ("four axes", lambda: volume(np.stack([GOOD, GOOD], -1)), INVALID, "4 axes"),
    ("a pickle", lambda: pickle.dumps(Payload()), INVALID, "no NIfTI header"),
    (
        "a gzipped pickle",
        lambda: gzip.compress(pickle.dumps(Payload())),
        INVALID,
        "no NIfTI header",
    ),
]


@pytest.mark.parametrize(
    ("what", "payload", "outcome", "summary"), PAYLOADS, ids=[row[0] for row in PAYLOADS]
)
def test_a_hostile_prediction_gets_its_outcome(
    arena: Arena, what: str, payload: Callable[[], bytes], outcome: Outcome, summary: str
) -> None:
    results = arena.run(script("writes_payload"), {"/workspace/payload": payload()})
    (execution,) = results.executions
    assert execution.outcome is outcome, execution.evidence
    assert summary in execution.evidence.summary
    assert not Path("/tmp/flareharness-pickle-ran").exists()
    scores = {label.scores.get("dsc") for label in results.scores[0].scores}
    assert scores == ({1.0} if outcome is Outcome.SUCCEEDED else {None})


def test_a_label_that_is_not_scored_is_noted(arena: Arena) -> None:
    strange = np.where(GOOD == 3, 99, GOOD).astype(np.uint8)
    results = arena.run(script("writes_payload"), {"/workspace/payload": volume(strange)})
    (execution,) = results.executions
    assert execution.outcome is Outcome.SUCCEEDED
    assert execution.notes == ("holds labels that are not scored: 99",)


def test_an_image_without_the_contracts_shell_does_not_start(arena: Arena) -> None:
    from harness.engine.probe import probe_image

    request = arena.request("exit 0")
    bare = kept_until_the_end(probe_image(arena.engine, tools=("sh", "sleep"), repository=TEST_IMAGES))
    from dataclasses import replace

    from harness.run.evaluate import evaluate

    results = evaluate(replace(request, image=bare), engine=arena.engine)
    assert [execution.outcome for execution in results.executions] == [Outcome.START_FAILED]


def test_an_image_without_predict_sh_crashes_with_the_shells_message(arena: Arena) -> None:
    from dataclasses import replace

    from harness.engine.probe import probe_image
    from harness.run.evaluate import evaluate

    results = evaluate(
        replace(arena.request("exit 0"), image=probe_image(arena.engine).digest), engine=arena.engine
    )
    (execution,) = results.executions
    assert execution.outcome is Outcome.CRASHED
    assert "predict.sh" in execution.evidence.last_log_line


def test_the_log_keeps_both_ends(arena: Arena) -> None:
    results = arena.run("echo the beginning; yes | head -c 10M; echo the end")
    log = arena.log(results)
    assert log.startswith("the beginning\n")
    assert log.endswith("the end\n")
    assert "bytes of the log were dropped here" in log
    assert results.executions[0].evidence.last_log_line == "the end"


def test_what_a_container_prints_cannot_drive_a_terminal(arena: Arena) -> None:
    results = arena.run(script("fake_traceback"))
    assert results.executions[0].evidence.last_log_line.isprintable()


def test_a_daemon_dies_with_its_case(arena: Arena, processes_named: Callable[[str], int]) -> None:
    results = arena.run(script("leaves_a_daemon"))
    assert results.executions[0].stages.run_s is not None
    assert results.executions[0].stages.run_s < 10
    assert processes_named("sleep 98765") == 0


def test_a_hostile_case_does_not_touch_the_next(arena: Arena) -> None:
    from containers import make_dataset

    dataset = make_dataset(arena.folder / "more", cases=3)
    # The containers cannot tell the cases apart by name; this one tells them by their content.
    first = next(iter(dataset.cases)).image
    assert first is not None
    marks = """
in=$(ls "$FLARE_INPUTS"); out="$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"
ls -A /tmp /dev/shm "$FLARE_OUTPUTS" | grep -q mark && echo REACHED
touch /tmp/mark /dev/shm/mark
cp /workspace/good.nii.gz "$out"
(exec sleep 87654) &
dd if=/dev/zero of=/tmp/mark bs=1M count=16
"""
    results = arena.run(marks, dataset=dataset)
    assert [execution.outcome for execution in results.executions] == [Outcome.SUCCEEDED] * 3
    assert not any("REACHED" in arena.log(results, case.id) for case in dataset.cases)
