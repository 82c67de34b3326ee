"""Training really learns, survives a stop, and never shows a test set to the model."""

from __future__ import annotations

import json
import math

import cv2
import naive
import numpy as np
import pytest
import torch
from fakes import picture
from pycocotools import mask as coco_mask

from clickcut_train.data import Photo, read_coco, read_voc
from clickcut_train.fit import Recipe, Run, fit, read_photos, to_batch
from clickcut_train.losses import normalised_focal_loss
from clickcut_train.model import ClickFCN, Trunk, load_fused_trunk, restore_batchnorm
from clickcut_train.samples import disc_channel, draw

RECIPE = Recipe(
    size=64,
    batch=4,
    samples=480,
    warmup=16,
    pool=8,
    width=16,
    lr=3e-3,
    ema=0.9,
    trunk_lr=1.0,
    decay=0.3,
)


def photo(seed=0):
    image = picture(seed=seed)
    ellipse = (image[..., 0] > 150).astype(np.uint8)
    box = (image[..., 2] > 150).astype(np.uint8)
    encoded = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    rles = tuple(coco_mask.encode(np.asfortranarray(m)) for m in (ellipse, box))
    return Photo(f"photo{seed}", encoded, rles, None)


@pytest.fixture(autouse=True)
def _determinate():
    torch.manual_seed(0)
    torch.set_num_threads(1)  # networks this small are slower on several


def test_seconds_of_training_learn_to_select_what_is_clicked(tmp_path):
    photos = [photo(s) for s in range(3)]
    run = Run(RECIPE, tmp_path)
    run.prepare()
    fit(run, photos, np.full(3, 1 / 3))
    assert run.seen == 480
    run.average.eval()
    rng = np.random.default_rng(7)
    ious = []
    for _ in range(12):
        sample = draw(photos, np.full(3, 1 / 3), 64, rng)
        with torch.no_grad():
            x, target, _ = to_batch([sample], RECIPE.disc_radius)
            selected = run.average(x)[0, 0] > 0
        wanted = target[0] > 0
        ious.append(((selected & wanted).sum() / (selected | wanted).sum()).item())
    assert np.mean(ious) > 0.6


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    run = Run(Recipe(**{**vars(RECIPE), "samples": 16}), tmp_path)
    run.prepare()
    fit(run, [photo()], np.ones(1))
    again = Run(RECIPE, tmp_path)
    again.load(tmp_path / "last.pt")
    assert again.seen == 16
    for a, b in zip(run.model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(run.average.parameters(), again.average.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    moments = [s["exp_avg"] for s in again.optimiser.state.values()]
    assert moments
    assert not list(tmp_path.glob("*.partial"))


def test_a_loss_that_is_not_finite_stops_with_advice(tmp_path):
    run = Run(RECIPE, tmp_path)
    run.prepare()
    x = torch.full((2, 6, 64, 64), math.nan)
    with pytest.raises(FloatingPointError, match="lower --lr"):
        run.step(x, torch.zeros(2, 64, 64), torch.ones(2, 64, 64))


def test_the_focal_loss_ignores_what_is_not_valid():
    logits = torch.randn(2, 8, 8)
    target = (torch.rand(2, 8, 8) > 0.5).float()
    valid = (torch.rand(2, 8, 8) > 0.3).float()
    changed = torch.where(valid > 0, logits, torch.randn(2, 8, 8) * 9)
    expected = normalised_focal_loss(logits, target, valid)
    torch.testing.assert_close(normalised_focal_loss(changed, target, valid), expected)


def test_the_focal_loss_equals_its_definition():
    rng = np.random.default_rng(0)
    z, t = rng.normal(size=(3, 5)), rng.random((3, 5)) > 0.5
    p = 1 / (1 + np.exp(-z))
    p_true = np.where(t, p, 1 - p)
    weight = (1 - p_true) ** 2
    expected = 2 * 0.5 * (weight * -np.log(p_true)).sum() / weight.sum()
    got = normalised_focal_loss(
        torch.tensor(z)[None], torch.tensor(t, dtype=torch.float32)[None], torch.ones(1, 3, 5)
    )
    assert got.item() == pytest.approx(expected, rel=1e-4)


def test_click_channels_start_at_zero(shared_weights):
    path = shared_weights / "deeplab_v3_mobilenet_v2_voc21_fused.pth"
    trunk = Trunk(6)
    load_fused_trunk(trunk, path)
    first = trunk.features[0][0].weight
    assert (first[:, 3:] == 0).all()
    assert (first[:, :3] != 0).any()
    x = torch.randn(2, 6, 64, 64)
    other = x.clone()
    other[:, 3:] = 7
    trunk.eval()
    with torch.no_grad():
        for a, b in zip(trunk(x), trunk(other), strict=True):
            torch.testing.assert_close(a, b)


def test_restoring_batchnorm_leaves_the_function_as_it_was(shared_weights):
    trunk = Trunk(6)
    load_fused_trunk(trunk, shared_weights / "deeplab_v3_mobilenet_v2_voc21_fused.pth")
    x = torch.rand(4, 6, 64, 64) * 2 - 1
    trunk.eval()
    with torch.no_grad():
        before = trunk(x)
        restore_batchnorm(trunk, x)
        trunk.eval()
        for a, b in zip(before, trunk(x), strict=True):
            torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-3)


def test_wrong_weight_files_are_errors(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"backbone.features.0.0.weight": torch.zeros(32, 3, 3, 3)}, path)
    with pytest.raises(ValueError, match="has no tensor"):
        load_fused_trunk(Trunk(6), path)


