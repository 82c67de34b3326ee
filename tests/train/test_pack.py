"""Packing: nothing is lost, the same bytes each time, all or nothing; reading by file and HTTP."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import trees
from PIL import Image

from clickcut_eval.datasets.rle import encode_mask
from clickcut_train.data import fetch, shards
from clickcut_train.data.config import DataConfig, SourceConfig
from clickcut_train.data.manifest import PackOptions, parse_manifest
from clickcut_train.data.members import from_members, to_members
from clickcut_train.data.open import open_sources
from clickcut_train.data.pack import pack
from clickcut_train.data.photo import Photo
from clickcut_train.data.shards import open_shards
from clickcut_train.data.source import epoch
from clickcut_train.errors import DataError


def config(*sources, **options):
    return DataConfig(sources=sources, **options)


def voc_source(root, count=6, weight=1.0):
    trees.voc(root, count)
    return SourceConfig(kind="voc", path=str(root), splits=("train",), weight=weight)


def overlapping(root):
    """A photo whose objects overlap, with a crowd."""
    trees.coco(
        root,
        [
            {"segmentation": [trees.square(10, 10, 60, 80)]},
            {"segmentation": [trees.square(30, 30, 50, 60)]},
            {"segmentation": [trees.square(40, 20, 100, 50)]},
            {"segmentation": {"size": [96, 128], "counts": [100 * 96, 28 * 96]}, "iscrowd": 1},
        ],
        count=3,
    )
    return SourceConfig(kind="coco", path=str(root), weight=2.0)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Six VOC and three COCO photos in several shards."""
    root = tmp_path_factory.mktemp("data")
    whole = config(voc_source(root / "voc"), overlapping(root / "coco"))
    manifest, _ = pack(whole, root / "packed", PackOptions(shard_mib=0.03))
    assert len(manifest.shards) > 2
    return root, whole, manifest


def by_name(source):
    return {p.name: p for p in (source.photo(i) for i in range(len(source)))}


# ---- what is packed


def test_nothing_is_lost(packed):
    root, whole, manifest = packed
    unpacked, _ = open_sources(whole)
    source = open_shards(str(root / "packed"))
    assert (len(source), manifest.photos, manifest.objects) == (9, 9, 17)
    found, wanted = by_name(source), by_name(unpacked)
    assert found.keys() == wanted.keys()
    for name, photo in found.items():
        np.testing.assert_array_equal(photo.masks(), wanted[name].masks())
        np.testing.assert_array_equal(photo.image(), wanted[name].image())
        assert (photo.void is None) == (wanted[name].void is None)
        if photo.void is not None:
            np.testing.assert_array_equal(photo.void_mask(), wanted[name].void_mask())
    weights = {source.photo(i).name: source.weights[i] for i in range(9)}
    assert all(weights[name] == (2.0 if name.startswith("c") else 1.0) for name in weights)
    assert [len(source.photo(i).rles) for i in range(9)] == source.objects.tolist()


def test_shards_are_plain_tar_files_in_the_convention_of_webdataset(packed):
    """Members of a photo follow one another; KEY is what stands before the first dot."""
    root, _, manifest = packed
    keys = []
    for shard in manifest.shards:
        path = root / "packed" / shard.name
        assert path.stat().st_size == shard.bytes <= 0.03 * 2**20
        assert hashlib.sha256(path.read_bytes()).hexdigest() == shard.sha256
        with tarfile.open(path) as tar:
            names = tar.getnames()
            members = {n: tar.extractfile(n).read() for n in names}
        order = [n.split(".", 1)[0] for n in names]
        assert order == sorted(order)
        for key in dict.fromkeys(order):
            keys.append(key)
            record = json.loads(members[f"{key}.json"])
            image = Image.open(io.BytesIO(members[f"{key}.jpg"]))
            assert image.size == (record["width"], record["height"])
            for instance in record["instances"]:
                ids = np.asarray(
                    Image.open(io.BytesIO(members[f"{key}.masks{instance['map']}.png"]))
                )
                assert (ids == instance["id"]).sum() == instance["area"]
    assert len(keys) == len(set(keys)) == 9


def test_overlapping_instances_lie_in_different_maps(packed):
    root, _, _ = packed
    with contextlib.ExitStack() as stack:
        tars = [
            stack.enter_context(tarfile.open(p)) for p in sorted((root / "packed").glob("*.tar"))
        ]
        records = [
            json.loads(tar.extractfile(m).read())
            for tar in tars
            for m in tar
            if m.name.endswith(".json")
        ]
    (many,) = (r for r in records if len(r["instances"]) == 3)
    assert [i["map"] for i in many["instances"]] == [0, 1, 2]


