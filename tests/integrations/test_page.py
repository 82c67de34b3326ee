"""The page in a real browser: what a person does, and what comes out of it."""

from __future__ import annotations

import io
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from integrations.page_harness import ASTRONAUT, PageProcess, Window, unzipped
from numpy.typing import NDArray
from PIL import Image
from server.harness import DEADLINE, ServerProcess, encode, image_file, picture, write_bundle

from clickcut.client import Client, Session
from clickcut.encoding import to_rle
from clickcut.polygons import to_polygons
from clickcut_formats import coco, cvat, geojson, label_studio, labelme

pytestmark = pytest.mark.slow

CLICKS = ((190, 330, True), (228, 100, True), (400, 430, False))


@pytest.fixture
def client(engine: ServerProcess) -> Iterator[Session]:
    with Client(engine.address) as opened:
        yield opened.open(ASTRONAUT)


def three_clicks(window: Window) -> None:
    for x, y, positive in CLICKS:
        window.click(x, y, "left" if positive else "right")


def saved_masks(window: Window) -> list[NDArray[np.bool_]]:
    _, data = window.save("coco")
    return [item.mask for item in coco.parse(json.loads(data), "x")[0].objects]


# ---- selecting


def test_three_clicks_give_the_mask_of_the_python_client(window: Window, client: Session) -> None:
    window.open_sample()
    three_clicks(window)
    for x, y, positive in CLICKS:
        mask = client.click(x, y, positive)
    [found] = saved_masks(window)
    np.testing.assert_array_equal(found, mask)
    assert window.area() == mask.sum()


def test_undo_redo_reset(window: Window) -> None:
    window.open_sample()
    areas = [0]
    for x, y, positive in CLICKS:
        window.click(x, y, "left" if positive else "right")
        areas.append(window.area())
    assert len(set(areas)) == 4
    window.press("Control+z", "Control+z")
    assert window.area() == areas[1]
    window.press("Control+Shift+z")
    assert window.area() == areas[2]
    window.page.click("#redo")
    window.settle()
    assert window.area() == areas[3]
    assert window.page.is_disabled("#redo")
    window.press("r")
    assert window.area() == 0
    window.page.click("#undo")
    window.settle()
    assert window.area() == areas[3]


def test_alt_click_and_the_switch_mean_background(window: Window) -> None:
    window.open_sample()
    for x, y, _ in CLICKS[:2]:
        window.click(x, y)
    before = window.area()
    window.page.keyboard.down("Alt")
    window.click(400, 430)
    window.page.keyboard.up("Alt")
    after = window.area()
    assert after != before
    window.press("Control+z", "b")
    window.click(400, 430)
    assert window.area() == after


def test_a_click_is_moved_and_removed(window: Window, client: Session) -> None:
    window.open_sample()
    three_clicks(window)
    window.drag((400, 430), (430, 200))
    for x, y, positive in (*CLICKS[:2], (430, 200, False)):
        mask = client.click(x, y, positive)
    assert abs(window.area() - int(mask.sum())) < 400  # the mouse moves in pixels of the screen
    window.page.mouse.move(*window.at(430, 200))
    window.press("Delete")
    assert window.area() == client.undo().sum()
    window.press("Control+z", "Control+z")
    three = saved_masks(window)[0]
    client.click(*CLICKS[2][:2], positive=False)
    np.testing.assert_array_equal(three, client.mask)


def test_a_stroke_and_a_box(window: Window) -> None:
    window.open_sample()
    window.drag((190, 250), (190, 330), (240, 400))
    stroke = window.area()
    assert stroke > 10_000
    window.press("Control+z")
    assert window.area() == 0
    window.page.keyboard.down("Shift")
    window.drag((60, 20), (370, 500))
    window.page.keyboard.up("Shift")
    assert window.area() > 10_000
    window.press("Control+z")
    assert window.area() == 0


