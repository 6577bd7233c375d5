"""Each known mistake, as a real container prints it, gets its hint with the mend; what is fine gets none."""

from datetime import UTC, datetime

import pytest

from harness.challenge import load_challenge
from harness.results.records import Evidence, ExecutionRecord, Outcome
from harness.submission.hints import hints

PHANTOM = load_challenge("phantom")

LOGS = [
    ("line-ends", "python3: can't open file '/workspace/zero.py\r': [Errno 2] No such file or directory"),
    ("bash", "predict.sh: 2: set: Illegal option -o pipefail"),
    ("bash", 'predict.sh: 3: Syntax error: "(" unexpected'),
    ("bash", "predict.sh: 1: [[: not found"),
    ("bom", "predict.sh: 1: \ufeffset: not found"),
    ("closed-files", "PermissionError: [Errno 13] Permission denied: '/root/weights.pt'"),
    ("closed-files", "PermissionError: [Errno 13] Permission denied: '/workspace/weights.pt'"),
    ("read-only", "mkdir: cannot create directory '/workspace/inputs/tmp': Read-only file system"),
    ("network", "urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>"),
    ("gpu", "predict.sh: 1: nvidia-smi: not found"),
    ("gpu", "RuntimeError: Found no NVIDIA driver on your system."),
    ("shm", "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shm"),
    ("shm", "RuntimeError: unable to open shared memory object </torch_1> in read-write mode"),
    ("disk", "OSError: [Errno 28] No space left on device"),
    ("module", "ModuleNotFoundError: No module named 'monai'"),
]

OUTPUTS = [
    (Outcome.NO_OUTPUT, "name", "no file c.nii.gz; it wrote c_0000.nii.gz"),
    (Outcome.NO_OUTPUT, "name", "no file c.nii.gz; it wrote seg.nii.gz"),
    (Outcome.NO_OUTPUT, "folders", "no file c.nii.gz; it wrote nothing"),
    (Outcome.INVALID_OUTPUT, "probabilities", "it holds 0.37, which is no whole number"),
    (Outcome.INVALID_OUTPUT, "axes", "not on the image's grid: shape 94x128x100 against 100x128x94"),
    (Outcome.INVALID_OUTPUT, "geometry", "not on the image's grid: spacing 1x1x1 against 3x3x5"),
]


def ended(outcome, summary=""):
    return ExecutionRecord(
        case="c",
        outcome=outcome,
        evidence=Evidence(summary=summary),
        started_at=datetime(2025, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(("rule", "log"), LOGS)
def test_a_known_log_gets_its_hint(rule, log):
    first, *_ = hints(ended(Outcome.CRASHED, "exit code 1"), f"loading\n{log}\n", PHANTOM, gpu=False)
    assert first.rule == rule
    assert first.mend.endswith(".")


@pytest.mark.parametrize(("outcome", "rule", "summary"), OUTPUTS)
def test_a_known_output_gets_its_hint(outcome, rule, summary):
    assert [hint.rule for hint in hints(ended(outcome, summary), "", PHANTOM, gpu=False)] == [rule]


def test_a_name_is_told_in_full():
    (hint,) = hints(ended(Outcome.NO_OUTPUT, "no file c.nii.gz; it wrote nothing"), "", PHANTOM, gpu=False)
    assert "/workspace/inputs/c_0000.nii.gz" in hint.message
    assert "/workspace/outputs/c.nii.gz" in hint.mend


def test_shapes_that_read_the_same_both_ways_are_not_called_reversed():
    summary = "not on the image's grid: shape 128x128x94 against 128x128x100"
    assert hints(ended(Outcome.INVALID_OUTPUT, summary), "", PHANTOM, gpu=False) == []


def test_who_has_a_gpu_is_not_told_to_do_without():
    log = "nvidia-smi: not found"
    assert hints(ended(Outcome.CRASHED, "exit code 1"), log, PHANTOM, gpu=True) == []


def test_success_gets_no_hint_whatever_it_prints():
    assert hints(ended(Outcome.SUCCEEDED), "Permission denied", PHANTOM, gpu=False) == []


def test_a_mistake_is_told_once():
    log = "Permission denied: '/root/a'\nPermission denied: '/workspace/b'\n"
    found = hints(ended(Outcome.CRASHED, "exit code 1"), log, PHANTOM, gpu=False)
    assert [hint.rule for hint in found] == ["closed-files"]
    assert "/root" in found[0].message
