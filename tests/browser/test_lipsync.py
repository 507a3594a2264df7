"""The page's own lip sync, on a connection that is made up: no time passes and no media flows."""

from typing import Any

import pytest
from playwright.sync_api import Browser

from benchmarks import chromium

pytestmark = pytest.mark.browser

# By how much less than the sound the picture is held: half a frame of a 60 Hz screen.
SCREEN_MS = 8

# A connection whose browser holds the picture for what it was asked for, or for `own` ms by itself, whichever is more.
# After `reports` looks the sender's reports are known.
_FAKE = """async ({ sound, own, looks, reports, kinds, ends, told }) => {
  const { LipSync } = await import("/static/lipsync.js");
  let look = null, n = 0, cleared = false;
  window.setInterval = (act) => { look = act; return 1; };
  window.clearInterval = () => { cleared = true; };
  const receivers = kinds.map((kind) => ({ track: { kind }, jitterBufferTarget: null }));
  const video = receivers.find(({ track }) => track.kind === "video");
  const totals = { video: [0, 0], audio: [0, 0] };
  const report = (kind, ms, count) => {
    totals[kind][0] += count; totals[kind][1] += count * ms / 1000;
    const [jitterBufferEmittedCount, jitterBufferDelay] = totals[kind];
    return { type: "inbound-rtp", kind, jitterBufferEmittedCount, jitterBufferDelay,
      jitterBufferTargetDelay: told ? jitterBufferDelay : undefined,
      estimatedPlayoutTimestamp: n > reports ? 1e6 + n * 250 - ms : undefined };
  };
  const held = [];
  const pc = {
    connectionState: "connected",
    getReceivers: () => receivers,
    getStats: async () => {
      n++;
      held.push(Math.max(own[Math.min(n, own.length) - 1], video.jitterBufferTarget));
      const reports = new Map([["v", report("video", held.at(-1), 8)]]);
      const ms = sound[Math.min(n, sound.length) - 1];
      if (ms !== null) reports.set("a", report("audio", ms, 12000));
      return reports;
    },
  };
  new LipSync(pc);
  for (let i = 0; look && i < looks && !cleared; i++) {
    if (i === ends) pc.connectionState = "closed";
    await look();
  }
  return { held, asked: video.jitterBufferTarget, looks: n, cleared };
}"""


@pytest.fixture
def seen(browser: Browser, server: chromium.ServerProcess) -> Any:
    page = browser.new_page()
    page.goto(f"{server.url}/health")

    def play(**case: Any) -> Any:
        usual = {
            "sound": [60],
            "own": [10],
            "looks": 40,
            "reports": 8,
            "kinds": ["video", "audio"],
            "ends": -1,
            "told": True,
        }
        return page.evaluate(_FAKE, {**usual, **case})

    yield play
    page.close()


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("sound_ms", [30, 60, 100, 180])
def test_the_picture_comes_to_lie_beside_the_sound_within_seconds(seen: Any, sound_ms: int, told: bool) -> None:
    held = seen(sound=[sound_ms], told=told)["held"]
    # Four looks a second: 20 ms each at most, then a quarter of the rest.
    assert held[24] == pytest.approx(sound_ms - SCREEN_MS, abs=5)
    assert held[-1] == pytest.approx(sound_ms - SCREEN_MS, abs=1)


def test_the_picture_follows_when_the_sounds_buffer_grows_and_shrinks(seen: Any) -> None:
    held = seen(sound=[60] * 30 + [120] * 30 + [50] * 40, looks=100)["held"]
    assert held[28] == pytest.approx(60 - SCREEN_MS, abs=3)
    assert held[58] == pytest.approx(120 - SCREEN_MS, abs=3)
    assert held[98] == pytest.approx(50 - SCREEN_MS, abs=3)


def test_what_the_browser_holds_by_itself_is_not_made_up_for_afterwards(seen: Any) -> None:
    """A picture that is slow for a while must not leave the hold at zero."""
    held = seen(sound=[80], own=[10] * 20 + [200] * 60 + [10] * 40, looks=120)["held"]
    # It was never asked for more than the sound needs, and is beside it again soon.
    assert held[100] == pytest.approx(80 - SCREEN_MS, abs=5)


def test_one_wrong_reading_moves_the_picture_by_one_small_step(seen: Any) -> None:
    held = seen(sound=[60] * 30 + [1060] + [60] * 30, looks=60)["held"]
    assert max(held[30:]) <= 60 + 20 + 1


@pytest.mark.parametrize("sound", [[None], [70] * 12 + [None]])
def test_without_sound_the_picture_waits_for_nothing(seen: Any, sound: list[int | None]) -> None:
    assert seen(sound=sound)["asked"] == 0


def test_a_connection_without_a_track_of_sound_is_left_alone(seen: Any) -> None:
    after = seen(kinds=["video"])
    assert after["asked"] is None
    assert after["looks"] == 0


def test_it_ends_with_its_connection(seen: Any) -> None:
    after = seen(ends=5)
    assert after["cleared"]
    assert after["looks"] == 5
