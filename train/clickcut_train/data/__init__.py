"""Training photographs: readers of data sets on disk, packed shards, and the order of drawing."""

from clickcut_train.data.photo import Photo
from clickcut_train.data.source import (
    EachObject,
    MemorySource,
    MixedSource,
    Order,
    PhotoSource,
    order,
)

__all__ = ["EachObject", "MemorySource", "MixedSource", "Order", "Photo", "PhotoSource", "order"]
