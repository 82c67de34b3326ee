"""Models of a server: a repository, versions side by side, loading again while it works."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from fakes import picture
from numpy.typing import NDArray
from plans import describe
from pydantic import ValidationError
from server.harness import (
    DEADLINE,
    RawStream,
    ServerProcess,
    gauge,
    image_file,
    random_clicks,
    wait_until,
    write_bundle,
)

from clickcut.backends import Predictor, load_predictor
from clickcut.backends.batching import BatchingPredictor
from clickcut.bundle.repository import find_models, version_key
from clickcut.client import Client
from clickcut.errors import BundleError, EventError
from clickcut.images import prepare, prepare_pixels
from clickcut.server import model_registry
from clickcut.server.model_registry import Models, label
from clickcut.server.settings import Settings
from clickcut.session import ClickSession
from clickcut.v1 import admin_pb2, admin_pb2_grpc, clickcut_pb2_grpc
from clickcut.v1 import clickcut_pb2 as pb

pytestmark = pytest.mark.slow

DIGESTS = [f"{k:064x}" for k in range(4000)]


def fill(folder: Path, *wanted: str) -> Path:
    """A repository with these models, each NAME@VERSION."""
    for entry in wanted:
        name, _, version = entry.partition("@")
        write_bundle(folder / name / f"{version}.onnx", name, version, sealed=True)
    return folder


def labels(models: Models) -> list[str]:
    return [label(arm.predictor) for arm in models]


def reload(models: Models) -> str:
    warmed: list[str] = []
    text = str(models.prepare(lambda predictor: warmed.append(label(predictor)))())
    return f"{text}; warmed {', '.join(sorted(warmed))}" if warmed else text


# ---- repository


def test_versions_sort_as_people_count() -> None:
    wanted = ["2-rc1", "2", "10", "10.0.1", "10.1", "a"]
    in_order = ["1", "1.9", "1.10", "2-beta", "2-rc1", "2", "2.0", "2.0.1", "10"]
    assert sorted(set(in_order), key=version_key) == in_order
    assert sorted(wanted, key=version_key)[-1] == "10.1"


def test_a_repository_is_found_in_order(tmp_path: Path) -> None:
    fill(tmp_path, "zebra@1", "default@1.9", "default@1.10", "ant@3")
    (tmp_path / "ant" / "notes.txt").write_text("not a model")
    (tmp_path / "ant" / "3.onnx.sha256").unlink(missing_ok=True)

    def found(*names: str) -> list[str]:
        return [str(p.relative_to(tmp_path)) for p in find_models(names, tmp_path)]

    assert found() == ["default/1.10.onnx", "default/1.9.onnx", "ant/3.onnx", "zebra/1.onnx"]
    assert found("zebra", "default@1.9") == ["zebra/1.onnx", "default/1.9.onnx"]
    with pytest.raises(BundleError, match=r"ant@4: .*there are default@1\.10.*zebra@1"):
        find_models(["ant@4"], tmp_path)
    with pytest.raises(BundleError, match="no such folder"):
        find_models([], tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match="holds no model"):
        find_models([], tmp_path / "empty")


def test_a_plan_beside_its_bundle_is_for_its_own_back_end(tmp_path: Path) -> None:
    fill(tmp_path, "toy@1")
    plan, bundle = tmp_path / "toy" / "1.plan", tmp_path / "toy" / "1.onnx"
    plan.write_bytes(b"plan")
    describe(plan, bundle)
    for backend, wanted in (("", bundle), ("onnxruntime-cpu", bundle), ("tensorrt", plan)):
        assert find_models([], tmp_path, backend) == [wanted]
    bundle.unlink()
    assert find_models([], tmp_path) == [plan]
    with pytest.raises(BundleError, match="holds no model"):
        find_models([], tmp_path, "onnxruntime-cpu")


@pytest.mark.parametrize("place", ["toy/2.onnx", "other/1.onnx"])
def test_a_model_in_the_wrong_place_is_refused(place: str, tmp_path: Path) -> None:
    write_bundle(tmp_path / place, "toy", "1")
    with pytest.raises(BundleError, match=r"its metadata says toy@1; its place is toy/1\.onnx"):
        Models(Settings(models=tmp_path))


# ---- names, versions, shares


def test_models_by_name_and_version(tmp_path: Path) -> None:
    fill(tmp_path, "toy@1", "toy@2", "other@1")
    models = Models(Settings(models=tmp_path, model=["toy", "other@1"]))
    assert labels(models) == ["toy@2", "toy@1", "other@1"]
    for wanted, got in (("", "toy@2"), ("toy", "toy@2"), ("toy@1", "toy@1"), ("other", "other@1")):
        assert {label(models.find(wanted).of(d)) for d in DIGESTS[:50]} == {got}
    for wanted in ("gpt", "toy@3", "@1", "x" * 10_000):
        with pytest.raises(EventError, match=r"this server has toy@2, toy@1, other@1"):
            models.find(wanted)
    listed = {(m.name, m.version): (m.is_default, m.share) for m in models.listing()}
    assert listed == {
        ("toy", "2"): (True, 1.0),
        ("toy", "1"): (False, 0.0),
        ("other", "1"): (False, 1.0),
    }


def test_a_split_is_kept_and_the_same_for_the_same_image(tmp_path: Path) -> None:
    fill(tmp_path, "toy@1", "toy@2", "toy@3")
    settings = Settings(models=tmp_path, split=["toy@1=30", "toy@3=10"])
    models, again = Models(settings), Models(settings)
    drawn = [label(models.find("toy").of(d)) for d in DIGESTS]
    assert drawn == [label(again.find("").of(d)) for d in DIGESTS]
    assert abs(drawn.count("toy@1") / len(drawn) - 0.75) < 0.03
    assert drawn.count("toy@2") == 0
    assert {label(models.find("toy@2").of(d)) for d in DIGESTS[:50]} == {"toy@2"}
    assert [(m.version, m.is_default, m.share) for m in models.listing()] == [
        ("3", True, 0.25),
        ("2", False, 0.0),
        ("1", True, 0.75),
    ]


@pytest.mark.parametrize("split", ["toy=1", "toy@1", "toy@1=", "toy@1=-1", "toy@1=x", "@1=1"])
def test_a_bad_split_is_named(split: str) -> None:
    with pytest.raises(ValidationError, match="NAME@VERSION=WEIGHT"):
        Settings(split=[split])


def test_a_split_needs_its_versions_and_a_weight(tmp_path: Path) -> None:
    fill(tmp_path, "toy@1")
    with pytest.raises(BundleError, match=r"no model toy@2; there are toy@1"):
        Models(Settings(models=tmp_path, split=["toy@2=1"]))
    with pytest.raises(ValidationError, match="all weights of toy are 0"):
        Settings(split=["toy@1=0", "toy@2=0.0"])


@pytest.mark.parametrize("address", ["0.0.0.0:50052", "10.0.0.1:1", "[::]:1", "example.org:80"])
def test_the_admin_service_stays_on_this_machine(address: str) -> None:
    with pytest.raises(ValidationError, match="must be local"):
        Settings(admin_address=address)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:5", "[::1]:5", "unix:/tmp/x"])
def test_addresses_of_the_admin_service(address: str) -> None:
    assert Settings(admin_address=address).admin_address == address


def test_batches_are_merged_when_that_is_asked_for(tmp_path: Path) -> None:
    fill(tmp_path, "toy@1")
    (plain,) = Models(Settings(models=tmp_path))
    (merging,) = Models(Settings(models=tmp_path, max_batch=4))
    assert not isinstance(plain.predictor, BatchingPredictor)
    assert isinstance(merging.predictor, BatchingPredictor)
    assert label(merging.predictor) == "toy@1"


@pytest.mark.parametrize(("asked", "most"), [(0, 1), (1, 1), (4, 4)])
def test_a_cpu_is_prepared_for_the_batches_that_it_gets(
    asked: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "toy@1")
    prepared = []

    def load(path: Path, threads: int, backend: str, max_batch: int) -> Predictor:
        prepared.append(max_batch)
        return load_predictor(path, threads, backend, max_batch)

    monkeypatch.setattr(model_registry, "load_predictor", load)
    Models(Settings(models=tmp_path, max_batch=asked, threads=1))
    assert prepared == [most]


# ---- loading again


def test_only_what_changed_is_loaded_again(tmp_path: Path) -> None:
    fill(tmp_path, "a@1", "b@1", "c@1")
    models = Models(Settings(models=tmp_path))
    before = {label(arm.predictor): arm.predictor for arm in models}
    assert reload(models) == "kept a@1, b@1, c@1"
    (tmp_path / "b" / "1.onnx").unlink()
    write_bundle(tmp_path / "c" / "1.onnx", "c", "1", radius=5)
    fill(tmp_path, "a@2")
    assert reload(models) == "added a@2; replaced c@1; removed b@1; kept a@1; warmed a@2, c@1"
    after = {label(arm.predictor): arm.predictor for arm in models}
    assert after["a@1"] is before["a@1"]
    assert after["c@1"] is not before["c@1"]
    assert label(models.find("a").of("")) == "a@2"


def damage(folder: Path) -> None:
    data = bytearray((folder / "toy" / "1.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "toy" / "1.onnx").write_bytes(data)


def misplace(folder: Path) -> None:
    write_bundle(folder / "toy" / "3.onnx", "toy", "4")


def contradict(folder: Path) -> None:
    (folder / "toy" / "2.onnx.sha256").write_text(f"{'0' * 64}  2.onnx\n")


def remove_all(folder: Path) -> None:
    for path in (folder / "toy").iterdir():
        path.unlink()


def fail_warm_up(_: Any) -> None:
    raise BundleError("toy: does not warm up")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (damage, r"toy/1\.onnx: wrong hash"),
        (misplace, r"toy/3\.onnx: lies where toy@3 belongs"),
        (contradict, r"toy/2\.onnx: wrong hash"),
        (remove_all, "holds no model"),
        (lambda folder: write_bundle(folder / "toy" / "1.onnx", "toy", "1"), "does not warm up"),
    ],
    ids=["damage", "misplace", "contradict", "remove_all", "fail_warm_up"],
)
def test_a_bad_model_leaves_all_as_it_was(
    change: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    fill(tmp_path, "toy@1", "toy@2")
    models = Models(Settings(models=tmp_path))
    before = [arm.predictor for arm in models]
    change(tmp_path)
    with pytest.raises(BundleError, match=words):
        models.prepare(fail_warm_up)
    assert [arm.predictor for arm in models] == before


def test_a_removed_model_is_freed_with_its_last_session(tmp_path: Path) -> None:
    fill(tmp_path, "toy@1", "toy@2")
    models = Models(Settings(models=tmp_path))
    predictor = models.find("toy@1").of("")
    freed = weakref.ref(predictor)
    sessions = [ClickSession(prepare_pixels(picture()), predictor) for _ in range(2)]
    del predictor
    (tmp_path / "toy" / "1.onnx").unlink()
    assert reload(models) == "removed toy@1; kept toy@2"
    sessions[0].click(50, 60)
    sessions.pop()
    gc.collect()
    assert freed() is not None
    sessions[0].click(60, 60)
    sessions.pop()
    gc.collect()
    assert freed() is None


# ---- a real server


class Admin:
    """The admin service of a server."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self.stub = admin_pb2_grpc.AdminStub(self._channel)

    def reload(self) -> admin_pb2.ReloadModelsReply:
        return self.stub.ReloadModels(admin_pb2.ReloadModelsRequest(), timeout=DEADLINE)

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "models", "toy@1")


