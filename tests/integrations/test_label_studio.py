"""The backend for Label Studio, with a stub of it and a real engine with a small model."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest
from integrations.studio_stub import (
    BOTH_CONFIG,
    CONFIG,
    IMAGE,
    LEGACY_KEY,
    PERSONAL_KEY,
    POLYGON_CONFIG,
    StudioStub,
    box,
    click,
    predict_document,
    with_data,
)
from PIL import Image
from server.harness import Line, ServerProcess, image_file

from clickcut.client import AsyncSession, Client
from clickcut.client.protocol import Limits
from clickcut.errors import ClickcutError
from clickcut_formats import label_studio
from clickcut_label_studio import answers as encoding
from clickcut_label_studio.backend import Backend
from clickcut_label_studio.errors import (
    KeyRefusedError,
    LabelStudioError,
    LabelStudioUnreachableError,
    SlowError,
    TaskError,
)
from clickcut_label_studio.prompts import request_of
from clickcut_label_studio.settings import BackendSettings

T = TypeVar("T")
Mask = np.ndarray


@pytest.fixture
def studio() -> Iterator[StudioStub]:
    with StudioStub() as stub:
        stub.images[IMAGE] = image_file()
        yield stub


@pytest.fixture
def settings(studio: StudioStub, server: ServerProcess) -> BackendSettings:
    return BackendSettings(url=studio.url, api_key=LEGACY_KEY, server=server.address)


def using(settings: BackendSettings, work: Callable[[Backend], Awaitable[T]]) -> T:
    """Run something with a backend."""

    async def run() -> T:
        backend = Backend(settings)
        try:
            return await work(backend)
        finally:
            await backend.close()

    return asyncio.run(run())


def answers(settings: BackendSettings, *documents: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The regions for requests, one after the other."""

    async def work(backend: Backend) -> list[list[dict[str, Any]]]:
        return [(await backend.predict(d))["results"][0]["result"] for d in documents]

    return using(settings, work)


def mask_of(regions: list[dict[str, Any]]) -> Mask:
    """Of regions with one label: as `clickcut_formats` reads an export."""
    task = {"data": {"image": "x.png"}, "annotations": [{"result": regions}]}
    masks = [item.mask for item in label_studio.parse([task], "x")[0].objects]
    return np.logical_or.reduce(masks)


def selected(server: ServerProcess, *clicks: tuple[float, float, bool], data: bytes = b"") -> Mask:
    """The engine's own mask."""
    with Client(server.address) as client, client.open(data or image_file()) as session:
        for x, y, positive in clicks:
            mask = session.click(x, y, positive)
        return mask


# ---- clicks


def test_three_clicks_give_the_mask_of_the_engine(
    settings: BackendSettings, server: ServerProcess
) -> None:
    clicks = [click(80, 60, id="a"), click(40, 30, id="b"), click(10, 100, False, id="c")]
    found = answers(settings, *(predict_document(*clicks[: n + 1]) for n in range(3)))
    plain = [(80, 60, True), (40, 30, True), (10, 100, False)]
    for n, regions in enumerate(found):
        np.testing.assert_array_equal(mask_of(regions), selected(server, *plain[: n + 1]))
    [region] = found[2]
    assert (region["from_name"], region["to_name"], region["type"]) == (
        "mask", "image", "brushlabels",
    )  # fmt: skip
    assert region["value"]["brushlabels"] == ["cat"]
    assert len({regions[0]["id"] for regions in found}) == 1


def test_label_studio_decodes_the_brush(settings: BackendSettings, server: ServerProcess) -> None:
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    [[region]] = answers(settings, predict_document(click(80, 60, id="a")))
    pixels = brush.decode_rle(region["value"]["rle"]).reshape(120, 160, 4)
    np.testing.assert_array_equal(pixels[..., 3] == 255, selected(server, (80, 60, True)))


