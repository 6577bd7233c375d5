"""Procedural CT phantoms of the abdomen: 13 organs and tumours, the embedded data set.

No file of any patient went into them. Coordinates are the patient's: x to the right, y to the front, z up,
in mm from the middle of the second lumbar vertebra.
"""

from typing import TYPE_CHECKING, Any

from harness.data.phantom.case import GENERATOR_VERSION, PhantomCase, make_case

if TYPE_CHECKING:
    from harness.data.phantom.write import write_dataset

__all__ = ["GENERATOR_VERSION", "PhantomCase", "make_case", "write_dataset"]


def __getattr__(name: str) -> Any:
    """Import the writer when it is asked for: making phantoms needs no SimpleITK, writing NIfTI does."""
    if name != "write_dataset":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from harness.data.phantom.write import write_dataset

    return write_dataset
