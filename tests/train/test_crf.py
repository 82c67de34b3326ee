"""The learned CRF: its layers are those of the baseline, and learning lowers the loss."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from clickcut_eval.methods.dense_crf import DenseCrf, Filters  # noqa: E402
from clickcut_train.cli import app  # noqa: E402
from clickcut_train.crf import ITERATIONS, Labelled, MeanField, learn, mean_iou  # noqa: E402
from clickcut_train.errors import ConfigError  # noqa: E402

SIDE, LABELS = 24, 21


def scene(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two classes of different colour, and noisy probabilities of them."""
    rng = np.random.default_rng(seed)
    classes = np.zeros((SIDE, SIDE), np.uint16)
    classes[6:18, 4 : 12 + seed] = 8
    pixels = np.where(classes[..., None] == 8, (220, 60, 40), (40, 120, 200)).astype(np.uint8)
    scores = rng.normal(0, 1.5, (SIDE, SIDE, LABELS)).astype(np.float32)
    scores[..., [0, 8]] += 6
    scores += 1.5 * np.eye(LABELS, dtype=np.float32)[classes]
    raised = np.exp(scores)
    return pixels, classes, (raised / raised.sum(2, keepdims=True)).astype(np.float32)


class NoisySegmenter:
    """Answers with what a scene says of itself."""

    def __init__(self, scenes: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        self._known = {pixels.tobytes(): probability for pixels, _, probability in scenes}

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        return self._known[pixels.tobytes()]


def test_untrained_layers_are_the_hand_set_crf() -> None:
    pixels, _, probability = scene(0)
    crf = dataclasses.replace(DenseCrf(), iterations=ITERATIONS)
    labels = np.arange(LABELS)
    unary = torch.from_numpy(np.log(probability))
    scores = MeanField()(unary, Filters(pixels, crf), torch.from_numpy(labels))
    assert (scores.argmax(2).numpy() == crf.refine(pixels, probability)).mean() > 0.999


def test_gradients_of_the_weights_are_those_of_differences() -> None:
    pixels, classes, probability = scene(1)
    unary = torch.from_numpy(np.log(probability))
    filters, labels = Filters(pixels, DenseCrf()), torch.arange(LABELS)
    target = torch.from_numpy(classes.astype(np.int64))

    def loss(field: MeanField) -> torch.Tensor:
        scores = field(unary, filters, labels)
        return torch.nn.functional.cross_entropy(scores.permute(2, 0, 1)[None], target[None])

    field = MeanField()
    with torch.no_grad():  # far from certain, or the gradient vanishes
        field.appearance.fill_(0.3)
        field.smoothness.fill_(0.3)
    loss(field).backward()
    for parameter, place in ((field.appearance, 8), (field.smoothness, 0)):
        assert parameter.grad is not None
        values = []
        for step in (0.02, -0.02):
            with torch.no_grad():
                parameter[place] += step
            values.append(float(loss(field).detach()))
            with torch.no_grad():
                parameter[place] -= step
        expected = (values[0] - values[1]) / 0.04
        assert float(parameter.grad[place]) == pytest.approx(expected, rel=0.15, abs=1e-5)


def test_learning_lowers_the_loss_and_what_was_learned_is_used() -> None:
    scenes = [scene(k) for k in range(4)]
    photographs = [Labelled(pixels, classes) for pixels, classes, _ in scenes]
    segmenter = NoisySegmenter(scenes)
    field = MeanField()
    losses = list(learn(field, segmenter, photographs, 40))  # type: ignore[arg-type]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    crf = field.crf()
    assert crf != DenseCrf()
    assert mean_iou(photographs, segmenter, crf) > mean_iou(photographs, segmenter, None)  # type: ignore[arg-type]
    assert json.loads(crf.weights_json())["appearance_weight"] == list(crf.appearance_weight)


@pytest.mark.parametrize("output", ["/dev/null/x", "missing/x.json", "."])
def test_an_output_that_cannot_be_written_is_said_before_anything_is_read(
    tmp_path: Path, output: str
) -> None:
    command = ["crf", "no-voc", "--segmenter", "no-weights.pth", "--out", str(tmp_path / output)]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, ConfigError)
    assert "--out" in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_the_packaged_weights() -> None:
    crf = DenseCrf.learned()
    assert np.shape(crf.appearance_weight) == np.shape(crf.smoothness_weight) == (LABELS,)
    assert np.shape(crf.compatibility) == (LABELS, LABELS)
    assert len(set(crf.appearance_weight)) > 1  # learned for each label, not one set by hand
    assert not np.allclose(crf.compatibility, np.diag(np.diag(crf.compatibility)))
    pixels, classes, probability = scene(2)
    assert crf.refine(pixels, probability).shape == classes.shape