def test_a_list_that_extends_the_last_costs_one_click(
    settings: BackendSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def spied(name: str) -> None:
        real = getattr(AsyncSession, name)

        def spy(self: AsyncSession, *arguments: Any) -> Any:
            done.append(name)
            return real(self, *arguments)

        monkeypatch.setattr(AsyncSession, name, spy)

    for name in ("click", "undo"):
        spied(name)
    a, b, c, d = (click(80 - 9 * n, 60, id=str(n)) for n in range(4))

    async def work(backend: Backend) -> None:
        for clicks, expected in (
            ([a], ["click"]),
            ([a, b], ["click"]),
            ([a, b], []),
            ([a, b, c, d], ["click", "click"]),
            ([a, c], ["undo", "undo", "undo", "click"]),
            ([a], ["undo"]),
        ):
            done.clear()
            await backend.predict(predict_document(*clicks))
            assert done == expected

    using(settings, work)


def test_clicks_that_were_removed_in_between(
    settings: BackendSettings, server: ServerProcess
) -> None:
    a, b, c = click(80, 60, id="a"), click(10, 100, False, id="b"), click(40, 30, id="c")
    _, regions = answers(settings, predict_document(a, b, c), predict_document(a, c))
    expected = selected(server, (80, 60, True), (40, 30, True))
    np.testing.assert_array_equal(mask_of(regions), expected)


def test_several_annotators_at_once(
    settings: BackendSettings, server: ServerProcess, studio: StudioStub
) -> None:
    places = [(20 + 17 * n, 30 + 9 * n) for n in range(6)]

    async def annotate(backend: Backend, n: int) -> list[Mask]:
        x, y = places[n]
        first, second = click(x, y, id=f"{n}a"), click(150 - x, y, False, id=f"{n}b")
        found = []
        for clicks in ((first,), (first, second)):
            answer = await backend.predict(predict_document(*clicks))
            found.append(mask_of(answer["results"][0]["result"]))
        return found

    async def work(backend: Backend) -> list[list[Mask]]:
        return await asyncio.gather(*(annotate(backend, n) for n in range(len(places))))

    for (x, y), masks in zip(places, using(settings, work), strict=True):
        np.testing.assert_array_equal(masks[0], selected(server, (x, y, True)))
        np.testing.assert_array_equal(masks[1], selected(server, (x, y, True), (150 - x, y, False)))
    assert studio.fetched(IMAGE) == 1


def test_clicks_made_faster_than_answers(settings: BackendSettings, server: ServerProcess) -> None:
    clicks = [click(20 * n + 10, 60, id=str(n)) for n in range(5)]

    async def work(backend: Backend) -> list[Mask]:
        every = [predict_document(*clicks[: n + 1]) for n in range(5)]
        found = await asyncio.gather(*(backend.predict(d) for d in every))
        return [mask_of(answer["results"][0]["result"]) for answer in found]

    plain = [(20 * n + 10, 60, True) for n in range(5)]
    for n, mask in enumerate(using(settings, work)):
        np.testing.assert_array_equal(mask, selected(server, *plain[: n + 1]))


def test_an_object_for_each_label(settings: BackendSettings, server: ServerProcess) -> None:
    request = predict_document(
        click(80, 60, id="a"),
        click(30, 30, id="b", label="hound"),
        click(10, 100, False, id="c"),
        click(150, 110, False, id="d", label="dog"),  # has no object: belongs to the last one
    )
    [regions] = answers(settings, request)
    assert [r["value"]["brushlabels"] for r in regions] == [["cat"], ["hound"]]
    cat = selected(server, (80, 60, True), (10, 100, False), (150, 110, False))
    np.testing.assert_array_equal(mask_of(regions[:1]), cat)
    np.testing.assert_array_equal(mask_of(regions[1:]), selected(server, (30, 30, True)))
    assert regions[0]["id"] != regions[1]["id"]


def test_a_box_is_a_prompt(settings: BackendSettings, server: ServerProcess) -> None:
    [regions] = answers(settings, predict_document(box(40, 30, 60, 50, id="a")))
    with Client(server.address) as client, client.open(image_file()) as session:
        expected = session.box(39.5, 29.5, 99.5, 79.5)
    np.testing.assert_array_equal(mask_of(regions), expected)


def test_a_mask_that_is_empty_is_no_region(settings: BackendSettings) -> None:
    request = request_of(predict_document(click(80, 60, id="a")))
    mask = np.zeros((120, 160), np.bool_)
    assert encoding.regions(request, request.selections[0], mask, settings) == []
    mask[5, 5] = True
    assert len(encoding.regions(request, request.selections[0], mask, settings)) == 1


def test_requests_without_clicks(settings: BackendSettings) -> None:
    """An empty prediction would be shown as one; an empty list of them is not."""
    tasks = [{"id": n, "data": {"image": IMAGE}} for n in range(3)]
    plain = predict_document(tasks=tasks, params={"context": None})

    async def work(backend: Backend) -> list[dict[str, Any]]:
        return [await backend.predict(plain), await backend.predict(predict_document())]

    all_tasks, no_click = using(settings, work)
    assert all_tasks == {"results": [[], [], []]}
    assert [entry["result"] for entry in no_click["results"]] == [[]]


def test_polygons(settings: BackendSettings, server: ServerProcess) -> None:
    request = predict_document(click(80, 60, id="a"), label_config=POLYGON_CONFIG)
    [regions] = answers(replace(settings, tolerance=0.0), request)
    assert {r["type"] for r in regions} == {"polygonlabels"}
    assert {r["from_name"] for r in regions} == {"outline"}
    expected = selected(server, (80, 60, True))
    found = mask_of(regions)
    assert (expected & found).sum() == expected.sum()  # holes are filled
    assert (expected & found).sum() / (expected | found).sum() > 0.95


def test_the_shape_is_a_choice_where_there_are_tags_for_both(settings: BackendSettings) -> None:
    request = predict_document(click(80, 60, id="a"), label_config=BOTH_CONFIG)
    [brush] = answers(settings, request)
    [polygons] = answers(replace(settings, shape="polygon"), request)
    assert brush[0]["type"] == "brushlabels"
    assert polygons[0]["type"] == "polygonlabels"


# ---- images


def test_an_image_turned_by_exif(
    settings: BackendSettings, studio: StudioStub, server: ServerProcess
) -> None:
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    with Image.open(io.BytesIO(image_file())) as picture:
        picture.save(turned, "JPEG", exif=exif, quality=95)
    studio.images[IMAGE] = turned.getvalue()
    [[region]] = answers(settings, predict_document(click(50, 90, id="a", size=(120, 160))))
    assert (region["original_width"], region["original_height"]) == (120, 160)
    expected = selected(server, (50, 90, True), data=turned.getvalue())
    np.testing.assert_array_equal(mask_of([region]), expected)
    with pytest.raises(TaskError, match=r"browser shows 160 x 120 .* file has 120 x 160"):
        answers(settings, predict_document(click(50, 90, id="a")))


def test_where_images_are(settings: BackendSettings, studio: StudioStub) -> None:
    studio.images["/data/local-files/?d=set/one.png"] = image_file()
    studio.images["/signed?key=1"] = image_file()
    studio.buckets |= {"s3://bucket/a b.png": image_file(), "azure-blob://c/d.png": image_file()}
    studio.redirects["/tasks/7/presigned/"] = "/signed?key=1"
    for value in (
        "/data/local-files/?d=set/one.png",
        "s3://bucket/a b.png",
        "azure-blob://c/d.png",
        f"{studio.url}{IMAGE}",
        "/tasks/7/presigned/",
    ):
        request = predict_document(click(80, 60, id="a"), tasks=with_data(image=value))
        [regions] = answers(settings, request)
        assert len(regions) == 1, value


def test_the_key_goes_to_label_studio_only(settings: BackendSettings, studio: StudioStub) -> None:
    with StudioStub(keyless=True) as storage:
        storage.images["/object"] = image_file()
        studio.redirects["/tasks/7/resolve/"] = f"{storage.url}/object"
        tasks = with_data(image="gs://bucket/x.png")
        [regions] = answers(settings, predict_document(click(80, 60, id="a"), tasks=tasks))
        assert regions
        assert [given for _, _, given in storage.requests] == [""]
        # Asked for by a task itself, another host is refused unless it is allowed.
        elsewhere = with_data(image=f"{storage.url}/object")
        request = predict_document(click(80, 60, id="a"), tasks=elsewhere)
        with pytest.raises(TaskError, match="--image-host"):
            answers(settings, request)
        assert len(storage.requests) == 1
        allowed = replace(settings, image_hosts=(f"127.0.0.1:{storage.port}",))
        assert answers(allowed, request)
        assert {given for _, _, given in storage.requests} == {""}


@pytest.mark.parametrize(
    "value",
    [
        "http://127.0.0.1:9\\@{host}/x.png",
        "http://{host}@evil.example/x.png",
        "http://{host}.evil.example/x.png",
        "//evil.example/x.png",
        "file:///etc/passwd",
        "x.png",
        "data:image/png;base64,AAAA",
        "",
        None,
        ["/data/x.png"],
        {"url": 1},
    ],
)
def test_images_that_are_nowhere_to_be_fetched(
    settings: BackendSettings, studio: StudioStub, value: Any
) -> None:
    if isinstance(value, str):
        value = value.format(host=f"127.0.0.1:{studio.port}")
    request = predict_document(click(80, 60, id="a"), tasks=with_data(image=value))
    with pytest.raises((TaskError, LabelStudioError)) as raised:
        answers(settings, request)
    assert "\n" not in str(raised.value)


def test_several_images_in_a_task(settings: BackendSettings, studio: StudioStub) -> None:
    studio.images["/data/second.png"] = image_file(seed=1)
    config = CONFIG.replace('value="$image"', 'valueList="$pages"')
    tasks = with_data(pages=["/data/upload/1/a photo.png", "/data/second.png"])
    request = predict_document(
        click(80, 60, id="a", item_index=1), tasks=tasks, label_config=config
    )
    [[region]] = answers(settings, request)
    assert region["item_index"] == 1
    assert studio.fetched("/data/second.png") == 1
    assert studio.fetched(IMAGE) == 0


def test_an_image_is_fetched_and_sent_once(
    settings: BackendSettings, studio: StudioStub, server: ServerProcess
) -> None:
    studio.images[IMAGE] = image_file(900, 700, seed=5)
    size = (900, 700)
    with Line(server.port) as line:
        found = answers(
            replace(settings, server=line.address),
            *(predict_document(click(300 + n, 200, id=str(n), size=size)) for n in range(5)),
        )
    assert all(found)
    assert studio.fetched(IMAGE) == 1
    assert len(studio.images[IMAGE]) < line.sent < 1.5 * len(studio.images[IMAGE])


# ---- Label Studio that refuses, or is not there


def test_both_kinds_of_keys(settings: BackendSettings, studio: StudioStub) -> None:
    request = predict_document(click(80, 60, id="a"))
    assert answers(replace(settings, api_key=PERSONAL_KEY), request)
    assert studio.access == ["access-0"]


def test_an_access_token_that_ends_early(settings: BackendSettings, studio: StudioStub) -> None:
    async def work(backend: Backend) -> None:
        await backend.predict(predict_document(click(80, 60, id="a")))
        studio.access.append("another")  # the first one is not known any more
        tasks = with_data(image="/data/other.png")
        studio.images["/data/other.png"] = image_file(seed=3)
        await backend.predict(predict_document(click(80, 60, id="b"), tasks=tasks))

    using(replace(settings, api_key=PERSONAL_KEY), work)
    assert studio.access[-1] == "access-2"


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"api_key": "wrong"}, KeyRefusedError, "refuses the key (Invalid token.)"),
        ({"api_key": "x.y.z"}, KeyRefusedError, "personal access token"),
        ({"url": "http://127.0.0.1:9"}, LabelStudioUnreachableError, "connection refused"),
    ],
)
def test_wrong_url_or_key(
    settings: BackendSettings, changes: dict[str, str], kind: type[ClickcutError], text: str
) -> None:
    from clickcut_label_studio.studio import LabelStudio

    chosen = replace(settings, **changes)
    with pytest.raises(kind) as raised:
        LabelStudio(chosen.url, chosen.api_key).check()
    assert text in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_server_that_is_not_label_studio(server: ServerProcess, studio: StudioStub) -> None:
    from clickcut_label_studio.studio import LabelStudio

    with pytest.raises(LabelStudioError, match="not there"):
        LabelStudio(f"{studio.url}/elsewhere/api", LEGACY_KEY).call("GET", "/api/nothing")
    for url in ("localhost:8080", "ftp://x", "http://a b", "", "http://x@y"):
        with pytest.raises(LabelStudioError, match="not the URL"):
            LabelStudio(url, LEGACY_KEY)


