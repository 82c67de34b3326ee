"""The back-ends, a module each: a bundle loaded is a predictor, network inputs in, logits out."""

from clickcut.backends.base import Predictor
from clickcut.backends.load import (
    BACKENDS,
    DEFAULT_BACKENDS,
    load_predictor,
    takes,
    why_unavailable,
)

__all__ = [
    "BACKENDS",
    "DEFAULT_BACKENDS",
    "Predictor",
    "load_predictor",
    "takes",
    "why_unavailable",
]
