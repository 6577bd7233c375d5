"""Write the schema files: `python -m harness.results.schemas`."""

from __future__ import annotations

from harness.results.schemas import FOLDER, schema_texts

for name, text in schema_texts().items():
    (FOLDER / name).write_text(text)
