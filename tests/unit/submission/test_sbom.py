"""Bills of materials: what the layers hold in the end, each package once, licences as stated."""

from __future__ import annotations

import json

import pytest
from archives import config_of, docker_files, files_tar, member, sha, tar

from harness.submission.image import BuiltImage
from harness.submission.packages import debian_packages, python_package
from harness.submission.sbom import packages_of, to_cyclonedx

STATUS = b"""Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2-1+b2
Description: shell
 Version: not this one

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
NUMPY = (
    b"Metadata-Version: 2.4\nName: NumPy\nVersion: 2.4.6\nLicense-Expression: BSD-3-Clause AND MIT\n"
    b"\nbody\nName: x\n"
)
OLD = b"Name: old.thing\nVersion: 1\nLicense: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n"
PLACE = "opt/venv/lib/python3.11/site-packages"


class Images:
    """An engine that has one image."""

    def __init__(self, archive: bytes) -> None:
        self._archive = archive

    def save(self, reference):
        yield self._archive


@pytest.fixture
def image():
    below = files_tar(
        {
            "var/lib/dpkg/status": STATUS,
            f"{PLACE}/numpy-2.4.6.dist-info/METADATA": NUMPY,
            f"{PLACE}/gone-1.dist-info/METADATA": b"Name: gone\nVersion: 1\n",
            f"{PLACE}/numpy/METADATA": b"Name: no\nVersion: 1\n",
        }
    )
    above = tar(
        member(f"{PLACE}/.wh.gone-1.dist-info"),
        member(f"{PLACE}/old.dist-info/METADATA", content=OLD),
    )
    archive = files_tar(docker_files(below, above))
    identity = f"sha256:{sha(config_of(below, above))}"
    built = BuiltImage("flareharness/x:1", identity, len(archive), "", "linux/amd64", identity)
    return Images(archive), built


def test_what_an_upper_layer_took_away_is_not_in_the_image(image):
    images, built = image
    assert [(each.name, each.version) for each in packages_of(images, built)] == [
        ("bash", "5.2-1+b2"),
        ("NumPy", "2.4.6"),
        ("old.thing", "1"),
    ]


def test_the_bill_is_cyclonedx_and_the_same_each_time(image):
    images, built = image
    text = to_cyclonedx(packages_of(images, built), built)
    assert text == to_cyclonedx(packages_of(images, built), built)
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["hashes"][0]["content"] == built.identity.removeprefix("sha256:")
    by_name = {component["name"]: component for component in bill["components"]}
    assert by_name["bash"]["purl"] == "pkg:deb/debian/bash@5.2-1%2Bb2?arch=amd64"
    assert by_name["NumPy"]["purl"] == "pkg:pypi/numpy@2.4.6"
    assert by_name["NumPy"]["licenses"] == [{"expression": "BSD-3-Clause AND MIT"}]
    assert by_name["old.thing"]["licenses"] == [{"license": {"name": "MIT License"}}]
    assert len({component["bom-ref"] for component in bill["components"]}) == 3


def test_a_licence_text_is_no_name():
    package = python_package(b"Name: a\nVersion: 1\nLicense: " + b"word " * 60 + b"\n")
    assert package is not None
    assert package.licence == ""
    text = b"                    Apache License\n            Version 2.0, January 2004\n " + b"word " * 60
    whole = python_package(b"Name: a\nVersion: 1\nLicense: " + text + b"\n")
    assert whole is not None
    assert whole.licence == "Apache License Version 2.0"


def test_a_status_file_of_nothing_has_no_packages():
    assert list(debian_packages(b"")) == []
    assert python_package(b"Version: 1\n") is None
