"""How many connections the process may have: each takes a file descriptor."""

from __future__ import annotations

import contextlib
import resource

_ENOUGH = 65_536
"""gRPC and epoll stay fast; beyond it memory is used up first."""


def allow_connections() -> None:
    """Raise the soft limit of open files, often 1024, towards the hard one.

    Without a free descriptor nothing is served: a thousand idle connections would lock all out.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # not allowed in some sandboxes
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