def test_an_image_that_is_gone(settings: BackendSettings, studio: StudioStub) -> None:
    data = studio.images.pop(IMAGE)
    request = predict_document(click(80, 60, id="a"))

    async def work(backend: Backend) -> None:
        with pytest.raises(LabelStudioError, match=r"photo\.png is gone .*HTTP 404"):
            await backend.predict(request)
        studio.images[IMAGE] = data
        assert (await backend.predict(request))["results"][0]["result"]

    using(settings, work)


def test_files_that_are_no_images(settings: BackendSettings, studio: StudioStub) -> None:
    request = predict_document(click(80, 60, id="a"))
    studio.images[IMAGE] = b"no image"
    with pytest.raises(ClickcutError, match="image"):
        answers(settings, request)
    studio.images[IMAGE] = bytes(3000)
    with pytest.raises(ClickcutError, match="more than 2,000 bytes"):
        answers(replace(settings, max_image_bytes=2000), request)
    studio.redirects[IMAGE] = "/user/login/"
    with pytest.raises(LabelStudioError, match="web page"):
        answers(settings, request)
    studio.redirects[IMAGE] = IMAGE
    with pytest.raises(LabelStudioError, match="redirected more than"):
        answers(settings, request)
    studio.redirects[IMAGE] = "ftp://somewhere/x"
    with pytest.raises(LabelStudioError, match="not allowed"):
        answers(settings, request)