def test_objects_have_colours_names_and_can_be_hidden_deleted_and_edited(window: Window) -> None:
    window.open_sample()
    window.click(190, 330)
    first = window.area(1)
    window.press("Enter")
    window.click(425, 200)
    assert window.names() == ["Object 1", "Object 2"]
    colours = window.page.evaluate(
        "() => [...document.querySelectorAll('.swatch')].map((s) => s.style.background)"
    )
    assert len(set(colours)) == 2
    window.page.fill("#objects li:nth-child(1) .name", "pilot")
    window.page.press("#objects li:nth-child(1) .name", "Enter")
    window.page.click("#objects li:nth-child(1) .hide")
    assert window.page.get_attribute("#objects li:nth-child(1) .hide", "aria-pressed") == "true"
    _, data = window.save("png-indexed")
    indexed = np.array(Image.open(io.BytesIO(data)))
    assert [int((indexed == n).sum()) for n in (1, 2)] == [first, window.area(2)]
    window.page.click("#objects li:nth-child(1) .edit")
    window.settle()
    assert window.page.get_attribute("#objects li:nth-child(1)", "aria-current") == "true"
    window.click(228, 100)
    assert window.area(1) not in (0, first)
    window.press("Control+z")
    assert window.area(1) == first
    window.page.click("#objects li:nth-child(2) .delete")
    window.settle()
    assert window.names() == ["pilot"]
    window.page.click(".notice button")
    window.settle()
    assert window.names() == ["pilot", "Object 2"]
    second = window.area(2)
    window.press("n")  # from an earlier object to a new one
    window.click(430, 420)
    assert window.names() == ["pilot", "Object 2", "Object 3"]
    before = [window.area(n) for n in (1, 2, 3)]
    assert before[:2] == [first, second]
    window.page.click("#objects li:nth-child(2) .edit")
    window.settle()
    assert [window.area(n) for n in (1, 2, 3)] == before


def test_the_next_object_leaves_the_pixels_of_the_first(window: Window) -> None:
    window.open_sample()
    window.click(190, 330)
    window.press("n")
    window.click(228, 100)
    assert window.page.wait_for_selector(".notice.error")  # that pixel is taken
    assert window.area(2) == 0
    window.click(430, 420)
    first, second = saved_masks(window)
    assert first.any()
    assert second.any()
    assert not (first & second).any()


def test_zoom_and_pan_keep_clicks_on_their_pixels(window: Window, client: Session) -> None:
    window.open_sample()
    shown = window.page.inner_text("#zoom-level")
    window.page.mouse.move(*window.at(190, 330))
    window.page.mouse.wheel(0, -600)
    window.wait_for_zoom(shown)
    before = window.at(190, 330)
    window.page.keyboard.down("Space")
    window.page.mouse.down()
    window.page.mouse.move(before[0] + 70, before[1] + 40, steps=4)
    window.page.mouse.up()
    window.page.keyboard.up("Space")
    assert window.area() == 0
    after = window.at(190, 330)
    assert np.allclose(np.subtract(after, before), (70, 40), atol=1)
    window.click(190, 330)
    assert window.area() == client.click(190, 330).sum()
    window.press("f")
    assert window.page.inner_text("#zoom-level") == shown


def test_with_the_keyboard_alone(window: Window, client: Session) -> None:
    window.page.focus("#sample")
    window.page.keyboard.press("Enter")
    window.wait_online()
    window.page.focus("#stage")
    for key, times in (("Shift+ArrowLeft", 3), ("ArrowLeft", 6), ("Shift+ArrowDown", 3)):
        for _ in range(times):
            window.page.keyboard.press(key)
    window.press("x")
    assert window.area() == client.click(256 - 66, 256 + 60).sum()


def test_touch(browser: Any, page_server: PageProcess, client: Session) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with Window.of(browser, page_server.url, **phone) as window:
        window.page.tap("#sample")
        window.wait_online()
        window.page.touchscreen.tap(*window.at(190, 330))
        window.settle()
        mask = client.click(190, 330)
        assert abs(window.area() - int(mask.sum())) < 2000
        window.page.tap("label.negative")
        window.page.wait_for_selector(".negative input:checked", state="attached")
        window.page.touchscreen.tap(*window.at(400, 430))
        window.settle()
        assert window.page.is_enabled("#undo")
        scale = window.page.inner_text("#zoom-level")
        _pinch(window, *window.at(200, 200))
        window.wait_for_zoom(scale)
        overflow = "() => document.documentElement.scrollWidth > window.innerWidth"
        assert not window.page.evaluate(overflow)


