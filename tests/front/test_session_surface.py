"""One surface: a session in this process, one on a server, and one that is awaited."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server.harness import ServerProcess, image_file

import clickcut
from clickcut.api.local_session import LocalSession
from clickcut.api.protocols import AnySession
from clickcut.api.protocols import AsyncSession as AsyncSurface
from clickcut.api.protocols import Session as Surface
from clickcut.client import AsyncClient, AsyncSession, Client, Session
from clickcut.errors import EventError

HEIGHT, WIDTH = 120, 160
START = np.zeros((HEIGHT, WIDTH), np.bool_)
START[30:70, 40:110] = True

EVENTS: list[Callable[[Any], Any]] = [
    lambda s: s.click(80, 60),
    lambda s: s.click(20, 20, positive=False),
    lambda s: s.stroke([(30, 90), (60, 100), (90, 95)]),
    lambda s: s.move_click(0, 84, 62),
    lambda s: s.undo(),
    lambda s: s.redo(),
    lambda s: s.remove_click(1),
    lambda s: s.reset(),
    lambda s: s.undo(),
    lambda s: s.set_parameters(cut_lambda=2.0, threshold=0.4),
    lambda s: s.next_object(),
    lambda s: s.box(30, 20, 120, 90),
    lambda s: s.click(50, 50),
    lambda s: s.next_object(exclude_finished=True),
    lambda s: s.start_from(START),
    lambda s: s.click(100, 30),
    lambda s: s.edit_object(0),
    lambda s: s.click(np.float32(90), np.int64(60), np.True_),
    lambda s: s.set_parameters(cut=False),
]

REFUSED: list[Callable[[Any], Any]] = [
    lambda s: s.click(-9, 5),
    lambda s: s.click(None, 5),
    lambda s: s.click("a", 5),
    lambda s: s.click(True, 5),
    lambda s: s.click(float("nan"), 5),
    lambda s: s.click(5, 5, "yes"),
    lambda s: s.stroke([1, 2, 3]),
    lambda s: s.stroke(np.zeros((0, 2))),
    lambda s: s.box(5, 5, None, 5),
    lambda s: s.start_from(np.zeros((3, 3), np.bool_)),
    lambda s: s.start_from("mask"),
    lambda s: s.move_click(99, 5, 5),
    lambda s: s.remove_click(-1),
    lambda s: s.edit_object(99),
    lambda s: s.next_object("yes"),
    lambda s: s.redo(),
    lambda s: s.set_parameters(threshold=7),
    lambda s: s.set_parameters(cut="no"),
    lambda s: s.polygons(-1),
    lambda s: s.polygons(float("nan")),
    lambda s: s.polygons("1"),
    lambda s: s.polygons(valid="no"),
]


def facts(session: Any) -> dict[str, Any]:
    """What a session says without asking its server."""
    names = "clicks num_clicks can_undo can_redo object_index num_objects width height model"
    found = {name: getattr(session, name) for name in [*names.split(), "model_version", "digest"]}
    polygons = [*session.polygons(1.0), *session.polygons(valid=True)]
    outlines = [(p.points.tolist(), p.hole) for p in polygons]
    return found | {"polygons": outlines, "sigma": round(session.estimated_sigma, 6)}


def listed(objects: Any) -> list[Any]:
    return [(o.index, o.num_clicks, o.selection.area) for o in objects]


def test_the_same_events_give_the_same(bundle: Path, server: ServerProcess) -> None:
    with (
        clickcut.open(image_file(), model=str(bundle)) as here,
        Client(server.address) as client,
        client.open(image_file()) as there,
    ):
        kept = []
        for event in EVENTS:
            mask = event(here)
            np.testing.assert_array_equal(mask, event(there))
            for session in (here, there):
                assert session.mask.dtype == np.bool_
                assert session.mask.shape == (HEIGHT, WIDTH)
                assert not session.mask.flags.writeable
            assert mask is here.mask
            assert facts(here) == facts(there)
            np.testing.assert_array_equal(here.probability(), there.probability())
            assert listed(here.objects()) == listed(there.objects())
            kept.append((mask, mask.copy()))
        assert here.timings.keys() == there.timings.keys()
        assert here.memory_bytes > 0
        for mask, copy in kept:
            np.testing.assert_array_equal(mask, copy)  # each an array of its own


def test_both_refuse_the_same(bundle: Path, server: ServerProcess) -> None:
    with (
        clickcut.open(image_file(), model=str(bundle)) as here,
        Client(server.address) as client,
        client.open(image_file()) as there,
    ):
        for session in (here, there):
            before = session.click(80, 60)
            for bad in REFUSED:
                with pytest.raises(EventError):
                    bad(session)
                assert session.mask is before
            assert session.num_clicks == 1


def test_an_awaited_session_gives_the_same(bundle: Path, server: ServerProcess) -> None:
    async def play() -> tuple[Any, ...]:
        async with (
            AsyncClient(server.address) as client,
            await client.open(image_file()) as session,
        ):
            for event in EVENTS:
                mask = await event(session)
            objects = listed(await session.objects())
            return mask, facts(session), await session.probability(), objects

    mask, found, probability, objects = asyncio.run(play())
    with clickcut.open(image_file(), model=str(bundle)) as here:
        for event in EVENTS:
            event(here)
        np.testing.assert_array_equal(here.mask, mask)
        assert facts(here) == found
        np.testing.assert_array_equal(here.probability(), probability)
        assert listed(here.objects()) == objects


def surface() -> dict[str, Any]:
    return {n: m for n, m in vars(AnySession).items() if not n.startswith("_")}


@pytest.mark.parametrize("kind", [LocalSession, Session, AsyncSession])
def test_every_session_has_the_surface(kind: type) -> None:
    for name, wanted in surface().items():
        member = inspect.getattr_static(kind, name)
        assert isinstance(member, property) == isinstance(wanted, property), name
        if callable(wanted):
            there = [p.replace(annotation="") for p in parameters(member)]
            assert there == [p.replace(annotation="") for p in parameters(wanted)], name
    public = {n for base in kind.__mro__[:-1] for n in vars(base) if not n.startswith("_")}
    assert public - set(surface()) <= {"id"}


def parameters(function: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def typed(here: LocalSession, there: Session, awaited: AsyncSession) -> tuple[Any, ...]:
    """Held by mypy: each is what its protocol says."""
    first: Surface = here
    second: Surface = there
    third: AsyncSurface = awaited
    return first, second, third
