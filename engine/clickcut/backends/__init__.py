"""The back-ends, one module each. A loaded bundle is a predictor: network inputs -> logits."""

from clickcut.backends.base import Predictor
from clickcut.backends.load import (
    BACKENDS,
    DEFAULT_BACKENDS,
    default_backend,
    load_predictor,
    takes,
    why_unavailable,
)

__all__ = [
    "BACKENDS",
    "DEFAULT_BACKENDS",
    "Predictor",
    "default_backend",
    "load_predictor",
    "takes",
    "why_unavailable",
]
