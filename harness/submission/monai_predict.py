"""The predict script that `harness new --from-monai` writes; it runs in the container, where torch is."""

PREDICT_PY = '''\
"""Run a MONAI bundle's TorchScript network on every case of a folder: python3 predict.py INPUTS OUTPUTS.

settings.json holds what the bundle's inference.json says. Arrays are (channel, x, y, z), as MONAI has them.
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "settings.json").read_text())


def resampled(image, like, nearest=False):
    """Return an image on the grid of another; beyond its last voxels it goes on with them."""
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(like)
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
    resampler.SetUseNearestNeighborExtrapolator(True)
    return resampler.Execute(image)


def respaced(image, spacing_mm):
    """Return an image with another voxel size; the centre of its first voxel stays, as in MONAI."""
    sizes = zip(image.GetSize(), image.GetSpacing(), spacing_mm)
    size = [int(np.round((count - 1) * have / want + 1)) for count, have, want in sizes]
    grid = sitk.Image(size, sitk.sitkUInt8)
    grid.SetSpacing([float(each) for each in spacing_mm])
    grid.SetOrigin(image.GetOrigin())
    grid.SetDirection(image.GetDirection())
    return resampled(image, grid)


def scaled_range(array, step):
    """ScaleIntensityRanged."""
    low, high = step.get("b_min"), step.get("b_max")
    array = (array - step["a_min"]) / (step["a_max"] - step["a_min"])
    if low is not None and high is not None:
        array = array * (high - low) + low
    return np.clip(array, low, high) if step.get("clip") else array


def scaled(array, step):
    """ScaleIntensityd: the smallest and the largest value become the two that are named."""
    low, high = step.get("minv", 0.0), step.get("maxv", 1.0)
    width = array.max() - array.min()
    return (array - array.min()) / width * (high - low) + low if width else array * low


def normalised(array, step):
    """NormalizeIntensityd: mean 0 and standard deviation 1, of all voxels or of those that are not 0."""
    if step.get("channel_wise") and len(array) > 1:
        plain = {**step, "channel_wise": False}
        return np.concatenate([normalised(each[None], plain) for each in array])
    inside = array != 0 if step.get("nonzero") else np.ones(array.shape, bool)
    result = array.copy()
    if inside.any():
        result[inside] = (array[inside] - array[inside].mean()) / (array[inside].std() or 1.0)
    return result


INTENSITY = {
    "ScaleIntensityRanged": scaled_range,
    "ScaleIntensityd": scaled,
    "NormalizeIntensityd": normalised,
}


def prepared(images):
    """Return the network's input as float32 (channel, x, y, z), and an image of its grid."""
    for step in SETTINGS["steps"]:
        if step["step"] == "Orientationd":
            images = [sitk.DICOMOrient(image, step["axcodes"]) for image in images]
        elif step["step"] == "Spacingd":
            images = [respaced(image, step["pixdim"]) for image in images]
        else:
            array = INTENSITY[step["step"]](arrays(images), step).astype(np.float32)
            images = [image_of(each, images[0]) for each in array]
    return arrays(images), images[0]


def arrays(images):
    return np.stack([sitk.GetArrayFromImage(image).transpose(2, 1, 0) for image in images])


def image_of(array, like):
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.CopyInformation(like)
    return image


def weights_of(window):
    """Return how much each voxel of a window counts where windows overlap."""
    weights = np.ones(window["roi"], np.float32)
    if window["mode"] == "gaussian":
        for axis, size in enumerate(window["roi"]):
            distance = np.arange(size) - (size - 1) / 2
            profile = np.exp(-0.5 * (distance / (0.125 * size)) ** 2)
            weights *= profile.reshape([-1 if axis == other else 1 for other in range(3)]).astype(np.float32)
        weights = np.maximum(weights, 1e-3)
    return weights


def scores_of(array, network):
    """Return the network's output (class, x, y, z), averaged over windows that overlap."""
    window = SETTINGS["window"]
    roi, weights = window["roi"], weights_of(window)
    missing = [max(0, least - size) for least, size in zip(roi, array.shape[1:])]
    before = [gap // 2 for gap in missing]
    padded = np.pad(array, [(0, 0), *((low, gap - low) for low, gap in zip(before, missing))])
    starts = [
        [*range(0, size - length, max(1, int(length * (1 - window["overlap"])))), size - length]
        for size, length in zip(padded.shape[1:], roi)
    ]
    total = np.zeros((SETTINGS["classes"], *padded.shape[1:]), np.float32)
    seen = np.zeros(padded.shape[1:], np.float32)
    for corner in itertools.product(*starts):
        where = tuple(slice(start, start + length) for start, length in zip(corner, roi))
        with torch.inference_mode():
            found = network(torch.from_numpy(padded[(slice(None), *where)][None].copy()))
        found = found[0] if isinstance(found, (tuple, list)) else found
        total[(slice(None), *where)] += found[0].float().numpy() * weights
        seen[where] += weights
    total /= seen
    inner = tuple(slice(low, low + size) for low, size in zip(before, array.shape[1:]))
    return total[(slice(None), *inner)]


def labels_of(scores, grid, image):
    """Return the label map of the image that was read."""
    kind = np.uint8 if SETTINGS["classes"] <= 256 else np.uint16
    if SETTINGS["softmax"]:
        scores = torch.softmax(torch.from_numpy(scores), dim=0).numpy()
    if SETTINGS["labels_first"]:
        return resampled(image_of(scores.argmax(axis=0).astype(kind), grid), image, nearest=True)
    best, labels = None, None
    for label, score in enumerate(scores):  # one class at a time, for the memory of large images
        back = sitk.GetArrayFromImage(resampled(image_of(score, grid), image))
        if best is None:
            best, labels = back, np.zeros(back.shape, kind)
        else:
            labels[back > best] = label
            best = np.maximum(best, back)
    result = sitk.GetImageFromArray(labels)
    result.CopyInformation(image)
    return result


def main(inputs, outputs):
    network = torch.jit.load(str(HERE / "model.ts"), map_location="cpu").eval()
    for first in sorted(inputs.glob("*_0000.nii.gz")):
        case = first.name.removesuffix("_0000.nii.gz")
        paths = [inputs / f"{case}_{number:04d}.nii.gz" for number in range(SETTINGS["channels"])]
        images = [sitk.ReadImage(str(path), sitk.sitkFloat32) for path in paths]
        array, grid = prepared(images)
        labels = labels_of(scores_of(array, network), grid, images[0])
        sitk.WriteImage(labels, str(outputs / f"{case}.nii.gz"))
        print(case, "done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
'''
