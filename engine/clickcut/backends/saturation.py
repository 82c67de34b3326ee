"""Whether ONNX Runtime's products of 8-bit integers saturate on this processor.

On x86 without VNNI its fast kernels add two products of uint8 and int8 in 16 bits, where they may
not fit; the instruction (`vpmaddubsw`) then takes the largest number that does. The session option
`session.x64quantprecision` chooses kernels that do not (onnxruntime_session_options_config_keys.h).
The flags of a processor may be wrong, in emulators for example, so a product is computed.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

PROBE = Path(__file__).parent.parent / "assets" / "product_of_integers.onnx"
"""`MatMulInteger` of (1, 64) uint8 and (64, 16) int8; tests/test_saturation.py makes it."""


@functools.cache
def saturates() -> bool:
    """Return whether uint8 times int8 is wrong for large values.

    ONNX Runtime must be installed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        PROBE.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    a, b = np.full((1, 64), 255, np.uint8), np.full((64, 16), 127, np.int8)
    product: Any = session.run(None, {"a": a, "b": b})[0]
    return bool((product != 64 * 255 * 127).any())