# ---- requests that cannot be answered


BAD_REQUESTS: list[tuple[dict[str, Any], str]] = [
    (predict_document(click(1, 1, id="a", label="bird")), "lacks the label 'bird'"),
    (predict_document(click(1, 1, id="a", type="choices")), "of type 'choices'"),
    (predict_document(click(1, 1, id="a", type="brushlabels")), "of type 'brushlabels'"),
    (predict_document(click(1, 1, id="a", from_name="other")), "no tool 'other'"),
    (predict_document(click(1, 1, id="a", image_rotation=90)), "rotated image"),
    (predict_document(click(1, 1, id="a", original_width=0)), "no size"),
    (predict_document(click(1, 1, id="a", original_width=10**9)), "no size"),
    (predict_document(click(1, 1, id="a", value={})), "no label"),
    (predict_document(click(1, 1, id="a", value=None)), "no value"),
    (predict_document(click(999, 1, id="a")), "between 0 and 100"),
    (predict_document(click(float("nan"), 1, id="a")), "between 0 and 100"),
    (predict_document(click(1, 1, id="a") | {"id": 5}), "no id"),
    (predict_document(click(1, 1, id="a"), tasks=[]), "tasks is not"),
    (predict_document(click(1, 1, id="a"), tasks="x"), "tasks is not"),
    (predict_document(click(1, 1, id="a"), tasks=[{"id": "x"}]), "no id"),
    (predict_document(click(1, 1, id="a"), tasks=2 * with_data()), "several tasks"),
    (predict_document(click(1, 1, id="a"), tasks=with_data(text="x")), "data lacks 'image'"),
    (predict_document(click(1, 1, id="a"), label_config="<View"), "not XML"),
    (predict_document(click(1, 1, id="a"), label_config="<!DOCTYPE x><View/>"), "document type"),
    (predict_document(click(1, 1, id="a"), label_config=None), "no label_config"),
    (predict_document(params={"context": {"result": 5}}), "not a list"),
    (predict_document(*[click(1, 1, id=str(n)) for n in range(501)]), "more than 500"),
    (predict_document(5), "of type None"),  # type: ignore[arg-type]
    (
        predict_document(click(1, 1, id="a"), click(1, 1, id="b", original_width=161)),
        "another size",
    ),
    (
        predict_document(
            click(1, 1, id="a"),
            click(2, 2, id="b", from_name="point"),
            label_config=CONFIG.replace(
                "<Image",
                '<KeyPointLabels name="point" toName="image" smart="true"><Label value="cat"/>'
                "</KeyPointLabels><Image",
            ),
        ),
        "two keypoint tools, 'click' and 'point'",
    ),
]


