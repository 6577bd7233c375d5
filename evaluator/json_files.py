"""JSON files that others wrote: read as what is wanted of them, or refused with one clear error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from evaluator.errors import MissingFileError, RequestError

T = TypeVar("T")


def read_json(path: Path, make: Callable[[Any], T], *, what: str, mend: str = "") -> T:
    """Return what is made of a JSON file.

    Args:
        path: The file, in UTF-8.
        make: Makes what is wanted of the content. It may take the content for what it should be: whatever it
            stumbles over becomes the error.
        what: The file in words, for errors: "the scoring rules".
        mend: What gives a file that is as it should be.

    Raises:
        MissingFileError: The file cannot be read.
        RequestError: It is no JSON, or not as `make` takes it.
    """
    try:
        return make(json.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise MissingFileError(f"cannot read {what}: {error.strerror}", where=path) from error
    except json.JSONDecodeError as error:
        raise RequestError(f"{what}: the file is no JSON: {error}", where=path, mend=mend) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(
            f"{what}: the file is not as expected: {type(error).__name__}: {error}", where=path, mend=mend
        ) from error
