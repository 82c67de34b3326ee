"""Fixtures of the clients' tests: the same server."""

from server.conftest import bundle, server

__all__ = ["bundle", "server"]
