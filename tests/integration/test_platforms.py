"""Platforms in their own calling conventions: scorers as they run there, algorithms as they run here."""

from __future__ import annotations

import contextlib
import json
import shlex
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import yaml
from containers import Arena
from docker.errors import ImageNotFound

from evaluator.platforms.rules import rules_to_json
from harness.challenge import Sockets, for_algorithms, load_challenge
from harness.data.dataset import open_dataset
from harness.engine.docker import DockerEngine
from harness.interop.codabench import BundleOptions, write_bundle
from harness.interop.platform_rules import platform_rules
from harness.results.folder import RunResults
from harness.results.records import Outcome
from harness.run.evaluate import evaluate
from harness.submission.build import build
from harness.submission.find import open_submission
from harness.submission.image import BuiltImage
from harness.submission.recipes import BASE
from harness.submission.scorer import build_scorer
from harness.submission.wrap import wrap
from tests.unit.interop.platform_files import (
    challenge_file,
    job,
    labels,
    shifted,
    write_dataset,
    write_mha,
    write_nifti,
    write_predictions,
)

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SOCKETS = Sockets.model_validate({"input": "ct-image=ct", "output": "organ-labels=organs"})


@pytest.fixture
def knee(tmp_path: Path) -> tuple[Path, Path]:
    """A challenge's TOML and its data."""
    data = write_dataset(tmp_path / "data", {"a": labels(), "b": labels(), "c": labels(cartilage=False)})
    return challenge_file(tmp_path), data


def removed(engine: DockerEngine, image: BuiltImage) -> None:
    with contextlib.suppress(ImageNotFound):
        engine.client.images.remove(image.reference)


def test_the_evaluation_method_runs_as_grand_challenge_runs_it(engine, knee, tmp_path):
    toml, data = knee
    rules = rules_to_json(platform_rules(load_challenge(str(toml)), open_dataset(data)))
    image = build_scorer(engine.images, "grand-challenge", challenge="knee-test", rules=rules)
    given, output = tmp_path / "input", tmp_path / "output"
    write_mha(given / "1" / "output" / "images" / "knee-labels" / "0.mha", labels())
    (given / "2" / "output" / "images" / "knee-labels").mkdir(parents=True)
    (given / "2" / "output" / "images" / "knee-labels" / "0.mha").write_bytes(b"nothing")
    write_predictions(given, [job("1", "a_0000.nii.gz"), job("2", "b_0000.nii.gz")])
    output.mkdir()
    output.chmod(0o777)
    try:
        assert image.user not in ("", "0", "root")
        log = engine.client.containers.run(
            image.digest,
            network_mode="none",
            read_only=True,
            tmpfs={"/tmp": "rw"},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit="4g",
            volumes={
                str(given): {"bind": "/input", "mode": "ro"},
                str(output): {"bind": "/output", "mode": "rw"},
                str(data / "labelsVal"): {"bind": "/opt/ml/input/data/ground_truth", "mode": "ro"},
            },
            stderr=True,
            remove=True,
        )
    finally:
        removed(engine, image)
    metrics = json.loads((output / "metrics.json").read_text())
    assert {row["case"]: row["outcome"] for row in metrics["results"]} == {
        "a": "succeeded",
        "b": "failed",
        "c": "failed",
    }
    assert metrics["aggregates"]["dsc_bones"] == pytest.approx(1 / 3)
    assert b"b: the prediction is unusable" in log


def test_the_scoring_program_runs_as_a_codabench_worker_runs_it(engine, knee, tmp_path):
    toml, data = knee
    image = build_scorer(engine.images, "codabench", challenge="knee-test")
    bundle, folder = tmp_path / "knee.zip", tmp_path / "bundle"
    options = BundleOptions(docker_image=image.reference, start=date(2030, 1, 1))
    write_bundle(load_challenge(str(toml)), open_dataset(data), bundle, options)
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    stated = yaml.safe_load((folder / "competition.yaml").read_text())
    given = tmp_path / "worker" / "input"
    given.mkdir(parents=True)
    (folder / "reference_data").rename(given / "ref")
    write_nifti(given / "res" / "a.nii.gz", labels())
    write_nifti(given / "res" / "c.nii.gz", shifted(labels(cartilage=False), 1))
    output = tmp_path / "worker" / "output"
    output.mkdir()
    command = yaml.safe_load((folder / "scoring_program" / "metadata.yaml").read_text())["command"]
    try:
        engine.client.containers.run(
            stated["docker_image"],
            command=command,
            working_dir="/app/program",
            environment=["PYTHONUNBUFFERED=1"],
            network_disabled=True,
            security_opt=["no-new-privileges"],
            cap_drop=["ALL"],
            volumes={
                str(folder / "scoring_program"): {"bind": "/app/program", "mode": "rw"},
                str(output): {"bind": "/app/output", "mode": "rw"},
                str(given): {"bind": "/app/input", "mode": "rw"},
            },
            remove=True,
        )
    finally:
        removed(engine, image)
    scores = json.loads((output / "scores.json").read_text())
    columns = {column["key"] for column in stated["leaderboards"][0]["columns"]}
    assert scores.keys() == columns
    assert scores["failed_cases"] == 1
    assert "<table>" in (output / "detailed_results.html").read_text()
    assert shlex.split(command)[0] == "python3"


ALGORITHM = """#!/bin/sh
set -e
cat /input/inputs.json
ls /input/images/ct
mkdir -p /output/images/organs
cp /opt/good.mha /output/images/organs/result.mha
"""


