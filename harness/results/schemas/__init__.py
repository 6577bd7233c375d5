"""The JSON Schemas of the results format, exported. `python -m harness.results.schemas` writes them anew."""

from __future__ import annotations

import json
from pathlib import Path

from harness.results.records import json_schemas

FOLDER = Path(__file__).parent


def schema_texts() -> dict[str, str]:
    """Return the content of each schema file by name, as the records define it now."""
    return {
        name: json.dumps(schema, indent=2, sort_keys=True) + "\n" for name, schema in json_schemas().items()
    }
