"""The command hands everything that it is told to the converter."""

import pytest

from harness.cli import new
from harness.cli.app import run


def test_every_option_reaches_the_converter(tmp_path, monkeypatch, capsys):
    seen = {}

    def from_nnunet(team, results, submissions, *, options, progress):
        seen.update(team=team, results=results, options=list(options))
        return submissions / team

    monkeypatch.setattr(new, "from_nnunet", from_nnunet)
    told = ["new", "mine", "--from-nnunet", str(tmp_path), "--submissions", str(tmp_path)]
    told += [
        "--configuration",
        "2d",
        "--configuration",
        "3d",
        "--fold",
        "1",
        "--checkpoint",
        "checkpoint_best.pth",
    ]
    assert run([*told, "--postprocessing", "none", "--orientation", "ras"]) == 0
    assert (seen["team"], seen["results"]) == ("mine", tmp_path)
    assert " ".join(seen["options"]) == (
        "--configuration 2d --configuration 3d --fold 1 --checkpoint checkpoint_best.pth "
        "--postprocessing none --orientation ras"
    )
    assert capsys.readouterr().out.strip() == str(tmp_path / "mine")


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        (["--fold", "1"], "--from-nnunet"),
        (["--with", "weights"], "--script"),
        (["--input-socket", "ct=ct", "--output-socket", "organs"], "--grand-challenge"),
        (["--script", "predict.py", "--from-nnunet", "results"], "one thing"),
    ],
)
def test_options_belong_to_what_a_submission_is_made_from(told, complaint, capsys):
    assert run(["new", "mine", *told]) == 2
    assert complaint in capsys.readouterr().err
