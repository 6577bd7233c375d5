"""Write a notebook beside each example: the same cells, without outputs. A test holds that they agree.

usage: python docs/examples/notebooks.py
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

FOLDER = Path(__file__).parent
NOT_EXAMPLES = {"notebooks.py"}


def notebook_of(script: Path) -> str:
    """Return a notebook (nbformat 4.5) of a script whose cells begin with `# %%`; its docstring is text."""
    text = script.read_text(encoding="utf-8")
    title = ast.get_docstring(ast.parse(text)) or script.stem
    _, *code = text.split("\n# %%")
    cells = [_cell("markdown", f"# {script.stem.replace('_', ' ').capitalize()}\n\n{title}", script, 0)]
    for number, part in enumerate(code, start=1):
        words, _, source = part.partition("\n")
        source = f"# {words.strip()}\n{source}" if words.strip() else source
        cells.append(_cell("code", source.strip("\n"), script, number))
    notebook = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def examples() -> list[Path]:
    """Return the scripts that are examples; the one that makes the data first."""
    scripts = [path for path in sorted(FOLDER.glob("*.py")) if path.name not in NOT_EXAMPLES]
    return sorted(scripts, key=lambda path: path.name != "example_data.py")


def _cell(kind: str, source: str, script: Path, number: int) -> dict[str, object]:
    cell: dict[str, object] = {
        "cell_type": kind,
        "id": f"{script.stem.replace('_', '-')}-{number}",
        "metadata": {},
        "source": source.splitlines(keepends=True),
    }
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


if __name__ == "__main__":
    for example in examples():
        example.with_suffix(".ipynb").write_text(notebook_of(example), encoding="utf-8")
