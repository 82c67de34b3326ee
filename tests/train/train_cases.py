"""Small photographs and configurations with which a run takes seconds."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from fakes import picture
from pycocotools import mask as coco_mask

from clickcut_train.config_file import validated
from clickcut_train.data import MemorySource, Photo
from clickcut_train.distributed import World
from clickcut_train.trainer import Data

ALONE = World(0, 1, torch.device("cpu"))


def photo(seed=0):
    image = picture(seed=seed)
    ellipse = (image[..., 0] > 150).astype(np.uint8)
    box = (image[..., 2] > 150).astype(np.uint8)
    encoded = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    rles = tuple(coco_mask.encode(np.asfortranarray(m)) for m in (ellipse, box))
    return Photo(f"photo{seed}", encoded, rles, None)


def data(photos=3, held_out=()):
    return Data(MemorySource([photo(s) for s in range(photos)]), list(held_out))


MIXED = {
    "first": "mixed",
    "pairs_per_object": 0,
    "area_exponent": 0.5,
    "zoom": True,
    "augment": True,
    "merge": 0.12,
}

PLAIN = {"augment": False, "zoom": False, "merge": 0.0, "flip": False}
"""Nothing varies but the clicks: what is to be learned is little."""

TINY = {
    "model": {"width": 0.25, "head_channels": 16, "input_size": 64},
    "samples": MIXED,
    "sessions": {"pool": 8, "next_click_probability": 0.7},
    "schedule": {"samples": 480, "batch": 4, "warmup": 16, "decay": 0.3},
    "optimizer": {"lr": 3e-3, "backbone_lr_mult": 1.0, "ema_decay": 0.9},
    "output": {"tensorboard": False, "log_steps": 10},
    "machine": {"precision": "fp32"},
}


def config(**sections):
    """TINY with the keys of some sections replaced."""
    names = TINY.keys() | sections.keys()
    return validated({n: TINY.get(n, {}) | sections.get(n, {}) for n in names}, "test")
