"""The results format on disk is the one that is documented."""

from __future__ import annotations

from harness.results.schemas import FOLDER, schema_texts


def test_the_exported_schemas_are_those_of_the_records() -> None:
    exported = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    assert exported == schema_texts(), "run `python -m harness.results.schemas` and review what changed"
