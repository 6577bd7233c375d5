"""A worker runs a case as one machine does: the same records and scores, through the process engine."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from noop_cluster import Processes, client_for

from harness.challenge import load_challenge
from harness.cluster.host_runner import EngineHostRunner, check_files
from harness.cluster.identity import this_process
from harness.cluster.queue import RunQueue, offered_runs
from harness.cluster.worker import Worker
from harness.data.dataset import open_dataset
from harness.engine.process import ProcessEngine
from harness.errors import ConfigurationError
from harness.results.folder import read_run
from harness.results.observer import Observer
from harness.results.records import Outcome
from harness.run.evaluate import EvaluationRequest, evaluate
from harness.scoring.verify import verify_run

GOOD = 'in=$(ls "$FLARE_INPUTS"); cp "$PWD/good.nii.gz" "$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"\n'


def volume(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path)


@pytest.fixture
def request_of(tmp_path):
    """Make the request to evaluate a script over three cases."""
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:6, 2:6, 2:6] = 1
    for name in ("a", "b", "c"):
        volume(tmp_path / "data" / "imagesVal" / f"{name}_0000.nii.gz", np.zeros((8, 8, 8), np.int16))
        volume(tmp_path / "data" / "labelsVal" / f"{name}.nii.gz", labels)
    volume(tmp_path / "team" / "good.nii.gz", labels)

    def make(script: str = GOOD) -> EvaluationRequest:
        (tmp_path / "team" / "predict.sh").write_text(script)
        return EvaluationRequest(
            team="team",
            image=str(tmp_path / "team"),
            challenge=load_challenge("phantom"),
            dataset=open_dataset(tmp_path / "data"),
            results=tmp_path / "results",
            cache=tmp_path / "cache",
        )

    return make


def spread(request: EvaluationRequest, scratch: Path, workers: int = 1):
    """Evaluate with a client in a thread and workers in this process, one after the other."""
    nobody = Processes(request.results, 0)
    folders: list[Path] = []
    client = client_for(request.results, nobody, lease_s=30.0)
    thread = threading.Thread(target=lambda: folders.extend(client.evaluate([request])))
    thread.start()
    while not offered_runs(request.results):
        assert thread.is_alive()
        thread.join(0.02)
    for _ in range(workers):
        holder = this_process()
        host_runner = EngineHostRunner(request.results, holder, scratch=scratch)
        Worker(request.results, holder, host_runner, Observer(), lease_s=30.0).work()
    thread.join()
    return read_run(*folders)


def test_a_worker_makes_what_one_machine_makes(request_of, tmp_path):
    request = request_of()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    alone = evaluate(replace(request, results=tmp_path / "elsewhere"), engine=ProcessEngine())
    there = spread(request, scratch)
    assert there.folder.name == alone.folder.name
    for each in (alone, there):
        assert [line.outcome for line in each.executions] == [Outcome.SUCCEEDED] * 3
        assert verify_run(each.folder, dataset=request.dataset).problems == []
    assert {line.case: line.prediction for line in there.executions} == {
        line.case: line.prediction for line in alone.executions
    }
    blank = {"previous_sha256": "", "hmac": "", "sha256": ""}
    assert {line.case: line.model_copy(update=blank) for line in there.scores} == {
        line.case: line.model_copy(update=blank) for line in alone.scores
    }
    assert there.record.host == alone.record.host
    assert list(scratch.iterdir()) == []


def test_what_fails_on_a_worker_is_the_submission_s_own(request_of, tmp_path):
    there = spread(request_of("exit 3\n"), tmp_path)
    assert {line.outcome for line in there.executions} == {Outcome.CRASHED}
    assert len(there.executions) == 3
    assert (there.folder / "cases" / "a" / "container.log").exists()


def test_a_finished_run_is_offered_no_case_again(request_of, tmp_path):
    request = request_of()
    first = spread(request, tmp_path)
    client = client_for(request.results, Processes(request.results, 0))
    (folder,) = client.evaluate([request])
    assert read_run(folder).executions == first.executions


def test_other_files_under_the_same_path_are_refused(request_of, tmp_path):
    request = request_of()
    client = client_for(request.results, Processes(request.results, 0))
    thread = threading.Thread(target=lambda: client.evaluate([request]))
    thread.start()
    while not (runs := offered_runs(request.results)):
        thread.join(0.02)
    offer = RunQueue(runs[0]).offer
    check_files(offer)
    image = offer.cases[0].channels[0]
    whole = image.read_bytes()
    image.write_bytes(whole + b"x")
    with pytest.raises(ConfigurationError, match="Mount the same data set"):
        check_files(offer)
    image.unlink()
    with pytest.raises(ConfigurationError, match="under the same path"):
        check_files(offer)
    image.write_bytes(whole)
    holder = this_process()
    host_runner = EngineHostRunner(request.results, holder, scratch=tmp_path)
    Worker(request.results, holder, host_runner, Observer(), lease_s=30.0).work()
    thread.join()
