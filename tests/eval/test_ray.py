"""Runs on a Ray cluster: here one of two workers on this machine, with the same numbers."""

from __future__ import annotations

import pytest

from clickcut.errors import BackendError
from clickcut_eval.data_spec import DataSpec
from clickcut_eval.datasets import open_dataset
from clickcut_eval.jobs import Job, perform
from clickcut_eval.methods import choose
from clickcut_eval.pools import on_ray
from clickcut_eval.protocol import Protocol

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray", reason="Ray is optional: pip install 'clickcut[scale]'")


@pytest.fixture
def two_workers():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_gives_the_same_numbers(two_workers, grabcut_folder):
    (spec,) = choose(["growcut"], None, {}, {})
    _, targets = open_dataset(DataSpec("grabcut", str(grabcut_folder)))
    jobs = [Job(spec, "grabcut", target, Protocol(max_clicks=4)) for target in targets]
    found = {job.target.name: outcome for job, outcome in on_ray(jobs, "auto")}
    assert set(found) == {"a", "b", "c"}
    for job in jobs:
        here, there = perform(job), found[job.target.name]
        assert (here and (here.ious, here.clicks)) == (there and (there.ious, there.clicks))
    assert ray.is_initialized()  # a cluster that was there before is left running


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_is_not_there(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(BackendError, match="cannot be reached"):
        list(on_ray([], "auto"))  # no cluster runs on this machine
