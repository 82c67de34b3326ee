"""A network that learns: optimizer, learning rate, moving average, one step at a time."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clickcut_train.config import LossConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from clickcut_train.distributed import World, synchronise_batchnorm
from clickcut_train.errors import TrainingError
from clickcut_train.losses import cross_entropy, near_outline, normalised_focal_loss
from clickcut_train.models import ClickNetwork
from clickcut_train.precision import resolve


def lr_at(seen: int, schedule: ScheduleConfig, seconds_left: float = math.inf) -> float:
    """Learning rate relative to its height: warm-up, constant, cosine to 0.

    Args:
        seen: samples learned from.
        schedule: of the run.
        seconds_left: until `schedule.until`.
    """
    rate = min(1.0, seen / schedule.warmup) if schedule.warmup else 1.0
    left = seconds_left / (60 * schedule.decay_minutes)
    if falling := schedule.decay * schedule.samples:
        left = min(left, (schedule.samples - seen) / falling)
    if left < 1:
        rate *= 0.5 - 0.5 * math.cos(math.pi * max(0.0, left))
    return rate


def _groups(network: ClickNetwork, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Parameters by learning rate and weight decay."""
    first = network.backbone.first.weight
    backbone = [p for p in network.backbone.parameters() if p is not first]
    head = list(network.head.parameters())
    groups = [
        # The zero-initialised click channels sit in the first convolution: full rate.
        {"params": [first], "scale": 1.0, "weight_decay": 0.0},
        {"params": [p for p in backbone if p.ndim > 1], "scale": config.backbone_lr_mult},
        {
            "params": [p for p in backbone if p.ndim == 1],
            "scale": config.backbone_lr_mult,
            "weight_decay": 0.0,
        },
        {"params": [p for p in head if p.ndim > 1], "scale": 1.0},
        {"params": [p for p in head if p.ndim == 1], "scale": 1.0, "weight_decay": 0.0},
    ]
    return [g for g in groups if g["params"]]