@pytest.fixture
def server(folder: Path) -> Iterator[ServerProcess]:
    with ServerProcess(
        None, models=folder, model=None, admin_address="127.0.0.1:0", metrics_port=0
    ) as process:
        yield process
        assert process.process.poll() is None, process.errors


@pytest.fixture
def admin(server: ServerProcess) -> Iterator[Admin]:
    with Admin(server.line("admin").split()[1]) as admin:
        yield admin


def said(server: ServerProcess, words: str) -> bool:
    return any(words in line for line in server.errors)


def masks_of(bundle: Path, data: bytes, seed: int) -> list[NDArray[np.bool_]]:
    """Without a server."""
    image = prepare(data)
    session = ClickSession(image, load_predictor(bundle, 1))
    masks = []
    for click in random_clicks(seed, 6, image.width, image.height):
        session.click(*click)
        masks.append(session.mask.copy())
    return masks


def test_an_old_session_ends_on_the_old_model(
    server: ServerProcess, admin: Admin, folder: Path, tmp_path: Path
) -> None:
    data = image_file()
    versions = {
        "1": write_bundle(tmp_path / "1.onnx", "toy", "1"),
        "2": write_bundle(tmp_path / "2.onnx", "toy", "2", radius=5),
    }
    wanted = {v: masks_of(path, data, 5) for v, path in versions.items()}
    assert any((a != b).any() for a, b in zip(wanted["1"], wanted["2"], strict=True))
    clicks = random_clicks(5, 6, 160, 120)
    with Client(server.address) as client:
        old = client.open(data)
        masks = [old.click(*click).copy() for click in clicks[:3]]
        write_bundle(folder / "toy" / "2.onnx", "toy", "2", radius=5)
        (folder / "toy" / "1.onnx").unlink()
        reply = admin.reload()
        assert (list(reply.added), list(reply.removed)) == (["toy@2"], ["toy@1"])
        assert [m.version for m in reply.models] == ["2"]
        new = client.open(data)
        assert (old.model_version, new.model_version) == ("1", "2")
        fresh = [new.click(*click).copy() for click in clicks]
        masks += [old.click(*click).copy() for click in clicks[3:]]
        np.testing.assert_array_equal(masks, wanted["1"])
        np.testing.assert_array_equal(fresh, wanted["2"])
        with pytest.raises(EventError, match="this server has toy@2"):
            client.open(data, model="toy@1")
        assert not said(server, "its memory is free")
        old.close()
        wait_until(lambda: said(server, "model toy@1: its memory is free"), "the model is freed")
        new.close()