def _pinch(window: Window, x: float, y: float) -> None:
    session = window.page.context.new_cdp_session(window.page)
    for kind, spread in (
        ("touchStart", 20), ("touchMove", 40), ("touchMove", 70), ("touchEnd", None)
    ):  # fmt: skip
        points = [] if spread is None else [{"x": x - spread, "y": y}, {"x": x + spread, "y": y}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    window.settle()


# ---- saving


def test_every_format_is_read_back(window: Window, client: Session) -> None:
    window.open_sample()
    three_clicks(window)
    for x, y, positive in CLICKS:
        mask = client.click(x, y, positive)
    [item] = label_studio.parse(json.loads(window.save("label-studio")[1]), "x")[0].objects
    np.testing.assert_array_equal(item.mask, mask)
    [item] = geojson.parse(json.loads(window.save("geojson")[1]), "x")[0].objects
    np.testing.assert_array_equal(item.mask, mask)
    [item] = labelme.parse(json.loads(window.save("labelme")[1]), "x")[0].objects
    np.testing.assert_array_equal(item.mask, mask)
    assert item.label == "Object 1"
    name, data = window.save("png")
    assert name == "astronaut_mask_1.png"
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(data))) == 255, mask)
    name, data = window.save("yolo")
    assert name == "astronaut.zip"
    assert set(unzipped(data)) == {"labels/astronaut.txt", "data.yaml"}
    name, data = window.save("cvat")
    assert name == "annotations.xml"
    assert cvat.parse(data, "x")[0].objects[0].area == mask.sum()


def test_the_cut_out_has_alpha(window: Window, client: Session) -> None:
    window.open_sample()
    three_clicks(window)
    for x, y, positive in CLICKS:
        mask = client.click(x, y, positive)
    name, data = window.save("cutout")
    assert name == "astronaut_cutout.png"
    pixels = np.array(Image.open(io.BytesIO(data)))
    y, x = np.nonzero(mask)
    part = mask[y.min() : y.max() + 1, x.min() : x.max() + 1]
    assert pixels.shape == (*part.shape, 4)
    np.testing.assert_array_equal(pixels[..., 3] == 255, part)
    np.testing.assert_array_equal(pixels[..., 3] == 0, ~part)
    original = np.array(Image.open(io.BytesIO(ASTRONAUT)))[y.min() :, x.min() :]
    shown = original[: part.shape[0], : part.shape[1]][part].astype(int)
    assert np.abs(pixels[part][:, :3].astype(int) - shown).mean() < 3  # two JPEG decoders


def test_the_cut_out_goes_to_the_clipboard_or_says_why_not(window: Window) -> None:
    window.open_sample()
    three_clicks(window)
    window.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    window.page.click("#copy")
    window.wait_for_notice("The cut-out is in the clipboard.")
    kinds = window.page.evaluate("async () => (await navigator.clipboard.read())[0].types")
    assert kinds == ["image/png"]
    window.page.evaluate(
        "() => { navigator.clipboard.write = async () => "
        "{ throw new DOMException('no', 'NotAllowedError'); }; }"
    )
    window.page.click("#copy")
    window.wait_for_notice("not allowed")


# ---- opening


def test_drop_paste_and_dialogue(window: Window) -> None:
    data = image_file(90, 60)
    window.open_file("chosen.png", data)
    window.wait_online()
    assert window.page.inner_text("#image-name") == "chosen.png"
    assert window.page.inner_text("#image-size") == "90 × 60"
    give = """([kind, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], kind + ".png", { type: "image/png" }));
        const init = { bubbles: true, cancelable: true };
        document.body.dispatchEvent(kind === "paste"
            ? new ClipboardEvent("paste", { ...init, clipboardData: data })
            : new DragEvent("drop", { ...init, dataTransfer: data }));
    }"""
    for kind, size in (("drop", 80), ("paste", 70)):
        window.page.evaluate(give, [kind, list(image_file(size, 50))])
        window.page.wait_for_function(
            "name => document.getElementById('image-name').textContent === name", arg=f"{kind}.png"
        )
        window.wait_online()
        assert window.page.inner_text("#image-size") == f"{size} × 50"


