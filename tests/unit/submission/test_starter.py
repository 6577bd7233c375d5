"""A new submission is complete: it opens, its predict.sh runs, and what cannot be is refused in one line."""

import os
import subprocess
import sys

import pytest

from harness.errors import ConfigurationError
from harness.submission.find import find
from harness.submission.starter import from_script, from_template

COPIES = """import shutil, sys
from pathlib import Path
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
for path in Path(arguments["-i"]).glob("*.nii.gz"):
    shutil.copy(path, Path(arguments["-o"]) / path.name)
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(COPIES)
    return path


def predict(folder, tmp_path):
    """Run a submission's predict.sh on one file and return what it wrote."""
    inputs, outputs, programs = (tmp_path / name for name in ("in put", "out put", "programs"))
    for place in (inputs, outputs, programs):
        place.mkdir()
    (programs / "python3").symlink_to(sys.executable)
    (inputs / "c_0000.nii.gz").write_bytes(b"x")
    paths = {"FLARE_INPUTS": str(inputs), "FLARE_OUTPUTS": str(outputs)}
    environment = os.environ | paths | {"PATH": f"{programs}:{os.environ['PATH']}"}
    subprocess.run(["sh", str(folder / "predict.sh")], check=True, env=environment)
    return sorted(path.name for path in outputs.iterdir())


def test_a_template_is_a_whole_submission(tmp_path):
    folder = from_template("mine", tmp_path)
    assert find("mine", tmp_path).manifest.name == "mine"
    compile((folder / "predict.py").read_text(), "predict.py", "exec")
    assert os.access(folder / "predict.sh", os.X_OK)
    assert "predict.py" in (folder / "Dockerfile").read_text()


def test_a_script_is_called_as_said_and_its_outputs_get_their_names(tmp_path, script):
    folder = from_script("mine", tmp_path / "s", script, arguments="-i {inputs} -o {outputs}")
    assert predict(folder, tmp_path) == ["c.nii.gz"]


def test_weights_and_requirements_go_along(tmp_path, script):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "a.bin").write_bytes(b"1")
    needed = tmp_path / "needed.txt"
    needed.write_text("monai==1.5.0\n")
    folder = from_script("mine", tmp_path / "s", script, weights=[tmp_path / "w"], requirements=needed)
    recipe = (folder / "Dockerfile").read_text()
    assert (folder / "w" / "a.bin").read_bytes() == b"1"
    assert 'COPY ["w", "./w"]' in recipe
    assert "pip install" in recipe
    assert find("mine", tmp_path / "s").manifest.build_network


@pytest.mark.parametrize("name", ["Mine", "a b", "../x", "", "x" * 65])
def test_a_name_that_no_image_can_bear_is_refused(tmp_path, name):
    with pytest.raises(ConfigurationError, match="is no name of a submission"):
        from_template(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_written_over(tmp_path, script):
    from_template("mine", tmp_path)
    before = (tmp_path / "mine" / "predict.py").read_text()
    with pytest.raises(ConfigurationError, match="there is a submission of that name"):
        from_script("mine", tmp_path, script)
    assert (tmp_path / "mine" / "predict.py").read_text() == before


@pytest.mark.parametrize("arguments", ["", "{inputs}", "{in} {outputs}"])
def test_arguments_that_lead_nowhere_are_refused(tmp_path, script, arguments):
    with pytest.raises(ConfigurationError, match="do not say where"):
        from_script("mine", tmp_path / "s", script, arguments=arguments)


def test_missing_files_are_named(tmp_path, script):
    with pytest.raises(ConfigurationError, match="there is no such file"):
        from_script("mine", tmp_path, tmp_path / "none.py")
    with pytest.raises(ConfigurationError, match="there is no such file"):
        from_script("mine", tmp_path, script, weights=[tmp_path / "none"])
