"""What is written around a bundle, and what is refused before anything is converted."""

import json
import sys
import tomllib

import pytest

from harness.challenge import load_challenge
from harness.errors import ConfigurationError, PrerequisiteError, SubmissionError
from harness.submission import scaffold
from harness.submission.find import open_submission
from harness.submission.folder import texts_of

CONVERTER = """
import json, pathlib, sys
out = pathlib.Path(sys.argv[4])
if "refuse" in sys.argv:
    print("3d, fold 0: 5 parameters", "error: it is a Primus; train anew", sep="\\n", file=sys.stderr)
    sys.exit(2)
out.mkdir()
(out / "bundle.json").write_text(pathlib.Path(sys.argv[3]).read_text())
"""


def bundle(**changes):
    network = {"residual": False, "features": [8, 16]}
    told = {"network": network, "spacing_mm": [3.0, 2.0, 2.0], "folds": ["0", "1"]}
    return {
        "channels": ["CT"],
        "labels": {"background": 0, "liver": 1, 'left "kidney"': 2},
        "regions_order": [],
        "configurations": {"3d_fullres": told, "3d_lowres": told},
        "ensemble": ["3d_fullres"],
        "source": {"dataset": "Dataset001_x"},
        **changes,
    }


@pytest.fixture
def converter(tmp_path, monkeypatch):
    """A stand-in for the converter, which needs torch: it copies what it is given."""
    program = tmp_path / "converter.py"
    program.write_text(CONVERTER)
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} {program} "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setattr(scaffold, "training_python", lambda: launcher)
    results = tmp_path / "results.json"
    results.write_text(json.dumps(bundle()))
    return results


def test_a_ready_submission_is_written(tmp_path, converter):
    folder = scaffold.from_nnunet("mine", converter, tmp_path / "submissions")
    submission = open_submission(folder)
    assert submission.missing == ()
    assert {path.name for path in folder.iterdir()} >= {
        "Dockerfile",
        "predict.py",
        "settings.json",
        "weights",
    }
    assert (folder / "predict.sh").stat().st_mode & 0o111
    rules = load_challenge(str(folder / "challenge.toml"))
    assert {label.value: label.name for label in rules.labels.labels} == {1: "liver", 2: 'left "kidney"'}
    assert rules.contract.channels == ()
    assert [path.name for path in (tmp_path / "submissions").iterdir()] == ["mine"]


def test_channels_and_regions_are_in_the_challenge(tmp_path):
    text = scaffold.challenge_of(
        "brats_2",
        bundle(
            channels=["T1", "FLAIR"],
            labels={"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3},
            regions_order=[1, 2, 3],
        ),
    )
    path = tmp_path / "challenge.toml"
    path.write_text(text)
    rules = load_challenge(str(path))
    assert rules.name == "brats-2"
    assert rules.contract.channels == ("T1", "FLAIR")
    assert [label.name for label in rules.labels.labels] == ["whole", "core", "enhancing"]


def test_the_manifest_is_toml_whatever_the_data_set_is_called():
    parts = scaffold.parts_of("mine", bundle(source={"dataset": 'a"\\\n\x07b'}))
    text = texts_of("mine", parts)["submission.toml"]
    assert tomllib.loads(text)["name"] == "mine"


def test_a_refusal_of_the_converter_is_one_error_and_leaves_nothing(tmp_path, converter):
    lines = []
    with pytest.raises(SubmissionError, match="it is a Primus") as refused:
        scaffold.from_nnunet(
            "mine", converter, tmp_path / "submissions", options=["refuse"], progress=lines.append
        )
    assert refused.value.mend == "Train anew"
    assert lines == ["3d, fold 0: 5 parameters"]
    assert list((tmp_path / "submissions").iterdir()) == []


@pytest.mark.parametrize("name", ["Upper", "../x", "", "a" * 65])
def test_a_name_that_no_image_can_have_is_refused(tmp_path, name):
    with pytest.raises(ConfigurationError, match="is no name of a submission"):
        scaffold.from_nnunet(name, tmp_path, tmp_path / "submissions")


def test_a_submission_is_never_overwritten(tmp_path, converter):
    (tmp_path / "submissions" / "mine").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="of that name"):
        scaffold.from_nnunet("mine", converter, tmp_path / "submissions")


def test_without_a_training_environment_it_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setattr(scaffold, "checkout", lambda: tmp_path)
    monkeypatch.setattr(scaffold.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PrerequisiteError, match="env-train"):
        scaffold.training_python()
