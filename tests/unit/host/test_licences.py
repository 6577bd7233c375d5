"""Every dependency's licence is listed, and one that is unknown or not free is an error."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "docker" / "licences.py"


@pytest.fixture(scope="module")
def licences():
    spec = importlib.util.spec_from_file_location("licences", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_package_of_this_environment_has_a_free_licence(licences, capsys):
    assert licences.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split("\t")[0].lower() for line in lines}
    assert {"numpy", "numba", "docker", "pydantic", "typer", "simpleitk"} <= listed
    assert not any(line.endswith("UNKNOWN") for line in lines)


@pytest.mark.parametrize("licence", ["", "License: Proprietary\n", "License: permitted for members only\n"])
def test_a_wheel_without_a_free_licence_is_told_of(licences, tmp_path, capsys, licence):
    with zipfile.ZipFile(tmp_path / "secret-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("secret-1.dist-info/METADATA", f"Name: secret\nVersion: 1\n{licence}")
    assert licences.main([str(tmp_path)]) == 1
    assert "secret" in capsys.readouterr().err
