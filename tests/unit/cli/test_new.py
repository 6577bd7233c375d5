"""The command hands everything that it is told to the converter."""

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
        "--checkpoint checkpoint_best.pth --configuration 2d --configuration 3d --fold 1 "
        "--postprocessing none --orientation ras"
    )
    assert capsys.readouterr().out.strip() == str(tmp_path / "mine")


def test_a_submission_is_made_from_something(capsys):
    assert run(["new", "mine"]) == 2
    assert "--from-nnunet" in capsys.readouterr().err