def test_a_16_bit_tiff_and_a_turned_photograph(window: Window, engine: ServerProcess) -> None:
    grey = picture(100, 80)[..., 0].astype(np.uint16) * 256
    window.open_file("deep.tif", encode(grey, ".tiff"), "image/tiff")
    window.wait_online()
    assert window.page.inner_text("#image-size") == "100 × 80"
    window.click(50, 40)
    assert window.area() > 0
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    Image.fromarray(picture(100, 60)).save(out, "JPEG", exif=exif)
    window.open_file("turned.jpg", out.getvalue(), "image/jpeg")
    window.page.wait_for_selector("#image-size:text('60 × 100')")
    window.wait_online()
    window.click(30, 80)
    with Client(engine.address) as client:
        assert window.area() == client.open(out.getvalue()).click(30, 80).sum()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("notes.txt", b"hello", "notes.txt: "),
        ("empty.png", b"", "empty.png: the image is empty"),
        ("cut.jpg", ASTRONAUT[:300], "cut.jpg: "),
    ],
)
def test_files_that_are_no_image_say_so(window: Window, name: str, data: bytes, words: str) -> None:
    window.open_sample()
    window.click(190, 330)
    before = window.area()
    window.open_file(name, data, "application/octet-stream")
    window.wait_for_notice(words)
    window.settle()
    assert window.page.inner_text("#image-name") == "astronaut.jpg"
    window.click(228, 100)
    assert window.area() not in (0, before)


def test_a_picture_that_only_the_engine_refuses(browser: Any, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "toy.onnx")
    with (
        ServerProcess(bundle, max_image_megapixels=0.01) as small,
        PageProcess("--server", small.address) as page,
        Window.of(browser, page.url) as window,
    ):
        window.open_file("large.png", image_file(300, 200))
        window.wait_for_notice("large.png: the image is 300 x 200 pixels")
        assert window.page.is_visible("#welcome")
        window.open_file("small.png", image_file(90, 60))
        window.wait_online()
        window.click(40, 30)
        assert window.page.inner_text("#image-name") == "small.png"


