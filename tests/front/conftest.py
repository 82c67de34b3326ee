"""Fixtures of the front door's tests: a server and its model."""

from server.conftest import bundle, server

__all__ = ["bundle", "server"]
