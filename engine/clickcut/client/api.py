"""Arguments of the clients' methods -> messages, and replies -> what the user sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut.client.received import check_image, mask_after, metadata_of
from clickcut.client.session import initial_mask as mask_message
from clickcut.errors import EventError, ServerError
from clickcut.v1 import clickcut_pb2 as pb

ClickLike = tuple[float, float] | tuple[float, float, bool]
"""x, y and, optionally, whether it is positive."""

ParameterValues = Mapping[str, float | bool]
"""By name of the fields of `clickcut.parameters.Parameters`."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model of a server; see `Model` of the wire contract.

    Attributes:
        metadata: everything that the bundle says of itself.
        share: of the sessions that give `name` without a version, the part that gets this one.
    """

    name: str
    version: str
    architecture: str
    backend: str
    is_default: bool
    input_size: int
    metadata: dict[str, Any]
    share: float


def parameters_message(values: ParameterValues | None) -> pb.Parameters:
    """Parameters by name as a message.

    Raises:
        EventError: an unknown name, or a value of a wrong type.
    """
    message = pb.Parameters()
    for name, value in (values or {}).items():
        if name not in message.DESCRIPTOR.fields_by_name:
            known = ", ".join(field.name for field in message.DESCRIPTOR.fields)
            raise EventError(f"unknown parameter {name!r}; there are {known}")
        try:
            setattr(message, name, value)
        except (ValueError, TypeError) as error:
            raise EventError(f"{name} cannot be {value!r}: {error}") from error
    return message


def segment_request(
    clicks: Iterable[ClickLike],
    start_from: NDArray[np.bool_] | None,
    model: str,
    parameters: ParameterValues | None,
) -> pb.SegmentRequest:
    """A request without its image."""
    request = pb.SegmentRequest(model=model, parameters=parameters_message(parameters))
    for x, y, *sign in clicks:
        request.clicks.add(x=x, y=y, negative=bool(sign) and not sign[0])
    if start_from is not None:
        request.initial_mask.CopyFrom(mask_message(start_from))
    return request


def mask_of(reply: pb.SegmentReply) -> NDArray[np.bool_]:
    """The mask of a reply, (H, W) bool.

    Raises:
        ServerError: it is missing, damaged or not of the image's size.
    """
    check_image(reply.image)
    empty = np.zeros((0, 0), np.bool_)
    mask = mask_after(reply.result, reply.image, empty)
    if mask is None:
        raise ServerError("the server sent no mask")
    return mask


def models_of(reply: pb.ListModelsReply) -> list[ModelInfo]:
    """The models of a reply, the default first."""
    models = [
        ModelInfo(
            name=m.name,
            version=m.version,
            architecture=m.architecture,
            backend=m.backend,
            is_default=m.is_default,
            input_size=m.input_size,
            metadata=metadata_of(m),
            share=m.share,
        )
        for m in reply.models
    ]
    return sorted(models, key=lambda m: not m.is_default)