@pytest.fixture
def algorithm(arena: Arena, tmp_path: Path) -> Iterator[str]:
    """An image as the platform takes it: an entrypoint of its own, `.mha` in and out, no word of FLARE."""
    import io

    import SimpleITK as sitk

    image = sitk.ReadImage(tmp_path / "good.nii.gz")
    sitk.WriteImage(image, tmp_path / "good.mha", useCompression=True)
    files = {"/opt/run.sh": ALGORITHM.encode(), "/opt/good.mha": (tmp_path / "good.mha").read_bytes()}
    parent = arena.image("", files)
    text = f'FROM {parent}\nENTRYPOINT ["/bin/sh", "/opt/run.sh"]\nCMD []\n'
    made, _ = arena.engine.client.images.build(
        fileobj=io.BytesIO(text.encode()), rm=True, network_mode="none"
    )
    yield str(made.id)
    arena.engine.client.images.remove(str(made.id), force=True)


def run_algorithm(arena: Arena, image: str) -> RunResults:
    request = arena.request("")
    challenge = for_algorithms(request.challenge, SOCKETS)
    return evaluate(replace(request, image=image, challenge=challenge), engine=arena.engine)


def test_an_algorithm_runs_as_it_is(arena, algorithm):
    results = run_algorithm(arena, algorithm)
    [execution] = results.executions
    assert execution.outcome is Outcome.SUCCEEDED, execution.evidence
    assert execution.prediction is not None
    assert execution.prediction.path.endswith("prediction.mha")
    log = arena.log(results)
    listed = json.JSONDecoder().raw_decode(log)[0]
    assert listed[0]["socket"]["slug"] == "ct-image"
    assert listed[0]["socket"]["relative_path"] == "images/ct"
    assert log.strip().endswith(listed[0]["image"]["name"])
    assert "patient" not in log
    [score] = results.scores
    assert {label.label: label.dsc for label in score.scores if label.reference_ml} == {1: 1.0, 3: 1.0}


def test_a_wrapped_submission_runs_here_and_says_the_same(arena, tmp_path, engine):
    folder = tmp_path / "submissions" / "copier"
    folder.mkdir(parents=True)
    (folder / "submission.toml").write_text('name = "copier"\n')
    (folder / "Dockerfile").write_text(
        f"FROM {BASE}\nUSER 0\nWORKDIR /workspace\nCOPY predict.sh good.nii.gz ./\n"
    )
    (folder / "good.nii.gz").write_bytes(arena.good)
    (folder / "predict.sh").write_text(
        'set -e\nin=$(ls /workspace/inputs)\ncp good.nii.gz "/workspace/outputs/${in%_0000.nii.gz}.nii.gz"\n'
    )
    wrapped = tmp_path / "submissions" / "copier-gc"
    wrap(open_submission(folder), wrapped, SOCKETS)
    image = build(open_submission(wrapped), challenge="phantom", images=engine.images)
    try:
        results = run_algorithm(arena, image.digest)
    finally:
        removed(engine, image)
    [execution] = results.executions
    assert execution.outcome is Outcome.SUCCEEDED, (execution.evidence, arena.log(results))
    [score] = results.scores
    assert {label.label: label.dsc for label in score.scores if label.reference_ml} == {1: 1.0, 3: 1.0}


SERVER = """
import http.server, os, shutil

class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self):
        Handler.asked += 1
        self.send_response(200 if self.path == "/health" and Handler.asked > 2 else 503)
        self.end_headers()

    def do_POST(self):
        if self.path == "/invoke":
            assert os.listdir("/input/images/ct")
            os.makedirs("/output/images/organs")
            shutil.copyfile("/opt/good.mha", "/output/images/organs/output.mha")
        self.send_response(ANSWER)
        self.end_headers()

http.server.HTTPServer(("0.0.0.0", 4743), Handler).serve_forever()
"""

ENDS = [
    ("answers 201", SERVER.replace("ANSWER", "201"), Outcome.SUCCEEDED, ""),
    ("answers 500", SERVER.replace("ANSWER", "500"), Outcome.CRASHED, "/invoke answered 500"),
    ("dies", "raise SystemExit(7)", Outcome.CRASHED, "the server ended"),
]


@pytest.mark.parametrize(("what", "server", "outcome", "said"), ENDS, ids=[row[0] for row in ENDS])
def test_an_algorithm_that_serves_is_called(arena, tmp_path, engine, what, server, outcome, said):
    import SimpleITK as sitk

    folder = tmp_path / "submissions" / "server"
    folder.mkdir(parents=True)
    sitk.WriteImage(sitk.ReadImage(tmp_path / "good.nii.gz"), folder / "good.mha", useCompression=True)
    (folder / "submission.toml").write_text('name = "server"\n')
    (folder / "predict.sh").write_text("exit 1\n")
    (folder / "server.py").write_text(server)
    (folder / "Dockerfile").write_text(
        f"FROM {BASE}\nCOPY good.mha server.py /opt/\n"
        'LABEL org.grand-challenge.api-method="invoke"\n'
        'ENTRYPOINT ["python3"]\nCMD ["/opt/server.py"]\n'
    )
    image = build(open_submission(folder), challenge="phantom", images=engine.images)
    try:
        results = run_algorithm(arena, image.digest)
    finally:
        removed(engine, image)
    [execution] = results.executions
    assert execution.outcome is outcome, (execution.evidence, arena.log(results))
    assert said in arena.log(results)