def test_the_service_is_not_offered_to_clients(server: ServerProcess, admin: Admin) -> None:
    with Admin(server.address) as outside, pytest.raises(grpc.RpcError) as raised:
        outside.reload()
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
    with grpc.insecure_channel(server.line("admin").split()[1]) as channel:
        stub = clickcut_pb2_grpc.ClickcutStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.ListModels(pb.ListModelsRequest(), timeout=DEADLINE)
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_broken_bundle_changes_nothing_and_the_reply_says_why(
    server: ServerProcess, admin: Admin, folder: Path
) -> None:
    with Client(server.address) as client:
        session = client.open(image_file())
        before = session.click(80, 60).copy()
        damage(folder)
        with pytest.raises(grpc.RpcError) as raised:
            admin.reload()
        assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert "toy/1.onnx: wrong hash" in raised.value.details()
        server.hang_up()
        wait_until(
            lambda: sum("nothing has changed" in line for line in server.errors) == 2,
            "the signal is answered in the log",
        )
        assert said(server, "toy/1.onnx: wrong hash")
        assert not said(server, "Traceback")
        again = client.open(image_file())
        np.testing.assert_array_equal(again.click(80, 60), before)
        np.testing.assert_array_equal(session.click(20, 20, positive=False) >= 0, True)


