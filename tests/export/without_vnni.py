"""Run by test_quantise.py in an emulator of a processor without VNNI; prints JSON.

python without_vnni.py FOLDER    # with batch.npz, cpu.onnx and tensorrt.onnx
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import onnxruntime

from clickcut.backends import load_predictor, onnx_runtime
from clickcut.errors import BundleError

onnxruntime.set_default_logger_severity(4)


def main(folder: Path) -> None:
    """Masks of both bundles: of ONNX Runtime as it is, and of the engine."""
    given = np.load(folder / "batch.npz")
    batch, wanted = given["batch"], given["expected"] > 0

    def iou(logits: np.ndarray) -> float:
        return float(np.sum((logits > 0) & wanted) / np.sum((logits > 0) | wanted))

    paths = {target: folder / f"{target}.onnx" for target in ("cpu", "tensorrt")}
    raw = {}
    for target, path in paths.items():
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        raw[target] = iou(session.run(None, {"input": batch})[0])
    found = {"raw": raw}
    found["engine"] = {t: iou(load_predictor(p).predict(batch)) for t, p in paths.items()}
    with mock.patch.object(onnx_runtime, "saturates", return_value=False):
        try:
            load_predictor(paths["tensorrt"])
        except BundleError as error:
            found["refused"] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