def test_the_same_input_gives_the_same_bytes(packed, tmp_path):
    root, whole, manifest = packed
    again, _ = pack(whole, tmp_path / "again", PackOptions(shard_mib=0.03), workers=1)
    assert again == manifest
    for name in ("manifest.json", *(s.name for s in manifest.shards)):
        assert (tmp_path / "again" / name).read_bytes() == (root / "packed" / name).read_bytes()
    other, _ = pack(whole, tmp_path / "other", PackOptions(shard_mib=0.03, seed=1))
    assert other.shards[0].sha256 != manifest.shards[0].sha256


def test_the_manifest_names_no_folder_of_the_machine(packed):
    root, _, manifest = packed
    text = (root / "packed/manifest.json").read_text()
    assert str(root) not in text
    assert [(s.kind, s.name, s.splits) for s in manifest.sources] == [
        ("voc", "voc", ("train",)),
        ("coco", "coco", ()),
    ]
    assert [(s.photos, s.objects) for s in manifest.sources] == [(6, 12), (3, 5)]


def test_large_photos_are_scaled_with_their_masks(tmp_path):
    trees.folder(tmp_path / "f", 1)
    big = cv2.resize(trees.picture(), (640, 480), interpolation=cv2.INTER_NEAREST)
    ids = cv2.resize(trees.ids(), (640, 480), interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(tmp_path / "f/images/p0.jpg"), big[..., ::-1])
    trees.write_map(tmp_path / "f/masks/p0.png", ids, palette=False)
    source = SourceConfig(kind="folder", path=str(tmp_path / "f"))
    pack(config(source), tmp_path / "out", PackOptions(long_side=128, quality=95))
    photo = open_shards(str(tmp_path / "out")).photo(0)
    assert photo.size == (96, 128)
    assert photo.image().shape == (96, 128, 3)
    for k in (0, 1):
        assert (photo.mask(k) != (trees.ids() == k + 1)).sum() < 20
    assert np.abs(photo.image().astype(int) - trees.picture()).mean() < 12
    assert not (photo.void_mask() & photo.masks().any(0)).any()


def test_pictures_that_are_no_plain_jpeg_are_encoded_anew(tmp_path):
    trees.folder(tmp_path / "f", 2)
    Image.fromarray(trees.picture()).save(tmp_path / "f/images/p0.jpg", format="PNG")
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: the mask is that of the picture as it is displayed
    Image.fromarray(trees.picture(1)[::-1, ::-1]).save(
        tmp_path / "f/images/p1.jpg", exif=exif, quality=95
    )
    pack(
        config(SourceConfig(kind="folder", path=str(tmp_path / "f"))), tmp_path / "o", PackOptions()
    )
    source = open_shards(str(tmp_path / "o"))
    for name, photo in by_name(source).items():
        assert photo.encoded.startswith(b"\xff\xd8\xff")
        with Image.open(io.BytesIO(photo.encoded)) as image:
            assert image.getexif().get(0x0112, 1) == 1
        assert np.abs(photo.image().astype(int) - trees.picture(int(name[1]))).mean() < 12


