"""Fixtures of tests that build images: a submission on the base image, removed with what was built of it."""

import uuid

import pytest

from harness.engine.docker_images import DockerImages
from harness.submission.build import build, ensure
from harness.submission.find import open_submission
from harness.submission.recipes import BASE

DOCKERFILE = f"""ARG PARENT={BASE}
FROM ${{PARENT}}
ARG TASK=none
ENV TASK=${{TASK}}
COPY predict.sh ./
"""


@pytest.fixture(scope="module")
def client(engine):
    """The engine's SDK client, with the base image present."""
    ensure(engine.images, BASE)
    return engine.client


def untagged(client):
    return {image["Id"] for image in client.api.images(filters={"dangling": True})}


@pytest.fixture
def submission(tmp_path, client):
    """A new submission on the base image; its images are removed afterwards."""
    name = f"trial-{uuid.uuid4().hex[:8]}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "submission.toml").write_text(
        f'name = "{name}"\n[build_args]\nTASK = "organs"\n'
        '[challenge."flare24-task1".build_args]\nTASK = "tumour"\n'
    )
    (folder / "predict.sh").write_text("echo done\n")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    yield open_submission(folder)
    remove(client, name.replace("-", "_"), name)


def remove(client, *words):
    for image in client.api.images():
        for tag in image.get("RepoTags") or []:
            if any(word in tag for word in words):
                client.api.remove_image(tag, force=True)


def make(submission, client, challenge="phantom"):
    """Build, and return the image with the lines that it took."""
    lines = []
    return build(submission, challenge=challenge, images=DockerImages(client), progress=lines.append), lines


def make_small(submission, client):
    """Build an image of one file, for tests that run nothing."""
    submission.dockerfile.write_text("FROM scratch\nCOPY predict.sh /workspace/\n")
    return make(submission, client)[0]


def environment(client, image):
    return client.api.inspect_image(image.digest)["Config"]["Env"]
