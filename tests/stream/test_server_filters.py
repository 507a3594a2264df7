"""Filters over HTTP: what is offered, what is chosen, what is refused."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kernels.portrait_layout import PORTRAIT_CLASSES
from stream.passage import Mode
from tests.stream.fake_filter import FakeFilter, Fakes
from tests.stream.server_fakes import Desk, refused, visit

pytestmark = pytest.mark.unit


def at_desk(act: Callable[[Desk], Awaitable[None]]) -> Desk:
    """A server with three filters."""
    fakes = Fakes(FakeFilter("sketch"), FakeFilter("sketch-soft"), FakeFilter("paint", region="face"))
    return visit(act, open_filters=fakes.shelf)


def test_the_options_name_every_filter_with_its_title_and_where_it_works() -> None:
    async def act(desk: Desk) -> None:
        options = await (await desk.client.get("/api/options")).json()
        assert options["filters"] == [
            {"name": "sketch", "title": "All sketch", "region": "frame", "anonymous": False, "p50_ms": None},
            {"name": "sketch-soft", "title": "All sketch-soft", "region": "frame", "anonymous": False, "p50_ms": None},
            {"name": "paint", "title": "All paint", "region": "face", "anonymous": False, "p50_ms": None},
        ]
        assert options["filter_order"] == "after"

    at_desk(act)


def test_a_session_opens_with_a_filter_and_says_what_it_has() -> None:
    async def act(desk: Desk) -> None:
        location = await desk.opened(filter="sketch", filter_strength="0.5", filter_wipe="0.25", filter_order="before")
        chosen = desk.guest(location).session.filtering.chosen
        assert chosen is not None
        assert chosen.public() == {
            "name": "sketch",
            "strength": 0.5,
            "wipe": 0.25,
            "order": "before",
            "region": "frame",
        }
        events = await desk.client.get(f"{location}/events")
        figures = json.loads((await events.content.readline())[6:])
        assert figures["filter"] == {
            "chosen": chosen.public(),
            "filtered": 0,
            "hurried": 0,
            "passed": {},
            "hidden": {},
            "off": False,
            "latency_ms": {},
            "covered": 0,
            "covered_passed": {},
        }
        events.close()

    at_desk(act)


def test_what_is_not_named_stays_and_another_filter_takes_the_place_it_was_made_for() -> None:
    async def act(desk: Desk) -> None:
        location = await desk.opened(filter="sketch", filter_wipe="0.5")
        response = await desk.client.patch(location, json={"filter_strength": 0.25})
        assert (await response.json())["filter"] == {
            "name": "sketch",
            "strength": 0.25,
            "wipe": 0.5,
            "order": "after",
            "region": "frame",
        }
        response = await desk.client.patch(location, json={"filter": "paint"})
        assert (await response.json())["filter"] == {
            "name": "paint",
            "strength": 0.25,
            "wipe": 0.5,
            "order": "after",
            "region": "face",
        }
        response = await desk.client.patch(location, json={"filter_region": "frame", "filter_strength": "1"})
        assert (await response.json())["filter"]["region"] == "frame"
        response = await desk.client.patch(location, json={"filter": ""})
        assert "filter" not in await response.json()
        assert desk.guest(location).session.filtering.chosen is None

    at_desk(act)


def test_a_filter_that_hides_who_is_there_takes_nothing_over_and_can_only_be_laid_on_whole() -> None:
    async def act(desk: Desk) -> None:
        options = await (await desk.client.get("/api/options")).json()
        assert [each["anonymous"] for each in options["filters"]] == [False, True]
        location = await desk.opened(filter="sketch", filter_strength="0.5", filter_wipe="0.5")
        response = await desk.client.patch(location, json={"filter": "mask"})
        assert (await response.json())["filter"] == {
            "name": "mask",
            "strength": 1.0,
            "wipe": 0.0,
            "order": "before",
            "region": "portrait",
        }
        for field, value, words in (
            ("filter_strength", 0.99, "strength stays 1"),
            ("filter_wipe", 0.1, "wipe 0"),
            ("filter_order", "after", "order must be before"),
            ("filter_region", "face", "for portrait alone"),
        ):
            await refused(await desk.client.patch(location, json={field: value}), 400, words)
        await refused(await desk.open(filter="sketch", filter_region="portrait"), 400, "for frame alone")

    mask = FakeFilter("mask", region="portrait", source="portrait", classes=PORTRAIT_CLASSES)
    visit(act, open_filters=Fakes(FakeFilter("sketch"), mask).shelf)


def test_a_filter_that_changes_does_not_begin_the_voice_again_and_a_mode_keeps_the_filter() -> None:
    async def act(desk: Desk) -> None:
        location = await desk.opened(mode="re-voice", voice="sample", filter="sketch")
        session = desk.guest(location).session
        passages = list(session._passages)
        await desk.client.patch(location, json={"filter": "paint", "filter_strength": 0.5})
        assert session._passages == passages
        await desk.client.patch(location, json={"mode": "pass-through"})
        assert session.mode is Mode.PASS_THROUGH
        assert session.filtering.chosen is not None
        assert session.filtering.chosen.name == "paint"

    at_desk(act)


BAD = [
    ({"filter": "sketsh"}, ("sketsh", "did you mean sketch")),
    ({"filter": 5}, ("filter is 5", "must be a name")),
    ({"filter": "sketch", "filter_strength": 1.5}, ("filter_strength is 1.5", "from 0 to 1")),
    ({"filter": "sketch", "filter_strength": "much"}, ('filter_strength is "much"', "from 0 to 1")),
    ({"filter": "sketch", "filter_strength": True}, ("filter_strength is true",)),
    ({"filter": "sketch", "filter_wipe": -0.1}, ("filter_wipe is -0.1",)),
    ({"filter": "sketch", "filter_wipe": "nan"}, ("filter_wipe",)),
    ({"filter": "sketch", "filter_order": "during"}, ("filter_order", "before or after")),
    ({"filter": "sketch", "filter_region": "sky"}, ("filter_region", "frame or face or portrait")),
    ({"filter_strength": 0.5}, ("filter_strength needs a filter", "/api/options")),
    ({"filtr": "sketch"}, ("filtr", "did you mean filter?")),
]


@pytest.mark.parametrize(("wish", "words"), BAD)
def test_a_wish_that_cannot_be_met_is_refused_in_one_line_and_changes_nothing(
    wish: dict[str, Any], words: tuple[str, ...]
) -> None:
    async def act(desk: Desk) -> None:
        location = await desk.opened(mode="re-voice", voice="sample")
        session = desk.guest(location).session
        before = list(session._passages)
        await refused(await desk.client.patch(location, json={"mode": "pass-through", **wish}), 400, *words)
        assert session._passages == before
        assert session.filtering.chosen is None

    at_desk(act)


def test_without_filters_none_is_offered_and_none_can_be_chosen() -> None:
    async def act(desk: Desk) -> None:
        assert (await (await desk.client.get("/api/options")).json())["filters"] == []
        await refused(await desk.open(filter="sketch"), 400, "there is none")
        assert desk.server.admission.sessions == 0

    visit(act)


def test_filtered_pictures_count_for_who_may_come_in() -> None:
    async def act(desk: Desk) -> None:
        load = desk.engines.batcher.load
        for _ in range(60):
            load.filtered(15_000_000)
            load.done(1, 50_000_000, painted=False)
        figures = (await (await desk.client.get("/health")).json())["engine"]
        assert (figures["filtered"], figures["pictures"], figures["sessions"]) == (60, 0, 1)
        # 60 times 15 ms in one second.
        assert figures["needed_share"] == 0.9
        await refused(await desk.open(), 503, "the engine needs")

    at_desk(act)
