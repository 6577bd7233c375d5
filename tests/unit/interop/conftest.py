"""A challenge, its data and a platform's folders, for the tests of every platform."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluator.platforms.rules import rules_to_json
from harness.challenge import load_challenge
from harness.data.dataset import open_dataset
from harness.interop.platform_rules import platform_rules
from tests.unit.interop.platform_files import (
    challenge_file,
    labels,
    write_dataset,
)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """A challenge's rules, its ground truth as unpacked from a tarball, and the platform's folders."""
    data = write_dataset(
        tmp_path / "data",
        {"a": labels(), "b": labels(), "c": labels(cartilage=False), "d": labels(), "e": labels()},
    )
    toml = challenge_file(tmp_path)
    rules = tmp_path / "rules.json"
    rules.write_text(rules_to_json(platform_rules(load_challenge(str(toml)), open_dataset(data))))
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
    return {
        "data": data,
        "toml": toml,
        "rules": rules,
        "truth": data / "labelsVal",
        "input": tmp_path / "input",
        "output": tmp_path / "output",
    }
