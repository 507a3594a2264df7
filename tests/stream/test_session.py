import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from models.engine import DeviceMemoryError
from stream.config import SessionConfig
from stream.frames import FaceCrop, SyncedFrame, VideoFrame
from stream.passage import Mode
from tests.stream.session_fakes import CHUNK_NS, FRAME_NS, MS, Ramp, Rig, picture

pytestmark = pytest.mark.unit


def play(rig: Callable[[], Rig], act: Callable[[Rig], Awaitable[None]]) -> Rig:
    """Run `act` on a session that runs; return what it left behind."""

    async def scenario() -> Rig:
        made = rig()
        async with made.running():
            await act(made)
        return made

    return asyncio.run(scenario())


def first_pixels(pictures: list[VideoFrame]) -> list[int]:
    return [int(frame.planes[0][0, 0]) for frame in pictures]


async def re_voiced(rig: Rig) -> None:
    rig.session.switch(Mode.RE_VOICE, Ramp())
    await rig.feed(0, 400 * MS)


def test_pass_through_touches_nothing_and_adds_no_delay() -> None:
    async def act(rig: Rig) -> None:
        await rig.feed(0, 400 * MS)

    rig = play(Rig, act)
    assert [frame.pts_ns for frame in rig.peer.pictures] == list(range(0, 400 * MS, FRAME_NS))
    assert set(first_pixels(rig.peer.pictures)) == {255}
    assert [chunk.pts_ns for chunk in rig.peer.sounds] == list(range(0, 400 * MS, CHUNK_NS))
    assert set(rig.peer.delays_ns) == {0}
    assert rig.finders == []