@pytest.mark.parametrize(("request_body", "text"), BAD_REQUESTS, ids=[t for _, t in BAD_REQUESTS])
def test_requests_that_cannot_be_answered(
    settings: BackendSettings, studio: StudioStub, request_body: dict[str, Any], text: str
) -> None:
    with pytest.raises(TaskError) as raised:
        answers(settings, request_body)
    assert text in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert not studio.requests  # refused before any work


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("<View/>", "no <Image>"),
        (CONFIG.replace('smart="true"', ""), "no smart tool"),
        (CONFIG.replace("BrushLabels", "EllipseLabels"), "no tag for answers on 'image'"),
        (CONFIG.replace('<Label value="hound"/>', ""), "lacks the label 'dog'"),
        (
            CONFIG.replace("RectangleLabels", "KeyPointLabels"),
            "two keypoint tools, 'click' and 'box'",
        ),
        ('<View><Text name="t" value="$t"/></View>', "no <Image>"),
    ],
)
def test_labelling_configurations_that_cannot_be_used(
    settings: BackendSettings, config: str, text: str
) -> None:
    async def work(backend: Backend) -> None:
        with pytest.raises(TaskError) as raised:
            backend.setup({"schema": config, "access_token": "not ours"})
        assert text in str(raised.value)

    using(settings, work)


