"""segkit.training.phantoms: stores, and what a network is shown of them."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # tiny patches: threads only wait for each other

from segkit.errors import SegkitError
from segkit.plan import Intensity
from segkit.training.phantoms import intensity, space
from segkit.training.phantoms.render import Renderer, Rendering
from segkit.training.phantoms.store import BODY, read_store, read_volume, write_volume

from .phantom_stores import CPU, WINDOW, make_arrays, make_store, rendering


@pytest.fixture
def store(tmp_path):
    """Three volumes of 3 x 2 x 2 mm."""
    return make_store(tmp_path / "store")


def rendered(store, count=6, **changes):
    renderer = Renderer(read_store([store]), rendering(**changes), device=CPU, seed=3)
    return [renderer.sample(number) for number in range(count)]


def test_a_volume_comes_back_from_its_store_cropped_to_the_body(tmp_path):
    hu, labels = make_arrays((24, 60, 64))
    wide = np.full((24, 200, 200), -1000, dtype=np.int16), np.zeros((24, 200, 200), dtype=np.uint8)
    wide[0][:, 60:120, 70:134], wide[1][:, 60:120, 70:134] = hu, labels
    # Turned views must be stored as they look, not as they lie in memory.
    write_volume(
        tmp_path / "case.safetensors", wide[0][::-1], wide[1][::-1], (3.0, 2.0, 2.0), kind="phantom", facts={}
    )
    volume = read_volume(tmp_path / "case.safetensors")
    assert volume.hu.shape[1] < 100
    assert volume.labels.shape == volume.hu.shape
    assert int((volume.labels == 1).sum()) == int((labels == 1).sum())
    assert (volume.hu[volume.labels == 2] == 120).all()
    assert volume.medians_hu == {1: 60.0, 2: 120.0}


def test_places_lie_in_their_labels(store):
    volume = read_store([store])[0]
    assert set(volume.places) == {1, 2, BODY}
    for label in (1, 2):
        assert all(volume.labels[tuple(place)] == label for place in volume.places[label])
    assert all(volume.hu[tuple(place)] > -500 for place in volume.places[BODY])


def test_a_damaged_volume_is_refused_with_a_mend(store):
    (store / "case1.safetensors").write_bytes(b"no tensors")
    with pytest.raises(SegkitError, match=r"case1.*make the store anew"):
        read_store([store])


def test_the_same_number_gives_the_same_patch_and_another_one_another(store):
    first, again, other = rendered(store)[2], rendered(store)[2], rendered(store)[3]
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_left_stays_left_however_a_patch_is_turned(store):
    seen = 0
    for _, labels in rendered(store, 40, patch=(24, 40, 44)):
        columns = [torch.nonzero(labels == label)[:, 2].float() for label in (1, 2)]
        if all(len(column) > 50 for column in columns):
            assert columns[0].mean() < columns[1].mean()
            seen += 1
    assert seen > 10


def test_a_straight_patch_shows_the_volume_as_it_is(store):
    plain = rendering(
        patch=(24, 40, 44),
        deformation=space.STRAIGHT,
        randomisation=intensity.Randomisation(
            **{**vars(intensity.PLAIN), "blur_voxels": 0.0, "noise_sd_hu": (0.001, 0.002)}
        ),
        sampling=space.Sampling(slabs=0.0),
    )
    volume = read_store([store])[0]
    image, labels = Renderer([volume], plain, device=CPU, seed=1).sample(0)
    expected = (volume.hu.float().clamp(-200, 300) - 40) / 60
    assert labels.shape == (24, 40, 44)
    middle = tuple(slice((have - 20) // 2, (have + 20) // 2) for have in volume.hu.shape)
    centre = tuple(slice((have - 20) // 2, (have + 20) // 2) for have in labels.shape)
    assert torch.equal(labels[centre], volume.labels[middle])
    assert (image[centre] - expected[middle]).abs().max() < 0.01


def test_tissues_without_a_label_move_apart():
    fat_minus_muscle = []
    for seed in range(60):
        table, _ = intensity.draw_table(
            np.random.default_rng(seed),
            intensity.Randomisation(scrambled=0, synthetic=0, unchanged=0, erase=0),
            {},
        )
        fat, muscle = table[0][-100 - intensity.LOWEST_HU], table[0][50 - intensity.LOWEST_HU]
        fat_minus_muscle.append(fat - muscle)
    # One shift for all background would leave their difference at exactly -150.
    assert np.std(fat_minus_muscle) > 15


def test_air_stays_air_in_every_drawing():
    for seed in range(30):
        table, _ = intensity.draw_table(
            np.random.default_rng(seed), intensity.Randomisation(erase=0), {1: 60.0}
        )
        assert np.allclose(table[:, -1000 - intensity.LOWEST_HU], -1000)


def test_random_convolutions_keep_strength_and_edges_and_change_contrast():
    image = torch.ones(16, 16, 40)
    image[:, :, 20:] = -1.5
    random = torch.Generator().manual_seed(3)
    contrasts = []
    for _ in range(6):
        changed = intensity.randomly_convolved(image, random)
        assert changed.shape == image.shape
        assert float(changed.norm()) == pytest.approx(float(image.norm()), rel=1e-3)
        left, right = changed[5:11, 5:11, 5:15], changed[5:11, 5:11, 25:35]
        # What is flat stays flat, away from its border.
        assert max(float(left.std()), float(right.std())) < 1e-3
        contrasts.append(float(left.mean() - right.mean()))
    assert np.std(contrasts) > 0.05


def test_noise_of_real_scans_replaces_the_drawn_one_in_its_share(store, tmp_path):
    rng = np.random.default_rng(0)
    hu, labels = make_arrays()
    grain = np.rint(rng.normal(0, 20, hu.shape)).astype(np.int16)
    scans = tmp_path / "scans"
    scans.mkdir()
    for number, array in enumerate((hu, hu + grain)):
        write_volume(scans / f"scan{number}.safetensors", array, labels, (3.0, 2.0, 2.0), kind="ct", facts={})
    smooth, noisy = read_store([scans])
    found = intensity.residual(noisy.hu)
    assert 12 < float(found[found != 0].std()) < 25
    assert float(intensity.residual(smooth.hu).abs().max()) < 12  # organs' borders are 160 HU
    draw = np.random.default_rng(1)
    assert intensity.patch_of_residual(found, (50, 60, 7), draw).shape == (50, 60, 7)

    def sds(share):
        # Scans without noise: whoever takes theirs has none.
        quiet = {"real_noise": share, "texture_sd_hu": 0.0, "streaks": 0.0, "noise_sd_hu": (40.0, 45.0)}
        rendering = Rendering(
            patch=(12, 20, 20),
            spacing_mm=(3.0, 2.0, 2.0),
            window=Intensity(**WINDOW),
            randomisation=intensity.Randomisation(**{**vars(intensity.PLAIN), **quiet}),
        )
        renderer = Renderer(read_store([store]), rendering, device=CPU, seed=1, noise_from=[smooth])
        return [float(renderer.sample(number)[0].diff(dim=2).abs().median()) for number in range(6)]

    assert max(sds(1.0)) < 1e-4 < 0.1 < max(sds(0.0))


def test_an_erased_organ_loses_its_label_and_its_intensity(store):
    always = intensity.Randomisation(**{**vars(intensity.PLAIN), "erase": 1.0})
    for image, labels in rendered(
        store, 12, randomisation=always, deformation=space.STRAIGHT, patch=(24, 40, 44)
    ):
        assert len(set(labels.unique().tolist()) & {1, 2}) <= 1
        assert torch.isfinite(image).all()


def test_what_was_not_scanned_is_zero_and_background(store):
    short = space.Sampling(slabs=1.0)
    heights = []
    for image, labels in rendered(store, 30, patch=(64, 24, 24), sampling=short):
        empty = (image == 0).flatten(1).all(dim=1)
        assert not labels[empty].any()
        heights.append(int((~empty).sum()))
    assert min(heights) < 20 < max(heights) <= 52


def test_the_whole_volume_is_seen_at_any_size(store):
    whole = space.Sampling(whole=True)
    found = [
        labels.unique().tolist() for _, labels in rendered(store, 20, patch=(16, 16, 16), sampling=whole)
    ]
    assert sum({1, 2} <= set(values) for values in found) > 10


def test_real_scans_keep_their_intensities(tmp_path):
    folder = tmp_path / "cts"
    folder.mkdir()
    hu, labels = make_arrays()
    write_volume(folder / "ct.safetensors", hu, labels, (3.0, 2.0, 2.0), kind="ct", facts={})
    still = intensity.Randomisation(thick_slices=0.0, gain=0.0, shift_hu=0.0)
    image, seen = rendered(folder, 1, patch=(24, 40, 44), randomisation=still, deformation=space.STRAIGHT)[0]
    assert image[seen == 1].median() == pytest.approx((60 - 40) / 60, abs=0.3)


def test_outputs_follow_the_recipe(store):
    as_one = tuple(int(label > 0) for label in range(15))
    assert {int(v) for _, labels in rendered(store, outputs=as_one) for v in labels.unique()} == {0, 1}
