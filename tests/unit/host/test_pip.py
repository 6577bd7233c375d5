"""docker/pip.py: what a site's pip configuration makes pip warn of is not shown; what went wrong is."""

import os
import subprocess
import sys
import zipfile


def pip(*arguments, repository, **environment):
    return subprocess.run(
        [sys.executable, str(repository / "docker" / "pip.py"), *arguments],
        env=os.environ | {"PIP_CONFIG_FILE": os.devnull} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def wheel(folder):
    """Write the smallest package there is."""
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_warnings_about_the_sites_configuration_do_not_reach_the_screen(repository, tmp_path):
    wheel(tmp_path)
    site = {"PIP_FIND_LINKS": f"{tmp_path} file://{tmp_path}/nowhere", "PIP_NO_INDEX": "1"}
    request = ["download", "--dest", str(tmp_path / "got"), "tiny"]
    plain = subprocess.run(
        [sys.executable, "-m", "pip", *request],
        env=os.environ | {"PIP_CONFIG_FILE": os.devnull} | site,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "WARNING" in plain.stderr
    done = pip(*request, repository=repository, **site)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "got" / "tiny-1.0-py3-none-any.whl").is_file()


def test_pips_own_errors_are_shown_and_its_exit_code_kept(repository, tmp_path):
    done = pip("install", "--no-index", "no-such-package", repository=repository)
    assert done.returncode == 1
    assert "No matching distribution found for no-such-package" in done.stderr
    assert "WARNING" not in done.stderr
