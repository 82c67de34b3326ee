"""Initial weights from the files that people have."""

from clickcut_train.weights.load import LoadReport, load_initial

__all__ = ["LoadReport", "load_initial"]
