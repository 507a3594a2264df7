"""Filters on the page while a call runs: what is chosen is seen at once, and from then on, and costs no picture."""

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from benchmarks import chromium
from tests.browser.conftest import Desk, opened, server_command, wait_until
from tests.filter_folder import make_filters

pytestmark = pytest.mark.browser

# What a picture is that a filter made all white or all black, in levels of green, after a codec.
WHITE, BLACK = 245, 12
# The server's delay of 500 ms, the page's word and the browser's buffer.
SEEN_WITHIN_MS = 1500

WATCH = """() => { const video = document.getElementById('result'), canvas = new OffscreenCanvas(32, 24);
  const ink = canvas.getContext('2d', { willReadFrequently: true }), seen = (window.seen = []);
  const look = (at, { presentedFrames }) => {
    ink.drawImage(video, 0, 0, 32, 24);
    const levels = ink.getImageData(0, 0, 32, 18).data.filter((_, i) => i % 4 === 1);
    seen.push([at, levels.reduce((sum, level) => sum + level, 0) / levels.length, presentedFrames]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look); }"""


@pytest.fixture(scope="module")
def filtering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.ServerProcess]:
    """A server with filters whose pictures are known."""
    folder = tmp_path_factory.mktemp("filters")
    make_filters(folder / "made", "white", "black", "negative", "same")
    config = folder / "visavis.toml"
    # Longer delays than anybody would choose: what is tested is the switch, not how quick this machine is today.
    delays = "filter_delay_ms = 500\nre_voice_delay_ms = 500\n"
    config.write_text(f'[session]\n{delays}[filters]\nfolder = "{folder / "made"}"\nbadge = ""\n')
    with chromium.serving(server_command("--config", str(config)), folder / "server.log") as running:
        yield running


@pytest.fixture
def desk(browser: Browser, filtering: chromium.ServerProcess) -> Iterator[Desk]:
    with opened(browser, filtering) as fresh:
        yield fresh
        assert fresh.faults == []


def counts(desk: Desk) -> dict[str, int]:
    """The frames' account as the page shows it, made after this was asked for."""
    shown = desk.text("[data-count=sent]")
    desk.page.wait_for_function("was => document.querySelector('[data-count=sent]').textContent !== was", arg=shown)
    cells = desk.page.eval_on_selector_all(
        "[data-count]", "cells => Object.fromEntries(cells.map(c => [c.dataset.count, c.textContent]))"
    )
    return {name: int(text.replace(",", "").replace("–", "0")) for name, text in cells.items()}


def choose(desk: Desk, name: str) -> float:
    """Choose a filter; returns when, on the page's clock."""
    desk.page.select_option("#filter", name)
    return float(desk.page.evaluate("performance.now()"))


def counted(desk: Desk) -> int:
    """Pictures that were to be filtered and had no time, as the page says."""
    found = re.search(r"no time left ([0-9,]+)", desk.text("#filter-note"))
    return int(found[1].replace(",", "")) if found else 0


def slide(desk: Desk, control: str, value: float) -> None:
    desk.page.eval_on_selector(
        control, "(s, v) => { s.value = v; s.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )


def shows(desk: Desk, looks_right: Callable[[np.ndarray], bool]) -> None:
    """Wait until the result, green values [36, 64] of it, looks like this."""
    wait_until(lambda: looks_right(desk.picture()[:36]), 15.0)


def test_the_page_lists_the_filters_by_their_titles_and_none_is_chosen(desk: Desk) -> None:
    options = desk.page.eval_on_selector_all("#filter option", "all => all.map(o => [o.value, o.textContent])")
    assert options == [
        ["", "none"],
        *([name, f"Everything {name}"] for name in ("black", "negative", "same", "white")),
    ]
    assert desk.page.is_disabled("#filter-strength")


@pytest.mark.parametrize("mode", ["Pass-through", "Re-voice"])
def test_a_switch_is_seen_at_once_on_every_picture_from_then_on_and_drops_none(desk: Desk, mode: str) -> None:
    desk.choose(mode)
    desk.start("Use my camera")
    desk.wait_for("document.getElementById('result').currentTime > 1")
    choose(desk, "black")
    # The delay in which to filter begins, and the browser's buffer follows it.
    desk.page.wait_for_timeout(3000)
    begun = counts(desk)
    desk.page.wait_for_timeout(5000)
    before = counts(desk)
    desk.page.evaluate(WATCH)
    asked: list[tuple[float, str]] = []
    for number in range(10):
        asked.append((choose(desk, ("white", "black")[number % 2]), ("white", "black")[number % 2]))
        desk.page.wait_for_timeout(SEEN_WITHIN_MS)
    after = counts(desk)
    seen: list[list[Any]] = desk.page.evaluate("seen")
    colours = [(at, "white" if green > WHITE else "black" if green < BLACK else "untouched") for at, green, _ in seen]

    # What had no time, on a machine that is busy with something else, came as it was; nothing else may be neither.
    untouched = sum(colour == "untouched" for _, colour in colours)
    assert untouched <= counted(desk), "a picture was half of both"
    for (at_ms, name), (next_ms, _) in zip(asked, [*asked[1:], (float("inf"), "")], strict=True):
        later = [(at, colour) for at, colour in colours if at_ms <= at < next_ms]
        changed = [at for at, colour in later if colour == name]
        assert changed, f"{name} was not seen"
        assert {colour for at, colour in later if at >= changed[0]} <= {name, "untouched"}, "it went back"
    # A machine that drops pictures while nobody switches, or that others keep busy, says nothing of switches.
    alone = os.getloadavg()[0] <= 2 * (os.cpu_count() or 1)
    if alone and before["dropped"] == begun["dropped"]:
        assert after["dropped"] == before["dropped"]


def test_strength_and_wipe_follow_the_hand(desk: Desk) -> None:
    desk.choose("Pass-through")
    desk.start("Use the sample clip")
    desk.wait_for("document.getElementById('result').currentTime > 1")
    choose(desk, "white")
    shows(desk, lambda green: bool(green.min() > WHITE - 10))

    for value in np.linspace(0.0, 0.5, 26):
        slide(desk, "#filter-wipe", float(value))
    shows(desk, lambda green: bool(green[:, 34:].min() > WHITE - 10 and green[:, :30].mean() < 200))
    assert desk.text("#filter-wipe-text") == "50 %"

    slide(desk, "#filter-wipe", 0.0)
    slide(desk, "#filter-strength", 0.0)
    shows(desk, lambda green: bool(green.mean() < 200))


def test_what_a_filter_costs_is_shown_and_the_picture_is_said_to_be_filtered(desk: Desk) -> None:
    desk.choose("Pass-through")
    choose(desk, "negative")
    desk.start("Use my camera")
    desk.page.wait_for_selector("#tag:has-text('Filtered')")
    desk.page.wait_for_selector("#stage-rows tr[data-stage=filter]")
    desk.wait_for("/[0-9.]+ ms a frame/.test(document.getElementById('filter-note').textContent)")
    assert "ms" in desk.page.locator("#filter option[value=negative]").inner_text()
    choose(desk, "")
    desk.page.wait_for_selector("#tag:has-text('Pass-through')")
    assert desk.page.is_disabled("#filter-wipe")


@pytest.mark.parametrize("width", [360, 768])
def test_nothing_overflows_with_the_filters_controls(desk: Desk, width: int) -> None:
    desk.page.set_viewport_size({"width": width, "height": 800})
    desk.page.wait_for_selector("#filter-set:not([hidden])")
    assert desk.page.evaluate("document.documentElement.scrollWidth") <= width
