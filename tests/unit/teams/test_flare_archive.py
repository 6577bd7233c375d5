"""`team.tar.gz` as FLARE's teams hand it in: `docker save team:latest`, gzipped, with a `predict.sh`."""

from __future__ import annotations

import gzip
import json
import os

import pytest
from archives import docker_files, files_tar, member, sha, tar
from engines import fake_client

from harness.challenge import load_challenge
from harness.engine.docker import DockerEngine
from harness.results.records import OptOuts
from harness.run.container import container_spec
from harness.run.context import Rules
from harness.run.stage import Stage
from harness.submission.load import take_in
from harness.teams.roster import entrants_of

LAYER = tar(member("workspace/predict.sh", content=b"python predict.py"))
CONFIG = json.dumps(
    {
        "os": "linux",
        "architecture": "amd64",
        "config": {"WorkingDir": "/workspace"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha(LAYER)}"]},
    }
).encode()


@pytest.mark.parametrize("challenge", ["flare21", "flare22", "flare23"])
def test_it_is_taken_in_as_its_file_s_name_and_called_as_the_organisers_call_it(
    tmp_path, monkeypatch, challenge
):
    monkeypatch.setenv("FLAREHARNESS_CACHE", str(tmp_path / "cache"))
    archive = tmp_path / "blackbean.tar.gz"
    saved = files_tar(docker_files(LAYER, config=CONFIG, tags=("blackbean:latest",)))
    archive.write_bytes(gzip.compress(saved))
    (entrant,) = entrants_of([str(archive)])
    assert (entrant.name, entrant.image) == ("blackbean", str(archive))
    engine = DockerEngine(fake_client(), "unix:///in/memory")
    taken = take_in(entrant.image, challenge=challenge, images=engine.images)
    assert engine.image(taken.digest).identity == f"sha256:{sha(CONFIG)}"
    asked = load_challenge(challenge)
    rules = Rules(
        run="run",
        image=taken.digest,
        limits=asked.limits,
        contract=asked.contract,
        opt_outs=OptOuts(),
        secret="secret",
        owner=(os.getuid(), os.getgid()),
        label="label",
    )
    stage = Stage(folder=tmp_path, opaque="a", expected="a.nii.gz", space=tmp_path)
    spec = container_spec(rules, stage, name="one", parent=None)
    assert spec.command == ("/bin/bash", "-c", "sh predict.sh")
    assert [(mount.target, mount.writable) for mount in spec.mounts][:2] == [
        ("/workspace/inputs", False),
        ("/workspace/outputs", True),
    ]
