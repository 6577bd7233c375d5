"""Make the folders that the examples read: phantoms, and two made-up methods that miss them a little.

usage: python docs/examples/example_data.py       writes example/labels, example/method_a and example/method_b
"""

# %%
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from harness.data.phantom import write_dataset

write_dataset(Path("example/data"), cases=6, seed=7, shape=(64, 64, 40))


def spoiled(labels: np.ndarray, *, shift: int, seed: int) -> np.ndarray:
    """Return labels moved along x and with a rough border, as no method would hand in."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=labels.shape), 1.5)
    kept = np.where(noise > -0.1, np.roll(labels, shift, axis=0), 0)
    return kept.astype(np.uint8)


# %%
for seed, path in enumerate(sorted(Path("example/data/labelsVal").glob("*.nii.gz"))):
    image = nib.load(path)
    labels = np.asarray(image.dataobj)
    made = {
        "labels": labels,
        "method_a": spoiled(labels, shift=0, seed=seed),
        "method_b": spoiled(labels, shift=1, seed=seed),
    }
    for folder, array in made.items():
        target = Path("example") / folder / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array.astype(np.uint8), image.affine), target)