def test_many_instances_take_several_maps():
    masks = []
    for k in range(600):
        mask = np.zeros((60, 60), np.uint8)
        mask[2 * (k // 30) : 2 * (k // 30) + 2, 2 * (k % 30) : 2 * (k % 30) + 2] = 1
        masks.append(encode_mask(mask))
    jpeg = cv2.imencode(".jpg", np.zeros((60, 60, 3), np.uint8))[1].tobytes()
    members = to_members(Photo("m", jpeg, tuple(masks)), 0)
    assert sum(name.startswith("masks") for name in members) == 3
    again = from_members(members, "m")
    assert [r["counts"] for r in again.rles] == [r["counts"] for r in masks]


def test_faulty_photos_are_reported_and_left_out(tmp_path):
    source = voc_source(tmp_path / "voc", 12)
    (tmp_path / "voc/SegmentationObject/2007_000003.png").unlink()
    manifest, (report,) = pack(config(source), tmp_path / "out", PackOptions())
    assert (manifest.photos, manifest.sources[0].faulty) == (11, 1)
    assert report.faulty[0][0] == "2007_000003"
    (tmp_path / "voc/SegmentationObject/2007_000004.png").unlink()
    with pytest.raises(DataError, match="more than 10%"):
        pack(config(source), tmp_path / "two", PackOptions())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "voc"]


def test_small_objects_are_those_that_are_small_when_packed(tmp_path):
    source = voc_source(tmp_path / "voc", 2)
    with pytest.raises(DataError, match="no photo with an object"):
        pack(config(source), tmp_path / "out", PackOptions(min_area=5000))
    manifest, _ = pack(config(source), tmp_path / "out", PackOptions(long_side=64, min_area=500))
    assert (manifest.objects, manifest.sources[0].small_objects) == (2, 2)


# ---- all or nothing


def test_a_folder_that_exists_is_not_touched(packed):
    root, whole, _ = packed
    before = sorted((root / "packed").iterdir())
    with pytest.raises(DataError, match="exists"):
        pack(whole, root / "packed", PackOptions())
    assert sorted((root / "packed").iterdir()) == before


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    whole = config(voc_source(tmp_path / "voc"))
    written = 0

    def full(self, info, fileobj):
        nonlocal written
        written += info.size
        if written > 20_000:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(DataError, match="is full"):
        pack(whole, tmp_path / "out", PackOptions())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["voc"]


SLOW_PACK = """
import sys, time
from pathlib import Path
from clickcut_train.data import config, manifest, pack
source = config.SourceConfig(kind="voc", path=sys.argv[1], splits=("train",))
def slowly(done, total, size):
    if size > 40_000:
        print("a shard is complete", flush=True)
        time.sleep(60)
pack.pack(config.DataConfig(sources=(source,)), Path(sys.argv[2]),
          manifest.PackOptions(shard_mib=0.03), slowly)
"""


def start_pack(root, out):
    """A process that has written more than a shard and waits."""
    command = [sys.executable, "-c", SLOW_PACK, str(root), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "a shard is complete\n"
    return process


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_that_looks_whole_and_the_next_one_clears_up(tmp_path):
    whole = config(voc_source(tmp_path / "voc"))
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    with start_pack(tmp_path / "voc", out) as process:
        with pytest.raises(DataError, match="another run"):
            pack(whole, out, PackOptions())
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    assert list(partial.glob("shard-*.tar"))
    assert not (partial / "manifest.json").exists()
    with pytest.raises(DataError, match="cannot be read"):
        open_shards(str(partial))
    pack(whole, out, PackOptions())
    assert not partial.exists()
    assert len(open_shards(str(out))) == 6


# ---- reading


def test_photos_are_read_at_random_by_several_threads(packed):
    root, _, _ = packed
    source = open_shards(str(root / "packed"))
    alone = open_shards(str(root / "packed"))
    wanted = [alone.photo(i) for i in range(9)]
    numbers = np.random.default_rng(0).integers(0, 9, 200)
    with ThreadPoolExecutor(4) as pool:
        for index, photo in zip(numbers, pool.map(source.photo, numbers), strict=True):
            assert photo == wanted[index]


def test_few_files_stay_open(packed, monkeypatch):
    root, _, _ = packed
    monkeypatch.setattr(shards, "_OPEN", 1)
    source = open_shards(str(root / "packed"))
    before = len(os.listdir("/proc/self/fd"))
    for index in (0, 8, 4, 0, 8):
        source.photo(index)
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_a_damaged_shard_is_an_error(packed, tmp_path):
    root, _, manifest = packed
    for path in (root / "packed").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    first = tmp_path / manifest.shards[0].name
    data = bytearray(first.read_bytes())
    data[5000] ^= 1
    first.write_bytes(data)
    source = open_shards(str(tmp_path))
    with pytest.raises(DataError, match="copy it again"):
        source.photo(0)
    first.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        source.photo(0)
    assert source.photo(8).rles


def test_packed_data_mix_with_data_sets(packed):
    root, _, _ = packed
    shards_ = SourceConfig(kind="shards", path=str(root / "packed"), weight=2.0)
    voc = SourceConfig(kind="voc", path=str(root / "voc"), splits=("train",))
    mixed, reports = open_sources(config(shards_, voc))
    assert len(mixed) == 15
    assert mixed.weights.sum() == 2 * (6 + 2 * 3) + 6
    assert reports[0].photos == 9
    assert sorted(np.unique(epoch(mixed, np.random.default_rng(0)))) == list(range(15))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "other"}, "format"),
        ({"photos": 3}, "other photos"),
        ({"bytes": 3}, "other sizes"),
        ({"extra": 1}, "extra"),
        ({"shards": []}, "shards"),
    ],
)
def test_a_wrong_manifest_is_an_error(packed, change, reason):
    root, _, _ = packed
    document = json.loads((root / "packed/manifest.json").read_text())
    with pytest.raises(DataError, match=reason):
        parse_manifest(json.dumps(document | change).encode(), "here")
    document["shards"][0]["name"] = "../../shard-000000.tar"
    with pytest.raises(DataError, match=r"shards\.0\.name"):
        parse_manifest(json.dumps(document).encode(), "here")
    with pytest.raises(DataError, match="not a manifest"):
        parse_manifest(b"<html>", "here")


