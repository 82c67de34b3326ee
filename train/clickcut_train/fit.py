"""Train a click-conditioned FCN; resumable.

    python -m clickcut_train.fit --data DATA --weights FUSED.pth --out runs/default

DATA holds `voc/` and `coco_mix/`. Every few minutes `OUT/last.pt` is replaced atomically; running
the same command again goes on from it. The log is `OUT/log.csv`.

A pool of crops is kept in memory, each with a click session in progress. A step draws a batch from
the pool, learns from it, and uses the same forward pass to simulate the next click of each session
(Mahadevan et al. 2018; Sofiiuk et al. 2021), so iterative clicks cost no extra passes. A session
ends after a random number of clicks and is replaced by a fresh crop.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import math
import os
import queue
import signal
import threading
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .data import Photo, read_coco, read_voc
from .losses import cross_entropy, near_outline, normalised_focal_loss
from .model import ClickFCN, load_fused_trunk, restore_batchnorm
from .samples import Options, Sample, disc_channel, distance_channel, draw


@dataclass
class Recipe:
    """What a run is made of; each field is a flag of the command line."""

    size: int = 256  # pixels of a training crop
    batch: int = 16
    samples: int = 110_000  # crops x clicks seen in total
    warmup: int = 2_000  # samples until the learning rate is at its height
    decay: float = 0.6  # fraction of the run, at the end, over which the rate falls to zero
    lr: float = 1e-3  # of the head
    trunk_lr: float = 0.25  # of the trunk, relative to the head
    weight_decay: float = 1e-2
    ema: float = 0.998
    pool: int = 192  # sessions in progress
    go_on: float = 0.72  # probability that a session gets one more click
    disc_radius: int = 5
    width: int = 96
    encoding: str = "disc"  # of clicks: disc or distance
    previous: int = 1  # 1: the previous probability is an input
    loss: str = "focal"  # normalised focal, or cross-entropy
    boundary: float = 0.0  # extra weight of pixels near the object's outline
    first: str = "mixed"  # clicks that a session starts with: mixed, or paper (section 3.2)
    zoom: int = 1  # 1: crops around the object, as at inference
    augment: int = 1  # 1: colour, blur, JPEG
    merge: float = 0.12  # probability that two touching instances become one target
    coco_weight: float = 2.0  # a COCO photograph is drawn this many times as often as a VOC one
    seed: int = 0
    threads: int = 2


def read_photos(data: Path, coco_weight: float) -> tuple[list[Photo], np.ndarray]:
    """All training photographs and the probability of drawing each; never a test set."""
    voc = list(read_voc(data / "voc", ("train", "extra")))
    coco = list(read_coco(data / "coco_mix"))
    weights = np.array([1.0] * len(voc) + [coco_weight] * len(coco))
    return voc + coco, weights / weights.sum()


class Supply(threading.Thread):
    """Draws samples in the background until it is closed."""

    def __init__(
        self, photos: list[Photo], weights: np.ndarray, size: int, seed: int, options: Options
    ) -> None:
        super().__init__(daemon=True)
        self._args = (photos, weights, size)
        self._options = options
        self._rng = np.random.default_rng(seed)
        self._queue: queue.Queue[Sample | Exception] = queue.Queue(16)
        self._closed = False
        self.start()

    def run(self) -> None:
        """Fill the queue; what goes wrong goes into the queue as well."""
        try:
            while not self._closed:
                self._queue.put(draw(*self._args, self._rng, self._options))
        except Exception as error:  # handed to the training thread, which raises it
            self._queue.put(error)

    def take(self) -> Sample:
        """The next sample; raises what `draw` raised."""
        item = self._queue.get()
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        while self.is_alive():
            with contextlib.suppress(queue.Empty):  # a full queue would block its last put
                self._queue.get(timeout=0.05)


def to_batch(
    samples: list[Sample], radius: int, encoding: str = "disc", previous: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Network input (N, 5 or 6, S, S), target (N, S, S) and validity (N, S, S), all float32."""
    size = samples[0].image.shape[0]
    x = np.empty((len(samples), 6 if previous else 5, size, size), np.float32)
    for row, s in zip(x, samples, strict=True):
        row[:3] = s.image.transpose(2, 0, 1)
        for channel, points in ((row[3], s.positive), (row[4], s.negative)):
            if encoding == "disc":
                channel[...] = disc_channel(points, size, radius)
            else:
                channel[...] = distance_channel(points, size)
        if previous:
            row[5] = s.probability
    x[:, :3] = x[:, :3] / 127.5 - 1
    target = torch.from_numpy(np.stack([s.target for s in samples])).float()
    valid = torch.from_numpy(np.stack([~s.ignore for s in samples])).float()
    return torch.from_numpy(x).contiguous(memory_format=torch.channels_last), target, valid