def test_pasted_text_is_no_image(window: Window) -> None:
    window.page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.setData("text/plain", "hello");
            const init = { bubbles: true, clipboardData: data };
            document.body.dispatchEvent(new ClipboardEvent("paste", init));
        }"""
    )
    window.wait_for_notice("There is no image in the clipboard.")


def test_the_next_object_needs_a_selection(window: Window) -> None:
    window.open_sample()
    three_clicks(window)
    before = window.area()
    window.press("Enter")
    window.press("Enter")  # nothing is selected yet
    window.wait_for_notice("Select something first")
    assert window.names() == ["Object 1", "Object 2"]
    assert window.area(1) == before


def test_the_picture_that_the_command_names(
    browser: Any, engine: ServerProcess, tmp_path: Path
) -> None:
    (tmp_path / "käfer 1.png").write_bytes(image_file(90, 60))
    with (
        PageProcess("--server", engine.address, str(tmp_path / "käfer 1.png")) as page,
        Window.of(browser, page.url) as window,
    ):
        window.wait_online()
        assert window.page.inner_text("#image-name") == "käfer 1.png"


# ---- the page's own parts


def test_outlines_are_those_of_the_engine(window: Window) -> None:
    rng = np.random.default_rng(0)
    for _ in range(12):
        height, width = rng.integers(3, 40, 2)
        noise = cv2.GaussianBlur(rng.random((height, width)), (0, 0), float(rng.uniform(0.4, 2)))
        mask = noise > np.quantile(noise, rng.uniform(0.2, 0.9))
        flat = window.page.evaluate(
            """async ([counts, width, height]) => {
                const { MaskBuffer } = await import("./js/trace.js");
                const buffer = new MaskBuffer(width, height);
                const bytes = Uint8Array.from(counts);
                buffer.put(bytes, { x: 0, y: 0, width, height });
                const first = [...buffer.outlines()];
                const again = [...buffer.outlines()];  // nothing is left behind by the first
                return [first, again];
            }""",
            [list(to_rle(mask)), int(width), int(height)],
        )
        assert flat[0] == flat[1]
        expected = sorted(_normal(p.points + 0.5) for p in to_polygons(mask))
        assert sorted(_normal(ring) for ring in _rings(flat[0])) == expected


def _rings(flat: list[int]) -> Iterator[NDArray[np.float64]]:
    at = 0
    while at < len(flat):
        end = at + 1 + 2 * flat[at]
        yield np.array(flat[at + 1 : end], float).reshape(-1, 2)
        at = end


def _normal(ring: NDArray[Any]) -> list[tuple[int, int]]:
    """A ring from its least corner on."""
    points = [(int(x), int(y)) for x, y in ring]
    start = points.index(min(points))
    return points[start:] + points[:start]


def test_a_preview_shows_what_a_click_would_select(window: Window) -> None:
    window.open_sample()
    window.click(190, 330)
    overlay = "() => document.getElementById('overlay').toDataURL()"
    window.page.mouse.move(*window.at(480, 20))
    window.settle()
    plain = window.page.evaluate(overlay)
    window.page.mouse.move(*window.at(425, 200))
    window.page.wait_for_function(f"before => ({overlay})() !== before", arg=plain)
    assert window.area() > 0
    assert window.page.is_disabled("#redo")  # the preview leaves no trace in the session


def test_a_slow_preview_switches_itself_off(browser: Any, page_server: PageProcess) -> None:
    with Window.of(browser, page_server.url) as window:
        window.page.add_init_script(
            """const send = WebSocket.prototype.send;
            WebSocket.prototype.send = function (data) {
                setTimeout(() => send.call(this, data), 80);
            };"""
        )
        window.reload()
        window.open_sample()
        assert window.page.is_checked("#preview")
        end = time.monotonic() + DEADLINE
        for place in itertools.cycle(range(100, 400, 8)):
            window.page.mouse.move(*window.at(place, 250))
            window.page.wait_for_timeout(320)
            if not window.page.is_checked("#preview"):
                break
            assert time.monotonic() < end, "the preview is still on"
        window.wait_for_notice("The preview is off")


def test_everything_has_a_name_for_screen_readers(window: Window) -> None:
    window.open_sample()
    window.click(190, 330)
    window.press("Enter")
    nameless = window.page.evaluate(
        """() => [...document.querySelectorAll("button, input, [role]")].filter((one) => {
            if (!one.checkVisibility()) return false;
            const label = one.getAttribute("aria-label") || one.closest("label")?.innerText.trim();
            return !label && !one.innerText?.trim() && one.getAttribute("role") !== "status";
        }).map((one) => one.outerHTML)"""
    )
    assert nameless == []


def test_the_help_lists_the_keys(window: Window) -> None:
    window.open_sample()
    window.press("?")
    text = window.page.inner_text("#help-dialog")
    for words in ("Ctrl + Shift + Z", "Right click", "Crosshair".lower(), "Next object"):
        assert words in text
    window.press("Escape")
    assert not window.page.is_visible("#help-dialog")


def test_a_large_photograph(window: Window, engine: ServerProcess) -> None:
    pixels = cv2.resize(picture(800, 600), (4000, 3000), interpolation=cv2.INTER_CUBIC)
    data = encode(pixels[:, :, ::-1], ".jpg")
    window.open_file("large.jpg", data, "image/jpeg")
    window.wait_online()
    window.click(2000, 1500)
    with Client(engine.address) as client:
        assert window.area() == client.open(data).click(2000, 1500).sum()
    window.press("Control+z")
    assert window.area() == 0