def test_no_session_is_lost_while_models_are_loaded_again(
    server: ServerProcess, admin: Admin, folder: Path
) -> None:
    """Clients click in threads while versions come and go, by signal and by call."""
    data = [image_file(160, 120, seed) for seed in range(2)]
    bundles = {
        v: write_bundle(folder.parent / f"{v}.onnx", "toy", v, radius=r)
        for v, r in (("1", 12), ("2", 5))
    }
    expected = {(v, k): masks_of(path, data[k], k) for v, path in bundles.items() for k in range(2)}
    over = threading.Event()
    seen: list[str] = []

    def play(k: int) -> int:
        done = 0
        with Client(server.address) as client:
            while not over.is_set() or done < 2:
                with client.open(data[k % 2]) as session:
                    version = session.model_version
                    seen.append(version)
                    clicks = random_clicks(k % 2, 6, session.width, session.height)
                    for click, wanted in zip(clicks, expected[version, k % 2], strict=True):
                        np.testing.assert_array_equal(session.click(*click), wanted)
                    done += 1
        return done

    with ThreadPoolExecutor(4) as pool:
        games = [pool.submit(play, k) for k in range(4)]
        for turn in range(8):
            version, other = ("2", "1") if turn % 2 == 0 else ("1", "2")
            radius = 5 if version == "2" else 12
            write_bundle(folder / "toy" / f"{version}.onnx", "toy", version, radius, sealed=True)
            (folder / "toy" / f"{other}.onnx").unlink()
            if turn % 4 < 2:
                assert list(admin.reload().added) == [f"toy@{version}"]
            else:
                server.hang_up()
                wait_until(
                    lambda turn=turn: (
                        sum("models reloaded" in x for x in server.errors) == turn + 1
                    ),
                    "the models are loaded again",
                )
            before = len(seen)
            wait_until(
                lambda version=version, before=before: version in seen[before:],
                "a session has the new model",
            )
        over.set()
        assert all(game.result(DEADLINE) >= 2 for game in games)
    assert {"1", "2"} <= set(seen)
    assert not said(server, "Traceback")
    wait_until(lambda: gauge(server, "clickcut_sessions") == 0, "all sessions are closed")


