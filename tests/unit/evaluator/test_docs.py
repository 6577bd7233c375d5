"""The page about metrics names every one, and its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from volumes import box, save

from evaluator import METRICS
from evaluator.official import PROFILES


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_every_metric_and_profile_is_on_the_page(page: str) -> None:
    for name in (*METRICS, *PROFILES):
        base = re.sub("_(medium|large)$", "_small", name)
        assert f"`{base}`" in page, name


def test_every_defect_is_on_the_page(page: str) -> None:
    for profile in PROFILES.values():
        assert all(defect in page for defect in profile.defects), profile.name


def test_the_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reference = np.maximum(
        box((30, 30, 12), (5, 5, 2), (20, 20, 9)), box((30, 30, 12), (8, 8, 4), (12, 12, 6), 2)
    )
    for side, array in (("labels", reference), ("predictions", np.roll(reference, 1, axis=0))):
        save(tmp_path / side / "a.nii.gz", array, (0.8, 0.8, 2.5))
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) >= 5
    for example in examples:
        exec(compile(example, "docs/metrics.md", "exec"), {"__name__": "example"})