def test_the_labelling_configuration_is_accepted(settings: BackendSettings) -> None:
    config = CONFIG.replace('<Label value="hound"/>', '<Label value="hound"/><Label value="dog"/>')

    async def work(backend: Backend) -> dict[str, Any]:
        return backend.setup({"schema": config})

    assert using(settings, work)["model_version"].startswith("clickcut")


# ---- time, and an engine that goes away


def test_an_answer_that_takes_too_long(settings: BackendSettings, studio: StudioStub) -> None:
    request = predict_document(click(80, 60, id="a"))

    async def work(backend: Backend) -> None:
        studio.release.clear()
        with pytest.raises(SlowError, match=r"no answer within 0\.5 s; the work goes on"):
            await backend.predict(request)
        backend._settings = replace(settings, timeout=60.0)
        backend._client._limits = Limits(60.0, 30.0)  # the engine, too, may take its time
        studio.release.set()
        await asyncio.gather(*backend._working)
        assert (await backend.predict(request))["results"][0]["result"]

    using(replace(settings, timeout=0.5), work)
    assert studio.fetched(IMAGE) == 1


def test_an_engine_that_is_not_there(settings: BackendSettings) -> None:
    gone = replace(settings, server="127.0.0.1:9", timeout=1.0)
    with pytest.raises(ClickcutError) as raised:
        answers(gone, predict_document(click(80, 60, id="a")))
    assert len(str(raised.value).splitlines()) == 1


def test_an_engine_that_was_restarted(
    settings: BackendSettings, bundle: Any, server: ServerProcess, free_address: str
) -> None:
    a, b = click(80, 60, id="a"), click(40, 30, id="b")

    async def work(backend: Backend) -> Mask:
        nonlocal process
        await backend.predict(predict_document(a))
        process.kill()
        process = await asyncio.to_thread(ServerProcess, bundle, address=free_address)
        answer = await backend.predict(predict_document(a, b))
        return mask_of(answer["results"][0]["result"])

    process = ServerProcess(bundle, address=free_address)
    try:
        found = using(replace(settings, server=free_address), work)
    finally:
        process.stop()
    np.testing.assert_array_equal(found, selected(server, (80, 60, True), (40, 30, True)))


def test_idle_sessions_and_those_beyond_the_limit_are_closed(settings: BackendSettings) -> None:
    async def work(backend: Backend) -> None:
        for n in range(4):
            await backend.predict(predict_document(click(80, 60, id=str(n))))
            assert len(backend._sessions) <= 2
        await backend._sessions.close_idle()
        assert len(backend._sessions) == 2
        backend._sessions._settings = replace(settings, idle_seconds=0.0)
        await backend._sessions.close_idle()
        assert len(backend._sessions) == 0

    using(replace(settings, max_sessions=2), work)


def test_errors_are_json_of_one_line() -> None:
    from clickcut_label_studio.app import refusal
    from clickcut_label_studio.reason import REASON_HEADER

    response = refusal(TaskError("first\nsecond \u2014 third"))
    document = json.loads(bytes(response.body))
    assert document == {"error": "TaskError", "message": "first second \u2014 third"}
    assert response.headers[REASON_HEADER] == "first second ? third"
    assert response.status_code == 422
