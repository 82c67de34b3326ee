"""What nuclio runs; see `clickcut_cvat.serverless`."""

from clickcut_cvat.serverless import handler, init_context

__all__ = ["handler", "init_context"]
