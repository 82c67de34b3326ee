"""The back-ends, a module each, imported when a model is loaded; see `clickcut.predictor`."""
