"""A short fuzz of the gate, and everything that a long one ever found. See gate_fuzz.py."""

from __future__ import annotations

import random
from pathlib import Path

from gate_fuzz import judge_all, mutations, seeds

CORPUS = Path(__file__).parent / "corpus"


def test_the_gate_stands_mutated_files(tmp_path: Path) -> None:
    passed, _, _, findings = judge_all(mutations(random.Random(20), 250), tmp_path)
    assert [finding.what for finding in findings] == []
    assert passed > 15, "mutations that never pass test too little"


def test_the_gate_stands_what_once_broke_it(tmp_path: Path) -> None:
    files = [path.read_bytes() for path in sorted(CORPUS.glob("*.bin"))]
    _, _, _, findings = judge_all(iter(files), tmp_path)
    assert [finding.what for finding in findings] == []


def test_every_honest_seed_is_judged_on_its_merits(tmp_path: Path) -> None:
    passed, _, _, findings = judge_all(iter(seeds()), tmp_path)
    assert findings == []
    assert passed == len(seeds()) - 1, "all but the scaled one, whose values are no whole numbers"