def test_the_network_takes_any_size_divisible_by_32():
    model = ClickFCN(width=16).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 6, 64, 96)).shape == (1, 1, 64, 96)


def test_discs_equal_their_definition():
    points = [(0, 0), (10, 5), (15, 15)]
    np.testing.assert_array_equal(disc_channel(points, 16, 3), naive.disc_map((16, 16), points, 3))


def test_samples_hold_a_target_and_clicks_of_the_right_sign():
    rng = np.random.default_rng(0)
    for _ in range(40):
        sample = draw([photo()], np.ones(1), 64, rng)
        assert sample.target.any()
        assert sample.image.shape == (64, 64, 3)
        if not sample.probability.any():
            assert all(sample.target[y, x] for x, y in sample.positive)
            assert not any(sample.target[y, x] for x, y in sample.negative)


def test_voc_tree_is_read_by_instance(tmp_path):
    from PIL import Image

    ids = np.zeros((60, 80), np.uint8)
    ids[5:35, 5:35], ids[5:35, 40:75], ids[36:38] = 1, 2, 255
    for folder in ("JPEGImages", "SegmentationObject", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    image = Image.fromarray(ids).convert("P")
    image.putpalette(_voc_palette())
    image.frombytes(ids.tobytes())
    image.save(tmp_path / "SegmentationObject/a.png")
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / "JPEGImages/a.jpg")
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\n")
    (only,) = read_voc(tmp_path, ("train",))
    np.testing.assert_array_equal(only.masks(), np.stack([ids == 1, ids == 2]))
    np.testing.assert_array_equal(only.void_mask(), ids == 255)


def _voc_palette():
    palette = []
    for i in range(256):
        r = g = b = 0
        for j in range(8):
            r |= ((i >> 3 * j) & 1) << (7 - j)
            g |= ((i >> 3 * j + 1) & 1) << (7 - j)
            b |= ((i >> 3 * j + 2) & 1) << (7 - j)
        palette += [r, g, b]
    return palette


def test_coco_instances_are_read_without_crowds(tmp_path):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images/a.jpg"), np.zeros((50, 60, 3), np.uint8))
    square = [[5.0, 5.0, 45.0, 5.0, 45.0, 45.0, 5.0, 45.0]]
    document = {
        "images": [{"id": 3, "file_name": "a.jpg", "width": 60, "height": 50}],
        "annotations": [
            {"image_id": 3, "segmentation": square, "iscrowd": 0},
            {"image_id": 3, "segmentation": square, "iscrowd": 1},
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(document))
    (only,) = read_coco(tmp_path)
    masks = only.masks()
    assert masks.shape == (1, 50, 60)
    assert masks[0, 20, 20] == 1
    assert masks.sum() == pytest.approx(1600, rel=0.05)


def test_training_reads_no_test_set(shared_data):
    photos, weights = read_photos(shared_data, 2.0)
    assert weights.sum() == pytest.approx(1)
    val = (shared_data / "voc/ImageSets/Segmentation/val.txt").read_text().split()
    dev = {p.stem.split("_")[-1] for p in (shared_data / "coco_mval_dev/images").glob("*")}
    names = {p.name.removesuffix(".jpg") for p in photos}
    assert not names & set(val)
    assert not names & dev
