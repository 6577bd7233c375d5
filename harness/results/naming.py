"""What every run record begins with, whether an image ran or numbers came from elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from harness.data.dataset import Dataset
from harness.results.records import DatasetFacts


def run_name(identity: Mapping[str, Any]) -> str:
    """Return a run's name: a hash over all that, changed, would make it another run."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def dataset_facts(dataset: Dataset, fingerprint: str) -> DatasetFacts:
    """Return what a run keeps of its data set; `fingerprint` is the data set's, hashed by the caller."""
    return DatasetFacts(
        name=dataset.name,
        fingerprint=fingerprint,
        cases=tuple(case.id for case in dataset.cases),
        annotated={case.id: case.annotated for case in dataset.cases if case.annotated is not None},
    )
