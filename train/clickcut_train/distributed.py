"""Several processes that learn as one (torchrun): who am I, what do the others say.

Gradients are averaged by `DistributedDataParallel`; BatchNorm sees the statistics of the global
batch through `SynchronisedBatchNorm`, which works with gloo as with NCCL.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from clickcut_train.errors import ConfigError


@dataclass(frozen=True)
class World:
    """The processes of a run; `size` is 1 without torchrun."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Everybody's value, by rank, for the leading process; [] for the others."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.leads else None
        dist.gather_object(value, values)
        return values or []

    def share(self, value: Any) -> Any:
        """The leading process' value, on every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        counter = torch.tensor([int(flag)])
        dist.all_reduce(counter, dist.ReduceOp.MAX)
        return bool(counter.item())


def _device(wanted: str, local_rank: int) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("machine.device = 'cuda', but PyTorch sees no GPU here; use 'cpu'")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


@contextmanager
def world(device: str) -> Iterator[World]:
    """Join the other processes when torchrun started this one.

    Args:
        device: "cpu", "cuda" or "auto".

    Raises:
        ConfigError: there is no such device.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    here = _device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield World(0, 1, here)
        return
    # Objects and flags go through gloo also where gradients go through NCCL.
    dist.init_process_group("cpu:gloo,cuda:nccl" if here.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), here)
        dist.barrier()  # no process leaves while others still talk to it
    finally:
        dist.destroy_process_group()


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce whose gradient is the all-reduce of the gradient."""

    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:
        """Sum of everybody's value."""
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        """Everybody's loss depends on everybody's value."""
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _summed(value: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(value)  # type: ignore[no-untyped-call]
    return total


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the batches of all processes, which must be of one size.

    `torch.nn.SyncBatchNorm` does this on GPUs only.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        if not self.training:
            return super().forward(x)
        size = dist.get_world_size()
        values = x if x.dtype == torch.float64 else x.float()  # bfloat16 would lose the sums
        # Mean first: the difference of two large numbers would leave nothing of a small variance.
        mean = _summed(values.mean((0, 2, 3))) / size
        centred = values - mean[:, None, None]
        variance = _summed(centred.square().mean((0, 2, 3))) / size
        self._track(mean.detach(), variance.detach(), size * x.numel() // x.shape[1])
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        momentum = 0.1 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), momentum)
        self.num_batches_tracked += 1


def synchronise_batchnorm(module: nn.Module) -> None:
    """Replace every BatchNorm2d below `module` by a `SynchronisedBatchNorm` of the same state."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            synchronised = SynchronisedBatchNorm(child.num_features, child.eps, child.momentum)
            synchronised.load_state_dict(child.state_dict())
            setattr(module, name, synchronised.train(child.training))
        else:
            synchronise_batchnorm(child)
