"""Write the masks that `clickcut doctor` expects of the bundled models; run it when one changes."""

from __future__ import annotations

import json
from pathlib import Path

from clickcut.backends import load_predictor
from clickcut.bundle import bundled_models
from clickcut.doctor.self_test import CLICKS, key_of
from clickcut.doctor.self_test import photograph as packaged
from clickcut.encoding import to_rle
from clickcut.images import prepare
from clickcut.session import ClickSession

TARGET = Path(__file__).parents[1] / "engine" / "clickcut" / "assets" / "expected_masks.json"


def main() -> None:
    """Write the file."""
    masks = {}
    for path in bundled_models().values():
        predictor = load_predictor(path)
        session = ClickSession(prepare(packaged()), predictor)
        for x, y, positive in CLICKS:
            session.click(x, y, positive)
        height, width = session.mask.shape
        masks[key_of(predictor.metadata)] = {
            "checkpoint": predictor.metadata.checkpoint_sha256,
            "height": height,
            "width": width,
            "counts": to_rle(session.mask).decode(),
        }
    TARGET.write_text(json.dumps(masks, indent=1) + "\n")
    print(f"{TARGET.name}: {', '.join(masks)}")


if __name__ == "__main__":
    main()
