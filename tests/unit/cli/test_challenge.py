"""`harness challenge new`: a file that is a whole challenge as it is, with the labels of one's own data."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from harness.challenge import load_challenge
from harness.cli.app import run


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cases, which hold labels 1 and 4, and 1 and 9."""
    monkeypatch.chdir(tmp_path)
    for case, second in (("a", 4), ("b", 9)):
        volume = np.zeros((8, 8, 8), np.uint8)
        volume[1:4, 1:4, 1:4], volume[5:7, 5:7, 5:7] = 1, second
        for folder, name in (("imagesVal", f"{case}_0000"), ("labelsVal", case)):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "data" / folder / f"{name}.nii.gz")
    return tmp_path / "data"


def describe(data: Path, **content: object) -> None:
    (data / "dataset.json").write_text(json.dumps(content))


def labels(file: str) -> list[tuple[int, str]]:
    return [(label.value, label.name) for label in load_challenge(file).labels]


def test_values_of_the_label_maps_are_labels_to_rename_and_the_data_pass_at_once(data, capsys):
    assert run(["challenge", "new", "my hand.toml", "--data", "data"]) == 0
    said = capsys.readouterr()
    assert said.out == "my hand.toml\n"
    assert "name them" in said.err
    assert labels("my hand.toml") == [(1, "label_1"), (4, "label_4"), (9, "label_9")]
    assert load_challenge("my hand.toml").name == "my-hand"
    assert run(["data", "check", "data", "--challenge", "my hand.toml"]) == 0


@pytest.mark.parametrize(
    "stated",
    [
        {"background": 0, "liver": 1, 'a "cyst"': 4, "duct": 9},
        {"0": "background", "1": "liver", "4": 'a "cyst"', "9": "duct"},
    ],
)
def test_labels_of_nnunet_and_monai_bear_their_names(data, stated):
    describe(data, name="Livers", labels=stated)
    assert run(["challenge", "new", "mine.toml", "--data", "data"]) == 0
    assert labels("mine.toml") == [(1, "liver"), (4, 'a "cyst"'), (9, "duct")]
    assert load_challenge("mine.toml").title == "Livers"


def test_regions_and_channels_are_in_the_file(data):
    for case in ("a", "b"):
        (data / "imagesVal" / f"{case}_0001.nii.gz").write_bytes(
            (data / "imagesVal" / f"{case}_0000.nii.gz").read_bytes()
        )
    describe(data, channel_names={"0": "T1", "1": "FLAIR"}, labels={"whole": [1, 4, 9], "core": [4, 9]})
    assert run(["challenge", "new", "mine.toml", "--data", "data"]) == 0
    rules = load_challenge("mine.toml")
    assert [label.voxel_values for label in rules.labels] == [(1, 4, 9), (4, 9)]
    assert rules.contract.channels == ("T1", "FLAIR")


def test_without_data_the_file_is_a_whole_challenge_all_the_same(tmp_path):
    file = tmp_path / "new" / "mine.toml"
    assert run(["challenge", "new", str(file)]) == 0
    assert labels(str(file)) == [(1, "label_1"), (2, "label_2")]


def test_the_lines_that_are_commented_out_are_good_as_well(data):
    assert run(["challenge", "new", "mine.toml", "--data", "data"]) == 0
    text = Path("mine.toml").read_text()
    optional = text.index("# [[ranking.metrics]]")
    Path("mine.toml").write_text(text[:optional] + text[optional:].replace("# ", ""))
    assert [metric.key for metric in load_challenge("mine.toml").ranking.metrics] == [
        "dsc:all",
        "nsd:all",
        "runtime_s",
    ]


def test_nothing_is_overwritten(data, capsys):
    Path("mine.toml").write_text("precious")
    assert run(["challenge", "new", "mine.toml", "--data", "data"]) == 2
    assert "there already" in capsys.readouterr().err
    assert Path("mine.toml").read_text() == "precious"


@pytest.mark.parametrize(
    ("file", "stated", "said"),
    [
        ("mine.json", {"liver": 1}, "Say mine.toml"),
        ("mine.toml", {"left kidney": 1, "left_kidney": 4}, "data/dataset.json"),
        ("mine.toml", {"liver": 300}, "data/dataset.json"),
        ("mine.toml", {"background": 0}, "nothing but background"),
    ],
)
def test_what_cannot_be_a_challenge_is_refused_and_nothing_is_written(data, capsys, file, stated, said):
    describe(data, labels=stated)
    assert run(["challenge", "new", file, "--data", "data"]) == 2
    assert said in capsys.readouterr().err
    assert not Path(file).exists()


def test_a_set_without_labels_is_told_what_to_add(data, capsys):
    for label in (data / "labelsVal").iterdir():
        label.unlink()
    assert run(["challenge", "new", "mine.toml", "--data", "data"]) == 2
    assert "labelsVal/<case>.nii.gz" in capsys.readouterr().err
