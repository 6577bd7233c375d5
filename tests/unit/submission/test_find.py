"""A team is found by its name, and an incomplete or unknown one gets one clear line."""

import pytest

from harness.errors import EXIT_SUBMISSION_FAILED, EXIT_USAGE, ConfigurationError, SubmissionError
from harness.submission.build import build
from harness.submission.find import discover, find, open_submission


@pytest.fixture
def submissions(tmp_path):
    """Two complete submissions, and a folder that is none."""
    for name in ("small_unet", "cascade"):
        make(tmp_path, name)
    (tmp_path / "segkit").mkdir()
    return tmp_path


def make(folder, name, *, manifest=None, entry=True):
    (folder / name).mkdir()
    (folder / name / "submission.toml").write_text(manifest or f'name = "{name}"')
    if entry:
        (folder / name / "predict.sh").write_text("true\n")
    return folder / name


def test_a_submission_is_found_by_its_folders_name(submissions):
    found = find("small_unet", submissions)
    assert (found.name, found.folder) == ("small_unet", submissions / "small_unet")
    assert found.dockerfile == submissions / "small_unet" / "Dockerfile"


def test_folders_without_a_manifest_are_not_submissions(submissions):
    assert discover(submissions) == ("cascade", "small_unet")


@pytest.mark.parametrize(
    ("team", "expected"),
    [
        ("small_unte", "Did you mean small_unet? There are: cascade, small_unet."),
        ("Small_UNet", "Did you mean small_unet?"),
        ("zzz", "There are: cascade, small_unet."),
        ("segkit", "There are: cascade, small_unet."),
        ("", "There are: cascade, small_unet."),
        ("..", "There are: cascade, small_unet."),
        ("../small_unet", "There are: cascade, small_unet."),
        ("a\0b", "There are: cascade, small_unet."),
    ],
)
def test_an_unknown_team_hears_which_there_are(submissions, team, expected):
    with pytest.raises(ConfigurationError) as raised:
        find(team, submissions)
    assert expected in raised.value.one_line()
    assert raised.value.exit_code == EXIT_USAGE


def test_an_empty_folder_says_what_a_submission_is(tmp_path):
    with pytest.raises(ConfigurationError, match=r"There is none yet: .* submission\.toml, predict\.sh"):
        find("mine", tmp_path)


def test_a_missing_submissions_folder_is_named(tmp_path):
    with pytest.raises(
        ConfigurationError, match=r"no submission named 'mine'.*folder does not exist.*harness new"
    ):
        find("mine", tmp_path / "nowhere")


def test_submissions_beside_the_missing_folder_are_named(submissions):
    with pytest.raises(ConfigurationError) as raised:
        find("small_unett", submissions / "submissions")
    said = raised.value.one_line()
    assert f"Say `--submissions {submissions}`. Did you mean small_unet?" in said


def test_a_submission_without_predict_sh_is_refused(submissions):
    make(submissions, "mine", entry=False)
    with pytest.raises(SubmissionError, match=r"no predict\.sh") as raised:
        find("mine", submissions)
    assert raised.value.exit_code == EXIT_SUBMISSION_FAILED


def test_a_folder_with_predict_sh_alone_hears_that_its_manifest_is_missing(submissions):
    (submissions / "mine").mkdir()
    (submissions / "mine" / "predict.sh").write_text("true\n")
    with pytest.raises(SubmissionError, match=r"no submission\.toml"):
        find("mine", submissions)


def test_a_manifest_that_names_another_team_is_refused(submissions):
    make(submissions, "copied", manifest='name = "small_unet"')
    with pytest.raises(SubmissionError, match="names 'small_unet', its folder is 'copied'"):
        open_submission(submissions / "copied")


def test_what_training_has_yet_to_make_is_named(tmp_path):
    folder = make(tmp_path, "mine", manifest='name = "mine"\nneeds = ["weights", "model/plans.json"]')
    assert open_submission(folder).missing == ("weights", "model/plans.json")
    (folder / "weights").mkdir()
    assert open_submission(folder).missing == ("model/plans.json",)


def test_a_submission_that_is_not_trained_is_not_built(tmp_path):
    folder = make(tmp_path, "mine", manifest='name = "mine"\nneeds = ["weights"]')
    (folder / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(SubmissionError, match="no weights, which its training makes") as caught:
        build(open_submission(folder), challenge="phantom", images=None)
    assert "make train TEAM=mine" in str(caught.value)