def _optimizer(network: ClickNetwork, config: OptimizerConfig) -> torch.optim.Optimizer:
    groups = _groups(network, config)
    if config.kind == "sgd":
        return torch.optim.SGD(
            groups,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def loss_of(logits: Tensor, target: Tensor, valid: Tensor, config: LossConfig) -> Tensor:
    """The configured loss.

    Args:
        logits: (N, S, S) float.
        target: (N, S, S) float in [0, 1].
        valid: (N, S, S) float, 0 = ignore.
        config: which loss.
    """
    if config.boundary:
        outline = near_outline((target > 0.5).float(), config.boundary_reach)
        valid = valid * (1 + config.boundary * outline)
    if config.kind == "focal":
        return normalised_focal_loss(logits, target, valid, config.gamma, config.alpha)
    return cross_entropy(logits, target, valid)


@contextlib.contextmanager
def memory_advice(config: TrainConfig) -> Iterator[None]:
    """Turn a failure for want of memory into advice.

    Raises:
        TrainingError: instead of the errors that PyTorch and Python raise.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        out_of_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not out_of_memory and "can't allocate memory" not in str(error):
            raise
        batch = max(1, config.schedule.batch // 2)
        size = max(32, config.model.input_size // 64 * 32)
        raise TrainingError(
            "not enough memory for a step. The last checkpoint is good, but a smaller step needs a "
            f"new run: --set schedule.batch={batch} (sessions.pool must be a multiple of it), or "
            f"--set model.input_size={size}"
        ) from error


class Learner:
    """Network, optimizer and exponential moving average.

    Args:
        config: of the run.
        network: with its initial weights.
        world: the processes that learn as one.

    Attributes:
        network: what is trained.
        ema: its exponential moving average, in eval mode.
        precision_note: a line for people on the arithmetic that is used.
        seen: samples learned from, by all processes.
    """

    def __init__(self, config: TrainConfig, network: ClickNetwork, world: World) -> None:
        self.config, self._world = config, world
        self.seen = 0
        self._precision, self.precision_note = resolve(config.machine.precision, world.device)
        layout = torch.channels_last if config.machine.channels_last else torch.contiguous_format
        network.to(world.device).to(memory_format=layout)  # type: ignore[call-overload]
        self.ema = copy.deepcopy(network).eval()
        self.ema.requires_grad_(False)
        self._wrapped: nn.Module = network
        self.network = network
        if world.size > 1:
            synchronise_batchnorm(network)
            ids = [world.device.index] if world.device.type == "cuda" else None
            # Buffers are BatchNorm's statistics, the same in all processes as it is.
            self._wrapped = DistributedDataParallel(network, device_ids=ids)
            # The leading process' weights are those of all from here on.
            self.ema.load_state_dict(network.state_dict())
        self.optimizer = _optimizer(network, config.optimizer)
        self._train_mode()

    def _train_mode(self) -> None:
        self._wrapped.train()
        frozen = {"none": None, "backbone": self.network.backbone, "all": self.network}
        if (part := frozen[self.config.optimizer.frozen_batchnorm]) is not None:
            for module in part.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    @property
    def lr(self) -> float:
        """The head's learning rate now."""
        schedule = self.config.schedule
        return self.config.optimizer.lr * lr_at(self.seen, schedule, self.seconds_left)

    @property
    def seconds_left(self) -> float:
        """Until `schedule.until`; infinite without it. The same in all processes."""
        until = self.config.schedule.until
        if until is None:
            return math.inf
        return float(self._world.share(until.timestamp() - time.time()))

    def autocast(self) -> torch.autocast:
        """Compute networks in the precision of this run."""
        mixed = self._precision == "bf16"
        return torch.autocast(self._world.device.type, torch.bfloat16, enabled=mixed)

    def to_device(self, x: Tensor) -> Tensor:
        """Onto this process' device; images in the layout of the network."""
        if x.ndim == 4 and self.config.machine.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return x.to(self._world.device, non_blocking=True)

    def step(self, x: Tensor, target: Tensor, valid: Tensor) -> tuple[float, Tensor]:
        """One optimizer step.

        Args:
            x: (N, C, S, S) float32, this process' part of the batch.
            target: (N, S, S) float32 in [0, 1].
            valid: (N, S, S) float32, 0 = ignore.

        Returns:
            The loss of this part, and the probabilities (N, S, S) float32 on the CPU.

        Raises:
            TrainingError: the loss is not finite.
        """
        lr = self.lr
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        x, target, valid = (self.to_device(v) for v in (x, target, valid))
        with self.autocast():
            logits = self._wrapped(x)[:, 0]
        loss = loss_of(logits, target, valid, self.config.loss)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} after {self.seen} samples. The last checkpoint is from "
                "before it: run the same command with a lower rate "
                f"(--set optimizer.lr={self.config.optimizer.lr / 3:.1g}), or with "
                "--set machine.precision=fp32"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.optimizer.clip)
        self.optimizer.step()
        self.seen += len(x) * self._world.size
        self._update_ema()
        return loss.item(), torch.sigmoid(logits.detach().float()).cpu()

    @torch.no_grad()
    def _update_ema(self) -> None:
        # A short memory at first: the initial head is noise.
        batch = self.config.schedule.batch
        keep = min(self.config.optimizer.ema_decay, self.seen / (self.seen + 50 * batch))
        ours, theirs = self.ema.state_dict(), self.network.state_dict()
        names = [n for n, v in ours.items() if v.is_floating_point()]
        torch._foreach_lerp_([ours[n] for n in names], [theirs[n] for n in names], 1 - keep)
        for name in ours.keys() - set(names):
            ours[name].copy_(theirs[name])

    def restore_optimizer(self, state: dict[str, Any]) -> None:
        """Go on with the moments of a checkpoint; rates and decays stay those of the config."""
        kept = [(g["scale"], g["weight_decay"]) for g in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state)
        for group, (scale, decay) in zip(self.optimizer.param_groups, kept, strict=True):
            group["scale"], group["weight_decay"] = scale, decay