def test_members_that_do_not_fit_are_errors():
    rles = tuple(encode_mask(trees.ids() == k) for k in (1, 2))
    members = to_members(Photo("p", trees.jpeg(), rles), 0)
    assert from_members(members, "k").rles == rles
    small = cv2.imencode(".jpg", np.zeros((9, 9, 3), np.uint8))[1].tobytes()
    for wrong, reason in (
        ({"masks0.png": b"junk"}, "damaged or not PNG"),
        ({"jpg": small}, "jpg is 9 x 9, not 128 x 96"),
        ({"jpg": b"junk"}, "cannot identify"),
        ({"json": b"{}"}, "name"),
    ):
        with pytest.raises(DataError, match=reason):
            from_members(members | wrong, "k")
    del members["masks0.png"]
    with pytest.raises(DataError, match=r"no member masks0\.png"):
        from_members(members, "k")


# ---- over HTTP


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; `faults` are answers given first."""

    faults: list = []  # noqa: RUF012
    asked: list = []  # noqa: RUF012

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.asked.append(self.path)
        if self.path.endswith(".tar") and self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, int):
                return self.send_error(fault)
            data = (Path(self.directory) / self.path.lstrip("/")).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if fault == "cut" else bytes(len(data)))
            return None
        return super().do_GET()


@pytest.fixture
def server(packed, monkeypatch):
    root, _, _ = packed
    monkeypatch.setattr(fetch, "BACKOFF", 0.01)
    handler = type("Fresh", (Handler,), {"faults": [], "asked": []})
    httpd = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(root / "packed"))
    )
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    httpd.url = f"http://127.0.0.1:{httpd.server_port}"
    httpd.faults, httpd.asked = handler.faults, handler.asked
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_shards_come_from_a_url_and_stay_in_the_cache(packed, server, tmp_path):
    root, _, manifest = packed
    wanted = by_name(open_shards(str(root / "packed")))
    for location in (f"{server.url}/manifest.json", server.url):
        source = open_shards(location, cache=str(tmp_path))
        assert by_name(source) == wanted
    fetched = [p for p in server.asked if p.endswith(".tar")]
    assert sorted(fetched) == sorted(f"/{s.name}" for s in manifest.shards)
    assert not list(tmp_path.glob("*.partial"))


def test_a_damaged_file_of_the_cache_is_fetched_again(packed, server, tmp_path):
    _, _, manifest = packed
    open_shards(server.url, cache=str(tmp_path)).photo(0)
    held = tmp_path / f"{manifest.shards[0].sha256}.tar"
    held.write_bytes(held.read_bytes()[:-1] + b"x")
    assert open_shards(server.url, cache=str(tmp_path)).photo(0).rles
    assert server.asked.count("/shard-000000.tar") == 2


@pytest.mark.parametrize("faults", [[503, 500], ["cut"], ["zeros", "cut", 429]])
def test_broken_transfers_are_tried_again(server, tmp_path, faults):
    server.faults += faults
    assert open_shards(server.url, cache=str(tmp_path)).photo(0).rles
    assert server.asked.count("/shard-000000.tar") == len(faults) + 1


@pytest.mark.parametrize(
    ("faults", "reason"),
    [([404], "404"), ([503] * 9, "4 attempts"), (["zeros"] * 9, "another hash")],
)
def test_what_cannot_be_fetched_is_an_error(server, tmp_path, faults, reason):
    server.faults += faults
    source = open_shards(server.url, cache=str(tmp_path))
    with pytest.raises(DataError, match=reason):
        source.photo(0)
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".lock"]


def test_no_server_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "BACKOFF", 0.0)
    with pytest.raises(DataError, match="not fetched"):
        open_shards("http://127.0.0.1:9/manifest.json", cache=str(tmp_path))


def test_the_cache_is_bounded_and_drops_what_was_used_longest_ago(packed, server, tmp_path):
    _, _, manifest = packed
    most = max(s.bytes for s in manifest.shards) * 2
    source = open_shards(server.url, window=1, cache=str(tmp_path), cache_gib=most / 2**30)
    starts = np.cumsum([0, *(len(s.objects_of_photo) for s in manifest.shards)])
    for start in starts[:-1]:
        source.photo(int(start))
        time.sleep(0.01)
        assert sum(p.stat().st_size for p in tmp_path.glob("*.tar")) <= most
    left = {p.stem for p in tmp_path.glob("*.tar")}
    assert manifest.shards[-1].sha256 in left
    assert manifest.shards[0].sha256 not in left
    assert source.photo(0).rles  # an open file is read to its end


def test_a_cache_too_small_for_the_order_is_an_error(packed, server, tmp_path):
    _, _, manifest = packed
    some = manifest.bytes * 0.6 / 2**30
    with pytest.raises(DataError, match="set window to at most 1"):
        open_shards(server.url, cache=str(tmp_path), cache_gib=some)
    source = open_shards(server.url, window=1, cache=str(tmp_path), cache_gib=some)
    drawn = epoch(source, np.random.default_rng(0))
    changes = np.count_nonzero(np.diff(source.groups[drawn]))
    assert changes == len(manifest.shards) - 1  # each shard is fetched once an epoch