class Run:
    """Model, optimiser, averaged model and progress: all that a checkpoint holds."""

    def __init__(self, recipe: Recipe, out: Path) -> None:
        self.recipe, self.out = recipe, out
        self.model = ClickFCN(
            guidance=3 if recipe.previous else 2,
            width=recipe.width,
            guidance_scale=1.0 if recipe.encoding == "disc" else 1 / 255,
        )
        self.seen = 0

    def prepare(self) -> None:
        """Make optimiser and averaged model, once the weights are in place."""
        trunk = list(self.model.trunk.parameters())
        first = self.model.trunk.features[0][0].weight
        head = [p for n, p in self.model.named_parameters() if not n.startswith("trunk.")]
        groups = [
            # The zero-initialised click channels sit in the first convolution: full rate.
            {"params": [first], "scale": 1.0, "weight_decay": 0.0},
            {
                "params": [p for p in trunk if p is not first and p.ndim > 1],
                "scale": self.recipe.trunk_lr,
            },
            {
                "params": [p for p in trunk if p.ndim == 1],
                "scale": self.recipe.trunk_lr,
                "weight_decay": 0.0,
            },
            {"params": [p for p in head if p.ndim > 1], "scale": 1.0},
            {"params": [p for p in head if p.ndim == 1], "scale": 1.0, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(
            groups, lr=self.recipe.lr, weight_decay=self.recipe.weight_decay
        )
        self.model.to(memory_format=torch.channels_last).train()
        self.average = copy.deepcopy(self.model).eval()

    def set_rate(self) -> None:
        """Set the learning rate for the present sample count: warm-up, constant, cosine to 0."""
        r = self.recipe
        rate = min(1.0, self.seen / r.warmup) if r.warmup else 1.0
        left = (r.samples - self.seen) / (r.decay * r.samples)
        if left < 1:
            rate *= 0.5 - 0.5 * math.cos(math.pi * max(0.0, left))
        for group in self.optimiser.param_groups:
            group["lr"] = r.lr * group["scale"] * rate

    def step(self, x: Tensor, target: Tensor, valid: Tensor) -> tuple[float, Tensor]:
        """One optimiser step; returns the loss and the probabilities (N, S, S)."""
        self.set_rate()
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(x)[:, 0]
        weight = valid
        if self.recipe.boundary:
            weight = valid * (1 + self.recipe.boundary * near_outline(target))
        criterion = normalised_focal_loss if self.recipe.loss == "focal" else cross_entropy
        loss = criterion(logits, target, weight)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} after {self.seen} samples; lower --lr and resume"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        self.seen += len(x)
        self._update_average()
        return loss.item(), torch.sigmoid(logits.detach().float())

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(self.recipe.ema, self.seen / (self.seen + 50 * self.recipe.batch))
        pairs = zip(
            self.average.state_dict().values(), self.model.state_dict().values(), strict=True
        )
        for slow, fast in pairs:
            if slow.is_floating_point():
                slow.lerp_(fast, 1 - keep)
            else:
                slow.copy_(fast)

    def save(self) -> None:
        """Write `last.pt` so that a crash at any moment leaves either the old or the new file."""
        state = {
            "recipe": asdict(self.recipe),
            "seen": self.seen,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        partial = self.out / "last.pt.partial"
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.out / "last.pt")

    def load(self, path: Path) -> None:
        """Go on from a checkpoint of `save`."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.prepare()
        self.average.load_state_dict(state["average"])
        scales = [g["scale"] for g in self.optimiser.param_groups]
        self.optimiser.load_state_dict(state["optimiser"])
        for group, scale in zip(self.optimiser.param_groups, scales, strict=True):
            group["scale"] = scale
        self.seen = state["seen"]


def advance(
    sample: Sample, probability: np.ndarray, go_on: float, supply: Supply, rng: np.random.Generator
) -> Sample:
    """The sample's session one click later, or a fresh one when it ends here."""
    if rng.random() < go_on:
        sample.probability = probability.astype(np.float16)
        if sample.correct(rng):
            return sample
    return supply.take()


def fit(run: Run, photos: list[Photo], weights: np.ndarray) -> None:
    """Train until `recipe.samples`; checkpoint every three minutes and on SIGTERM."""
    recipe = run.recipe
    rng = np.random.default_rng([recipe.seed, run.seen])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    options = Options(recipe.first, bool(recipe.zoom), bool(recipe.augment), recipe.merge)
    supply = Supply(photos, weights, recipe.size, recipe.seed + run.seen + 1, options)
    pool = [supply.take() for _ in range(recipe.pool)]
    progress, saved = Progress(run, pool), time.monotonic()
    while run.seen < recipe.samples and not stop.is_set():
        chosen = rng.choice(recipe.pool, recipe.batch, replace=False)
        samples = [pool[i] for i in chosen]
        batch = to_batch(samples, recipe.disc_radius, recipe.encoding, bool(recipe.previous))
        loss, probabilities = run.step(*batch)
        for i, probability in zip(chosen, probabilities.numpy(), strict=True):
            pool[i] = advance(pool[i], probability, recipe.go_on, supply, rng)
        progress.add(loss)
        if time.monotonic() - saved > 180:
            run.save()
            saved = time.monotonic()
    supply.close()
    run.save()


class Progress:
    """Prints loss, speed and time left every 50 steps and appends them to `log.csv`."""

    def __init__(self, run: Run, pool: list[Sample]) -> None:
        self._run, self._pool = run, pool
        self._began, self._since = time.monotonic(), run.seen
        self._losses: list[float] = []

    def add(self, loss: float) -> None:
        """Count one step."""
        self._losses.append(loss)
        if len(self._losses) < 50:
            return
        seen, total = self._run.seen, self._run.recipe.samples
        mean = np.mean(self._losses)
        rate = (seen - self._since) / (time.monotonic() - self._began)
        clicks = np.mean([len(s.positive) + len(s.negative) for s in self._pool])
        print(
            f"{seen:>8}/{total} loss {mean:.4f} clicks {clicks:.1f} {rate:.1f}/s "
            f"{(total - seen) / rate / 60:.0f} min left",
            flush=True,
        )
        with (self._run.out / "log.csv").open("a") as log:
            log.write(f"{seen},{mean:.5f},{rate:.2f}\n")
        self._losses.clear()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with voc/ and coco_mix/")
    parser.add_argument(
        "--weights", type=Path, required=True, help="fused DeepLab MobileNetV2 file"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument(
        "--start", type=Path, help="start from the averaged weights of a checkpoint"
    )
    for field in fields(Recipe):
        kind = type(field.default)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    args = vars(parser.parse_args())
    data, trunk, out, start = (args.pop(k) for k in ("data", "weights", "out", "start"))
    recipe = Recipe(**args)
    print(recipe, flush=True)

    torch.set_flush_denormal(True)
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    photos, weights = read_photos(data, recipe.coco_weight)
    print(f"{len(photos)} photographs, {sum(len(p.rles) for p in photos)} objects", flush=True)
    run = Run(recipe, out)
    if (out / "last.pt").exists():
        run.load(out / "last.pt")
        print(f"resumed after {run.seen} samples", flush=True)
    elif start:
        run.model.load_state_dict(
            torch.load(start, map_location="cpu", weights_only=True)["average"]
        )
        run.prepare()
    else:
        load_fused_trunk(run.model.trunk, trunk)
        rng = np.random.default_rng(recipe.seed)
        typical = [draw(photos, weights, recipe.size, rng) for _ in range(64)]
        restore_batchnorm(
            run.model.trunk,
            to_batch(typical, recipe.disc_radius, recipe.encoding, bool(recipe.previous))[0],
        )
        run.prepare()
    fit(run, photos, weights)


if __name__ == "__main__":
    main()
