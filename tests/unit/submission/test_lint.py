"""Each lint rule, as a function of what was found in an image."""

from dataclasses import replace

import pytest

from harness.submission.lint import LARGE_BYTES, ImageContents, findings

GOOD = ImageContents(
    platform="linux/amd64",
    engine_platform="linux/amd64",
    size_bytes=1 << 30,
    user="65532:65532",
    working_folder="/workspace",
    entrypoint=(),
    environment={"PATH": "/usr/bin", "LANG": "C.UTF-8"},
    declared_volumes=(),
    modes={"/bin/bash": 0o755, "/workspace/predict.sh": 0o644},
)


def rules(contents, **options):
    return [(each.level, each.rule) for each in findings(contents, **options)]


def test_a_good_image_has_no_findings():
    assert findings(GOOD) == ()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"platform": "linux/arm64"}, ("error", "platform")),
        ({"modes": {"/workspace/predict.sh": None}}, ("error", "missing")),
        ({"modes": {"/bin/bash": None}}, ("error", "missing")),
        ({"modes": {"/workspace/predict.sh": 0o700}}, ("error", "unreadable")),
        ({"entrypoint": ("python", "run.py")}, ("warning", "entrypoint")),
        ({"user": ""}, ("warning", "user")),
        ({"user": "root"}, ("warning", "user")),
        ({"user": "0:0"}, ("warning", "user")),
        ({"environment": {"LD_PRELOAD": "/x.so"}}, ("error", "loader")),
        ({"environment": {"LD_AUDIT": "/x.so"}}, ("error", "loader")),
        ({"environment": {"LD_LIBRARY_PATH": "/usr/local/cuda/lib64"}}, ("warning", "loader")),
        ({"declared_volumes": ("/data",)}, ("error", "volume")),
        ({"size_bytes": LARGE_BYTES + 1}, ("warning", "size")),
    ],
)
def test_each_fault_has_its_rule(change, expected):
    assert rules(replace(GOOD, **change)) == [expected]


def test_a_submission_that_requires_root_may_have_its_user_and_modes():
    contents = replace(GOOD, user="root", modes={"/workspace/predict.sh": 0o700})
    assert rules(contents, requires_root=True) == []


def test_an_image_with_its_own_command_may_have_an_entrypoint():
    assert rules(replace(GOOD, entrypoint=("python", "run.py")), command=None) == []


@pytest.mark.parametrize(
    "path",
    [
        "workspace/labelsTr/case_1.nii.gz",
        "data/labels/a.nii",
        "gt/a.nii.gz",
        "workspace/a_gt.nii.gz",
        "workspace/ground_truth/a.mha",
        "opt/groundtruth.nrrd",
        "workspace/Labels/A.NII.GZ",
        "data/masks/a.npz",
        "x/segmentation_mask.nii.gz",
    ],
)
def test_files_that_look_like_labels_are_an_error(path):
    assert rules(replace(GOOD, volumes=(path,))) == [("error", "labels")]


@pytest.mark.parametrize(
    "path", ["workspace/atlas.nii.gz", "workspace/example_0000.nii.gz", "x/length/a.nii"]
)
def test_other_volumes_are_a_warning(path):
    assert rules(replace(GOOD, volumes=(path,))) == [("warning", "images")]


def test_many_files_are_counted_and_a_few_are_named():
    (found,) = findings(replace(GOOD, volumes=tuple(f"labels/{number}.nii" for number in range(9))))
    assert "9 file(s)" in found.message
    assert found.message.endswith("labels/0.nii, labels/1.nii, labels/2.nii and 6 more")


def test_every_finding_says_how_to_mend_it():
    worst = replace(
        GOOD,
        platform="linux/arm64",
        user="",
        entrypoint=("a",),
        environment={"LD_PRELOAD": "x", "LD_LIBRARY_PATH": "y"},
        declared_volumes=("/d",),
        size_bytes=LARGE_BYTES * 2,
        modes={"/bin/bash": None, "/workspace/predict.sh": 0o600},
        volumes=("labels/a.nii", "b.nii"),
    )
    found = findings(worst)
    assert len(found) == 11
    assert all(each.mend for each in found)
