"""What is used of Ray that is not its public interface; no other module uses anything of that.

- `ResponseStatus`, by which a reply ends a stream. The documented way, an exception, loses the
  trailing metadata of the call, which names the class of the error (Ray 2.60).
- The client of the Serve controller, which takes a whole Serve configuration, as `serve deploy`
  does. `serve.run`, the public way without Ray's dashboard, restarts replicas when only their
  `user_config` changes, and their sessions with them (Ray 2.60).
"""

from __future__ import annotations

from typing import Any

import grpc
import ray

from clickcut.errors import ClickcutError


class UnsupportedRayError(ClickcutError):
    """This version of Ray lacks something that is used of it."""


def _unsupported(what: str, error: Exception) -> UnsupportedRayError:
    return UnsupportedRayError(
        f"Ray {ray.__version__} is not supported: it lacks {what} ({error}); install ray[serve] "
        "2.60, or a newer clickcut"
    )


try:
    from ray.serve._private.proxy_request_response import ResponseStatus
except ImportError as missing:
    raise _unsupported("ResponseStatus of its proxy", missing) from missing

try:
    from ray.serve.context import _get_global_client
except ImportError as missing:
    raise _unsupported("the client of its Serve controller", missing) from missing


def end_of_stream(code: grpc.StatusCode, details: str) -> Any:
    """Return what the proxy takes among replies for the end of the call; it sends no message.

    Args:
        code: status of the call.
        details: message of the status.

    Raises:
        UnsupportedRayError: this version of Ray takes no such thing.
    """
    try:
        return ResponseStatus(code=code, message=details, is_error=True)
    except TypeError as error:
        raise _unsupported("code, message and is_error of ResponseStatus", error) from error


def deploy_configuration(configuration: Any) -> None:
    """Make Serve run what a `ServeDeploySchema` describes; do not wait until it does.

    Raises:
        UnsupportedRayError: this version of Ray offers no way to do that.
        RayServeException: Serve is not running.
    """
    client: Any = _get_global_client()
    try:
        deploy = client.deploy_apps
    except AttributeError as error:
        raise _unsupported("deploy_apps of the client of its Serve controller", error) from error
    deploy(configuration)
