"""A photo as the members of a tar shard, and back; the naming is WebDataset's.

A photo is `KEY.jpg`, `KEY.masks0.png`, `KEY.masks1.png`, ... and `KEY.json`. The masks are maps of
instance ids, 8 bits, 0 = no instance; instances that overlap lie in different maps. 255 in the
first map is void. The JSON says what the photo is called, how large it is, and which id of which
map each instance has.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clickcut_eval.datasets.entry import FaultyPhotoError
from clickcut_eval.datasets.labels import VOID, decode_id_map
from clickcut_eval.datasets.rle import Rle, encode_mask
from clickcut_train.data.photo import Photo
from clickcut_train.errors import DataError

_MAX_IDS = VOID - 1


class InstanceId(BaseModel):
    """Where an instance is: which map, which id, how many pixels."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    map: int = Field(ge=0)
    id: int = Field(ge=1, le=_MAX_IDS)
    area: int = Field(ge=1)


class PhotoRecord(BaseModel):
    """The JSON member of a photo."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    name: str
    source: int = Field(ge=0)
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    instances: tuple[InstanceId, ...] = Field(min_length=1)


def to_members(photo: Photo, source: int) -> dict[str, bytes]:
    """The members of a photo by their extension; the same bytes for the same photo.

    Args:
        photo: with a JPEG and at least one instance.
        source: number of the data set that it comes from.
    """
    maps: list[NDArray[np.uint8]] = []
    used: list[int] = []
    instances: list[InstanceId] = []
    for rle, area in zip(photo.rles, photo.areas(), strict=True):
        mask = photo.mask(len(instances)).astype(bool)
        free = (k for k in range(len(maps)) if used[k] < _MAX_IDS and not maps[k][mask].any())
        k = next(free, len(maps))
        if k == len(maps):
            maps.append(np.zeros(rle["size"], np.uint8))
            used.append(0)
        used[k] += 1
        maps[k][mask] = used[k]
        instances.append(InstanceId(map=k, id=used[k], area=int(area)))
    void = photo.void_mask()
    if void is not None:
        maps[0][void.astype(bool)] = VOID
    height, width = photo.size
    record = PhotoRecord(
        name=photo.name, source=source, width=width, height=height, instances=tuple(instances)
    )
    text = json.dumps(record.model_dump(), sort_keys=True, separators=(",", ":"))
    return {
        "jpg": photo.encoded,
        **{f"masks{k}.png": _png(ids) for k, ids in enumerate(maps)},
        "json": text.encode(),
    }


def _png(ids: NDArray[np.uint8]) -> bytes:
    done, encoded = cv2.imencode(".png", ids, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not done:
        raise DataError("OpenCV cannot encode a PNG")
    return bytes(encoded.tobytes())


def from_members(members: Mapping[str, bytes], key: str) -> Photo:
    """The photo of the members of one key.

    Raises:
        DataError: members are missing, damaged or do not fit one another.
    """
    try:
        record = PhotoRecord.model_validate_json(members["json"])
        size = record.height, record.width
        with Image.open(io.BytesIO(members["jpg"]), formats=("JPEG",)) as image:
            _check_size(image.size[::-1], size, "jpg")
        maps = []
        for k in range(1 + max(i.map for i in record.instances)):
            ids = decode_id_map(members[f"masks{k}.png"], f"masks{k}.png")
            _check_size(ids.shape, size, f"masks{k}.png")
            maps.append(ids)
    except KeyError as error:
        raise DataError(f"{key}: no member {error.args[0]}; pack the data again") from error
    except (ValidationError, FaultyPhotoError, OSError) as error:
        raise DataError(f"{key}: {error}; pack the data again") from error
    rles = tuple(encode_mask(maps[i.map] == i.id) for i in record.instances)
    unsure = maps[0] == VOID
    void: Rle | None = encode_mask(unsure) if unsure.any() else None
    return Photo(record.name, members["jpg"], rles, void)


def _check_size(found: tuple[Any, ...], said: tuple[int, int], what: str) -> None:
    if tuple(found) != said:
        raise FaultyPhotoError(f"{what} is {found[1]} x {found[0]}, not {said[1]} x {said[0]}")
