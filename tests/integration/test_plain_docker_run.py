"""What a submission's README prints under "By hand" works for root and for an ordinary user."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli.app import run
from harness.engine.docker import DockerEngine

SOCKET = Path("/var/run/docker.sock")

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(shutil.which("docker") is None, reason="NO docker COMMAND on this host"),
    pytest.mark.skipif(not SOCKET.is_socket(), reason=f"NO {SOCKET}, which users of its group may use"),
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: another user's folder cannot be made"),
]

SCRIPT = """
import shutil, sys
from pathlib import Path
for path in Path(sys.argv[1]).glob("*_0000.nii.gz"):
    shutil.copyfile(path, Path(sys.argv[2]) / path.name)
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a new submission and one input, which other users may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        monkeypatch.chdir(folder)
        (folder / "predict.py").write_text(SCRIPT)
        assert run(["new", "plain", "--script", "predict.py"]) == 0
        (folder / "inputs").mkdir()
        (folder / "inputs" / "c_0000.nii.gz").write_bytes(b"x")
        yield folder


@pytest.mark.parametrize("owner", [0, 54321])
def test_the_printed_lines_write_into_a_folder_of_mode_755(
    engine: DockerEngine, place: Path, owner: int
) -> None:
    readme = (place / "submissions" / "plain" / "README.md").read_text()
    build, *alone = re.findall(r"^    (.*)$", readme[readme.index("## By hand") :], re.MULTILINE)
    programs = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    image = subprocess.run(
        ["sh", "-euc", f'{build}\nprintf %s "$image"'],
        env=os.environ | programs,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    (place / "outputs").mkdir(mode=0o755)
    os.chown(place / "outputs", owner, SOCKET.stat().st_gid)
    try:
        subprocess.run(
            ["sh", "-euc", "\n".join(alone)],
            env=os.environ | {"image": image, "HOME": str(place)},
            user=owner,
            group=SOCKET.stat().st_gid,
            extra_groups=[],
            check=True,
        )
    finally:
        engine.client.images.remove(image)
    (written,) = (place / "outputs").iterdir()
    assert (written.name, written.stat().st_uid) == ("c.nii.gz", owner)