def test_lips_and_sound_are_cut_from_the_voice_at_the_same_pts() -> None:
    rig = play(Rig, re_voiced)
    assert first_pixels(rig.peer.pictures)[:6] == [frame.pts_ns // MS for frame in rig.peer.pictures[:6]]
    for chunk in rig.peer.sounds:
        np.testing.assert_allclose(chunk.samples[0], 1 + chunk.pts_ns / 1e9, atol=1e-6)  # float32 near 1


def test_the_sound_of_a_voice_has_no_gap_and_no_overlap() -> None:
    rig = play(Rig, re_voiced)
    for before, after in itertools.pairwise(rig.peer.sounds):
        assert after.pts_ns == before.end_ns


def test_both_tracks_of_a_re_voiced_session_leave_with_the_configured_delay() -> None:
    rig = play(lambda: Rig(config=SessionConfig(re_voice_delay_ms=90)), re_voiced)
    assert set(rig.peer.delays_ns) == {90 * MS}


def test_a_voice_speaks_on_to_a_peer_that_sends_no_sound() -> None:
    async def act(rig: Rig) -> None:
        rig.session.switch(Mode.RE_VOICE, Ramp())
        await rig.feed(0, 400 * MS, with_sound=False)

    assert len(play(Rig, act).peer.sounds) >= 19


def test_a_voice_begins_again_after_its_pause_with_lips_and_sound_together() -> None:
    async def act(rig: Rig) -> None:
        rig.session.switch(Mode.RE_VOICE, Ramp(200 * MS))
        await rig.feed(0, 1400 * MS)

    rig = play(lambda: Rig(config=SessionConfig(voice_pause_ms=400)), act)
    spoken = {chunk.pts_ns // MS: float(chunk.samples[0]) for chunk in rig.peer.sounds}
    assert spoken[300] == 0.0
    assert spoken[640] == pytest.approx(1.04)
    assert first_pixels(rig.peer.pictures)[640 // 40] == 40


def test_a_hot_switch_drops_no_picture_and_keeps_their_order() -> None:
    async def act(rig: Rig) -> None:
        await rig.feed(0, 400 * MS)
        rig.session.switch(Mode.RE_VOICE, Ramp())
        await rig.feed(400 * MS, 800 * MS)
        rig.session.switch(Mode.PASS_THROUGH)
        await rig.feed(800 * MS, 1200 * MS)

    rig = play(Rig, act)
    assert [frame.pts_ns for frame in rig.peer.pictures] == list(range(0, 1200 * MS, FRAME_NS))
    # The last thing before the switch happened at 380 ms: the voice begins there.
    assert first_pixels(rig.peer.pictures)[9:12] == [255, 20, 60]
    assert first_pixels(rig.peer.pictures)[20:] == [255] * 10


def test_after_a_switch_the_sound_never_goes_back_in_time() -> None:
    async def act(rig: Rig) -> None:
        for turn in range(6):
            rig.session.switch(Mode.RE_VOICE if turn % 2 else Mode.PASS_THROUGH, Ramp())
            await rig.feed(turn * 200 * MS, (turn + 1) * 200 * MS)

    sounds = play(Rig, act).peer.sounds
    assert all(after.pts_ns >= before.end_ns for before, after in itertools.pairwise(sounds))


def test_a_switch_back_shortens_the_delay_by_steps_that_no_picture_notices() -> None:
    async def act(rig: Rig) -> None:
        await re_voiced(rig)
        rig.session.switch(Mode.PASS_THROUGH)
        await rig.feed(400 * MS, 3000 * MS)

    delays_ns = play(Rig, act).peer.delays_ns
    steps_ns = -np.diff(delays_ns)
    # 40 ms of delay per second of media are 1.6 ms per picture, and up to one chunk's share more by rounding.
    assert steps_ns.min() >= 0
    assert steps_ns.max() <= 2.4 * MS
    assert delays_ns[-1] == 0


def test_re_voice_without_a_voice_is_refused() -> None:
    async def act(rig: Rig) -> None:
        with pytest.raises(ValueError, match="voice"):
            rig.session.switch(Mode.RE_VOICE, None)

    play(Rig, act)


@pytest.mark.parametrize("stage", ["find", "draw"])
def test_a_stage_that_raises_costs_the_lips_but_neither_picture_nor_sound(stage: str) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("no")

    rig = play(lambda: Rig(**{stage: fail}), re_voiced)  # type: ignore[arg-type]
    assert [frame.pts_ns for frame in rig.peer.pictures] == list(range(0, 400 * MS, FRAME_NS))
    assert set(first_pixels(rig.peer.pictures)) == {255}
    assert len(rig.peer.sounds) >= 19
    assert rig.session.passed == {"faces_failed" if stage == "find" else "render_failed": 10}
    assert rig.health.status == "ok"


@pytest.mark.parametrize("stage", ["find", "draw"])
def test_a_stage_that_raises_for_a_second_on_end_is_switched_off_and_health_is_degraded(stage: str) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("no")

    seen: list[str] = []

    async def act(rig: Rig) -> None:
        rig.session.switch(Mode.RE_VOICE, Ramp())
        await rig.feed(0, 3000 * MS)
        seen.append(rig.health.status)

    rig = play(lambda: Rig(**{stage: fail}), act)  # type: ignore[arg-type]
    runner = rig.session.faces if stage == "find" else rig.session.render
    assert runner.off
    assert seen == ["degraded"]
    assert len(rig.peer.pictures) == 75
    assert set(first_pixels(rig.peer.pictures)) == {255}
    # One second until the face stage is off; the render stage gets its engine anew and then a second one.
    assert runner.failed == (26 if stage == "find" else 52)


def test_a_broken_engine_is_loaded_anew_once() -> None:
    broken = True

    def fail(_: SyncedFrame) -> None:
        if broken:
            raise RuntimeError("out of device memory")

    async def act(rig: Rig) -> None:
        nonlocal broken
        rig.session.switch(Mode.RE_VOICE, Ramp(10_000 * MS))
        await rig.feed(0, 1200 * MS)
        broken = False
        await rig.feed(1200 * MS, 1400 * MS)

    rig = play(lambda: Rig(draw=fail), act)
    assert rig.engines_opened == 2
    assert first_pixels(rig.peer.pictures)[-1] == 1360 % 256
    assert rig.health.status == "ok"


def test_without_device_memory_a_session_passes_at_once_says_so_and_is_tried_again_after_ten_seconds() -> None:
    full = True
    calls: list[int] = []
    seen: list[list[str]] = []

    def draw(item: SyncedFrame) -> None:
        calls.append(item.frame.pts_ns // MS)
        if full:
            raise DeviceMemoryError("the device has 3 MB left, 9 are needed")

    async def act(rig: Rig) -> None:
        nonlocal full
        rig.session.switch(Mode.RE_VOICE, Ramp(60_000 * MS))
        await rig.feed(0, 9_000 * MS)
        seen.append(rig.health.reasons)
        await rig.feed(9_000 * MS, 12_000 * MS)
        full = False
        await rig.feed(12_000 * MS, 21_000 * MS)
        seen.append(rig.health.reasons)

    rig = play(lambda: Rig(draw=draw), act)
    # Asked once, ten seconds later once more, and after ten more for good.
    assert calls[:3] == [0, 10_000, 20_000]
    assert seen == [["test: render is off: the device has 3 MB left, 9 are needed; it is tried again in 10 s"], []]
    assert len(rig.peer.pictures) == 21 * 25
    assert first_pixels(rig.peer.pictures)[:500] == [255] * 500
    assert first_pixels(rig.peer.pictures)[500:] == [ms % 256 for ms in range(20_000, 21_000, 40)]
    assert rig.session.passed == {"render_failed": 2, "render_off": 498}
    assert rig.engines_opened == 1


def test_a_switch_gives_a_stage_that_is_off_another_chance() -> None:
    broken = True

    def fail(_: VideoFrame) -> list[FaceCrop]:
        if broken:
            raise RuntimeError("no")
        return []

    async def act(rig: Rig) -> None:
        nonlocal broken
        rig.session.switch(Mode.RE_VOICE, Ramp())
        await rig.feed(0, 1400 * MS)
        assert rig.session.faces.off
        broken = False
        rig.session.switch(Mode.RE_VOICE, Ramp())
        await rig.feed(1400 * MS, 1600 * MS)

    rig = play(lambda: Rig(find=fail), act)
    assert not rig.session.faces.off
    assert rig.health.status == "ok"
    assert rig.session.passed["no_face"] == 5


def test_a_picture_without_a_face_passes_and_is_counted() -> None:
    rig = play(lambda: Rig(find=lambda _: []), re_voiced)
    assert set(first_pixels(rig.peer.pictures)) == {255}
    assert rig.session.passed == {"no_face": 10}


def test_pictures_pass_until_the_face_finder_is_open() -> None:
    gate = threading.Event()

    async def act(rig: Rig) -> None:
        rig.open_gate = gate
        rig.session.switch(Mode.RE_VOICE, Ramp())
        for index in range(5):
            await rig.clock.advance_to(index * FRAME_NS)
            await rig.peer.video_in.put(picture(index * FRAME_NS))
            await rig.clock.advance_to(index * FRAME_NS)
        assert first_pixels(rig.peer.pictures) == [255] * 5
        gate.set()
        await rig.feed(200 * MS, 400 * MS)

    rig = play(Rig, act)
    assert rig.session.passed == {"faces_opening": 5}
    assert first_pixels(rig.peer.pictures)[5] == 200


def test_a_picture_ready_after_its_deadline_is_counted_as_late() -> None:
    async def act(rig: Rig) -> None:
        rig.session.switch(Mode.RE_VOICE, Ramp())
        await rig.feed(0, 80 * MS)
        await rig.clock.advance_to(400 * MS)
        await rig.peer.video_in.put(picture(200 * MS, arrival_ns=200 * MS))
        await rig.settle()

    rig = play(Rig, act)
    assert (rig.session.playout.sent, rig.session.playout.late) == (3, 1)
    assert rig.session.playout.latency.figures().max_ms == pytest.approx(200)


def test_pictures_that_could_not_be_made_in_time_pass_and_a_recovered_stage_is_found_again() -> None:
    async def act(rig: Rig) -> None:
        rig.session.switch(Mode.RE_VOICE, Ramp(20_000 * MS))
        await rig.feed(0, 80 * MS)
        rig.session.faces.expected_ns = 300 * MS
        await rig.feed(80 * MS, 4000 * MS)

    rig = play(Rig, act)
    made = [pixel != 255 for pixel in first_pixels(rig.peer.pictures)]
    assert len(made) == 100
    assert made[:22] == [True] * 2 + [False] * 20
    # 300 ms fall below the 80 ms that there are in 66 pictures.
    assert rig.session.passed == {"no_time": 66}
    assert made[-30:] == [True] * 30


def test_a_picture_whose_turn_on_the_engine_comes_too_late_passes_and_is_counted() -> None:
    gate = threading.Event()

    def hold() -> None:
        gate.wait(5)

    async def act(rig: Rig) -> None:
        rig.session.switch(Mode.RE_VOICE, Ramp())
        await rig.feed(0, 80 * MS)
        rig.engines.lane.post(hold)
        await rig.clock.advance_to(80 * MS)
        await rig.peer.video_in.put(picture(80 * MS))
        await rig.clock.advance_to(80 * MS)
        await rig.session.face_lane.run(lambda: None)
        await rig.clock.advance_to(161 * MS)
        gate.set()
        await rig.settle()

    rig = play(Rig, act)
    assert first_pixels(rig.peer.pictures) == [0, 40, 255]
    assert rig.session.passed == {"no_time": 1}
    assert (rig.session.render.late, rig.session.render.failed) == (1, 0)


def test_a_slow_stage_makes_newer_pictures_overtake_older_ones_and_every_one_is_accounted_for() -> None:
    gate = threading.Event()

    async def act(rig: Rig) -> None:
        rig.session.switch(Mode.RE_VOICE, Ramp())
        await rig.settle()
        rig.peer.epoch_ns = 0
        for index in range(20):
            await rig.peer.video_in.put(picture(index * FRAME_NS))
            await rig.clock.advance_to(index * FRAME_NS)
        gate.set()
        await rig.settle()

    rig = play(lambda: Rig(find=lambda _: [] * gate.wait(5)), act)
    stats = rig.peer.video_in.stats
    assert stats.dropped > 0
    assert stats.pushed == stats.dropped + rig.session.overtaken + len(rig.peer.pictures)
    assert rig.peer.pictures[-1].pts_ns == 19 * FRAME_NS


def test_when_the_peer_is_gone_every_task_ends_and_the_face_finder_is_closed() -> None:
    async def scenario() -> tuple[int, Rig]:
        rig = Rig()
        async with rig.running():
            await re_voiced(rig)
        return len(asyncio.all_tasks()), rig

    tasks, rig = asyncio.run(scenario())
    assert tasks == 1
    assert [finder.closed for finder in rig.finders] == [True]


def test_a_session_that_is_cancelled_hangs_up() -> None:
    async def scenario() -> bool:
        rig = Rig()
        carrying = asyncio.create_task(rig.session.run())
        await rig.settle()
        carrying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await carrying
        rig.engines.close()
        return rig.peer.closed.is_set()

    assert asyncio.run(scenario())


@pytest.mark.parametrize("stage", ["find", "draw"])
def test_the_end_does_not_wait_for_a_stage_that_hangs(stage: str) -> None:
    entered, gate = threading.Event(), threading.Event()

    def hang(_: object) -> list[FaceCrop]:
        entered.set()
        gate.wait(30)
        return []

    async def scenario() -> float:
        rig = Rig(**{stage: hang})  # type: ignore[arg-type]
        carrying = asyncio.create_task(rig.session.run())
        rig.session.switch(Mode.RE_VOICE, Ramp())
        await rig.settle()
        rig.peer.epoch_ns = 0
        await rig.peer.video_in.put(picture(0))
        assert await asyncio.to_thread(entered.wait, 5)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await rig.peer.close()
        await carrying
        took_s = loop.time() - began_s
        gate.set()
        rig.engines.close()
        return took_s

    assert asyncio.run(scenario()) < 3.0
