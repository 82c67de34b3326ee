"""Two processes learn as one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from train_cases import ALONE, config, data

from clickcut_train.checkpoint import read_checkpoint
from clickcut_train.distributed import world
from clickcut_train.errors import ConfigError
from clickcut_train.trainer import Trainer
from clickcut_train.validation import held_out

pytestmark = pytest.mark.slow

STEPS = 3
SCRIPT = """
import os
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {here!r}]
import torch
torch.set_num_threads(1)
from test_distributed import STEPS, precise_run
from clickcut_train.distributed import world
with world("cpu") as here:
    run = precise_run(Path({folder!r}), here)
    for _ in range(STEPS):
        run.step()
    assert run.world.any(here.rank == 1)
    run.save()
    # In one piece: both processes write to the same pipe.
    sys.stdout.write("clicks " + str(run.validate()) + "\\n")
    sys.stdout.flush()
    run.close()
sys.stdout.flush()
os._exit(0)  # what PyTorch's threads do while the interpreter ends is not what is tested
"""


def precise_run(folder, here):
    """A run in double precision, so that only real differences remain.

    In single precision the rounding of differently sliced batches grows by a factor of a thousand
    in a network with random weights.
    """
    torch.set_default_dtype(torch.float64)
    try:
        photos = data()
        photos.validation = held_out(photos.train, 3)
        run = Trainer(config(), folder, photos, here)
    finally:
        torch.set_default_dtype(torch.float32)
    to_device = run.learner.to_device
    run.learner.to_device = lambda x: to_device(x).double()
    run.learner.ema.register_forward_pre_hook(lambda _, inputs: inputs[0].double())
    return run


def test_two_processes_give_what_one_gives(tmp_path):
    alone = precise_run(tmp_path / "one", ALONE)
    for _ in range(STEPS):
        alone.step()
    alone.save()
    clicks = alone.validate()
    alone.close()
    here = Path(__file__).parent
    script = tmp_path / "two.py"
    script.write_text(
        SCRIPT.format(tests=str(here.parent), here=str(here), folder=str(tmp_path / "two"))
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    out = subprocess.run(
        [*torchrun, "--nproc-per-node=2", script],
        capture_output=True,
        text=True,
        timeout=400,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert out.returncode == 0, out.stderr[-3000:]
    one, two = (read_checkpoint(tmp_path / n / "last.pt") for n in ("one", "two"))
    assert one.seen == two.seen == 4 * STEPS
    assert one.model_state.keys() == two.model_state.keys()
    for name, value in one.model_state.items():
        torch.testing.assert_close(
            two.model_state[name], value, rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
        )
    for lane, state in one.lanes["sessions"].items():
        for key in ("rng", "next", "k", "positive", "negative"):
            assert two.lanes["sessions"][lane][key] == state[key]
    said = {line for line in out.stdout.splitlines() if line.startswith("clicks")}
    assert said == {f"clicks {clicks}"}


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no GPU"), world("cuda"):
        pass
