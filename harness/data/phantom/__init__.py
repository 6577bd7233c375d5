"""Procedural CT phantoms of the abdomen: 13 organs and tumours, the embedded data set.

No file of any patient went into them. Coordinates are the patient's: x to the right, y to the front, z up,
in mm from the middle of the second lumbar vertebra.
"""

from harness.data.phantom.case import GENERATOR_VERSION, PhantomCase, make_case
from harness.data.phantom.write import write_dataset

__all__ = ["GENERATOR_VERSION", "PhantomCase", "make_case", "write_dataset"]