def test_a_signal_while_the_server_starts_does_no_harm(folder: Path) -> None:
    prelude = """
import os, signal
import clickcut.server.process as app
real = app.Models
def models(settings):
    os.kill(os.getpid(), signal.SIGHUP)
    return real(settings)
app.Models = models
"""
    with ServerProcess(None, models=folder, model=None, prelude=prelude) as server:
        server.hang_up()
        wait_until(lambda: said(server, "models reloaded: kept toy@1"), "it is served")


def test_two_versions_side_by_side(folder: Path) -> None:
    write_bundle(folder / "toy" / "2.onnx", "toy", "2", radius=5)
    with (
        ServerProcess(
            None, models=folder, model=None, split=["toy@1=1", "toy@2=1"], metrics_port=0
        ) as server,
        Client(server.address) as client,
    ):
        assert sorted((m.version, m.share, m.is_default) for m in client.models()) == [
            ("1", 0.5, True),
            ("2", 0.5, True),
        ]
        files = [image_file(40 + k, 40) for k in range(24)]
        got = {}
        for k, data in enumerate(files):
            with client.open(data) as session:
                got[k] = session.model_version
        assert set(got.values()) == {"1", "2"}
        for k in range(4):  # the same image, the same version
            with client.open(files[k]) as session:
                assert session.model_version == got[k]
        for version in ("1", "2"):
            with client.open(files[0], model=f"toy@{version}") as session:
                assert session.model_version == version
        metric = 'clickcut_model_uses_total{name="toy",version="1"}'
        assert gauge(server, metric) >= 1


def test_the_admin_service_on_a_socket_of_the_file_system(folder: Path, tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'admin.sock'}"
    with (
        ServerProcess(None, models=folder, model=None, admin_address=address),
        Admin(address) as admin,
    ):
        assert list(admin.reload().kept) == ["toy@1"]


def test_merged_predictions_give_the_same_masks(folder: Path) -> None:
    data = image_file()
    expected = [masks_of(folder / "toy" / "1.onnx", data, k) for k in range(4)]
    with ServerProcess(
        None, models=folder, model=None, max_batch=4, batch_delay_ms=5, workers=4
    ) as server:

        def play(k: int) -> list[NDArray[np.bool_]]:
            with Client(server.address) as client, client.open(data) as session:
                return [session.click(*c).copy() for c in random_clicks(k, 6, 160, 120)]

        with ThreadPoolExecutor(4) as pool:
            np.testing.assert_array_equal(list(pool.map(play, range(4))), expected)
        server.terminate()
        assert server.join() == 0  # nothing is left that keeps it


def test_a_version_is_part_of_the_reply(server: ServerProcess) -> None:
    with RawStream(server.address) as raw:
        image = raw.ask(open=pb.Open(image=image_file(), model="toy@1")).image
        assert (image.model, image.model_version) == ("toy", "1")
