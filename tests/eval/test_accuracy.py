"""Accuracy of a predictor inside one process."""

from __future__ import annotations

import numpy as np
import pytest
from eval_cases import save
from fakes import FakePredictor

from clickcut_eval.accuracy import measure_all
from clickcut_eval.datasets import DATASETS
from clickcut_eval.metrics import summary
from clickcut_eval.targets import Target


def test_measuring_selects_objects_and_leaves_empty_ones_out(tmp_path, scene):
    pixels, mask = scene
    save(tmp_path / "a.png", pixels[..., ::-1])
    nothing = np.zeros_like(mask)
    targets = [Target.of(f"t{k}", tmp_path / "a.png", mask, nothing) for k in range(3)]
    targets.insert(1, Target.of("empty", tmp_path / "a.png", nothing, nothing))
    predictor = FakePredictor()
    outcomes = list(measure_all(targets, predictor, predictor.metadata.parameters, workers=2))
    assert [o.name for o in outcomes] == ["t0", "t1", "t2"]
    assert outcomes[0].ious[-1] >= 0.9
    assert len({tuple(o.ious) for o in outcomes}) == 1
    assert outcomes[0].clicks[0][2]


@pytest.mark.slow
def test_the_shipped_model_selects_real_objects(shared_data, default_bundle):
    from clickcut.backends import load_predictor

    predictor = load_predictor(default_bundle)
    targets = DATASETS["grabcut"].read(shared_data / "grabcut")[:6]
    outcomes = list(measure_all(targets, predictor, predictor.metadata.parameters))
    assert summary(outcomes, 0.9)["mean_clicks"] < 8
