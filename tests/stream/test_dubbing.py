"""A session that dubs, with back ends that a test holds in its hand."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from kernels.mel import MelWindow
from stream.dubbing import Dubbing
from stream.passage import Mode
from stream.session import Session
from stream.speech.chain import Chain
from stream.speech.wish import DubWish
from tests.stream.session_fakes import CHUNK_NS, FRAME_NS, MS, Rig
from tests.stream.speech.words import Humming, Scripted, Shouting, clause

pytestmark = pytest.mark.unit

WISH = DubWish(source="en", target="xx")


class DubRig(Rig):
    """A session whose chain is scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.chain = Chain(Scripted(""), {"xx": Shouting()}, Humming(), ("draft",), Counter())
        self.session = Session(
            self.peer, self.session._config, self.engines, self.clock, health=self.health, open_dubbing=self._open
        )

    def _open(
        self, wish: DubWish, media_now_ns: Callable[[], int], delay_ns: int, on_off: Callable[[str], None]
    ) -> Dubbing:
        window = MelWindow(27, 13)
        return Dubbing(wish, lambda _: self.chain, window, self.clock, media_now_ns, delay_ns=delay_ns, on_off=on_off)

    @property
    def dubbing(self) -> Dubbing:
        assert self.session.dubbing is not None
        return self.session.dubbing

    def say(self, text: str, start_ms: int, clause_id: int = 1) -> None:
        """Put a clause through the speaking half, as if it had been heard."""
        assert self.dubbing._interpreter is not None
        spoken = clause(clause_id, text, start_ms)
        self.dubbing._place(self.dubbing._interpreter.prepare(spoken), spoken.end_ns)

    async def settle(self) -> None:
        await super().settle()
        if self.session.dubbing is not None and not self.session.dubbing._closed:
            for lane in (self.dubbing._listen_lane, self.dubbing._speak_lane) * 2:
                await lane.run(lambda: None)
                await self.clock.advance_to(self.clock.now_ns())


def play(act: Callable[[DubRig], Awaitable[None]], wish: DubWish = WISH) -> DubRig:
    async def scenario() -> DubRig:
        rig = DubRig()
        rig.session.switch(Mode.DUB, dub=wish)
        async with rig.running():
            await rig.feed(0, 400 * MS)
            await act(rig)
        return rig

    return asyncio.run(scenario())


def heard(rig: DubRig, begin_ms: int, end_ms: int) -> np.ndarray:
    """What left between two times of the session; the original is a constant 0.5."""
    pieces = [chunk for chunk in rig.peer.sounds if begin_ms * MS <= chunk.pts_ns < end_ms * MS]
    return np.concatenate([chunk.samples for chunk in pieces])


def test_the_original_is_heard_until_there_is_a_dub() -> None:
    async def act(rig: DubRig) -> None:
        await rig.feed(400 * MS, 1000 * MS)

    rig = play(act)
    assert heard(rig, 100, 800).min() == pytest.approx(0.5)
    assert rig.session.passed["not_dubbed"] > 10


def test_the_dub_is_heard_over_a_ducked_original_and_seen_on_the_lips() -> None:
    async def act(rig: DubRig) -> None:
        rig.say("one two three four five", 0)
        await rig.feed(400 * MS, 4000 * MS)

    rig = play(act)
    # Placed at the target lag of 1.5 s less the exit's 140 ms; a fifth of a second each word.
    under = heard(rig, 1600, 2100)
    assert np.median(under) == pytest.approx(0.5 * 0.15, abs=0.1)
    assert under.max() > 0.3
    assert heard(rig, 3860, 3940).min() == pytest.approx(0.5)
    drawn = [frame.pts_ns // MS for frame in rig.peer.pictures if frame.planes[0][0, 0] != 255]
    assert min(drawn) <= 1200 <= 2300 <= max(drawn)
    assert max(drawn) <= 3200


def test_together_holds_the_pictures_until_their_dub() -> None:
    async def act(rig: DubRig) -> None:
        await rig.feed(400 * MS, 3000 * MS)

    rig = play(act, DubWish(source="en", target="xx", video="together"))
    assert rig.peer.delay_ns == 1500 * MS
    last_ns = rig.peer.pictures[-1].pts_ns
    assert 3000 * MS - 1500 * MS - FRAME_NS <= last_ns <= 3000 * MS - 1300 * MS
    times = [frame.pts_ns for frame in rig.peer.pictures]
    assert times == list(range(0, last_ns + 1, FRAME_NS))


def test_an_interruption_is_silent_within_80_ms() -> None:
    async def act(rig: DubRig) -> None:
        rig.say("one two three four five six seven", 0)
        rig.say("and a second one", 1000, 2)
        await rig.feed(400 * MS, 2100 * MS)
        rig.dubbing.interrupt()
        await rig.feed(2100 * MS, 4500 * MS)

    rig = play(act)
    # What leaves at 2100 ms is of 1960 ms; 80 ms later the original must be alone.
    original = heard(rig, 2040, 3000)
    assert np.abs(np.diff(original)).max() < 0.01
    assert np.abs(np.diff(heard(rig, 1860, 1960))).max() > 0.001


def test_a_clause_that_fails_is_counted_and_the_session_goes_on() -> None:
    async def act(rig: DubRig) -> None:
        for text in ("please fail now", "all is well"):
            await rig.dubbing._clauses.put((clause(1, text, 300), 0))
            await rig.settle()
        await rig.feed(400 * MS, 1000 * MS)
        public = rig.dubbing.public()
        assert public["counts"]["speak_failed"] == 1
        assert [each["spoken"] for each in public["captions"]] == [False, True]
        assert public["state"] == "listening"

    play(act)


def test_leaving_the_dub_closes_its_back_ends() -> None:
    async def act(rig: DubRig) -> None:
        rig.session.switch(Mode.PASS_THROUGH)
        await rig.feed(400 * MS, 800 * MS)

    rig = play(act)
    assert rig.chain.recogniser.closed  # type: ignore[attr-defined]
    assert rig.chain.speaker.closed  # type: ignore[attr-defined]
    assert rig.session.dubbing is None


def test_the_sound_of_a_dub_has_no_gap() -> None:
    async def act(rig: DubRig) -> None:
        await rig.feed(400 * MS, 2000 * MS)

    rig = play(act)
    times = [chunk.pts_ns for chunk in rig.peer.sounds]
    assert times == list(range(times[0], times[-1] + 1, CHUNK_NS))


def test_a_peer_without_sound_still_sees_its_picture() -> None:
    async def scenario() -> Rig:
        rig = DubRig()
        rig.session.switch(Mode.DUB, dub=WISH)
        async with rig.running():
            await rig.feed(0, 1000 * MS, with_sound=False)
        return rig

    assert len(asyncio.run(scenario()).peer.pictures) >= 20


def test_captions_and_sound_can_be_taken_away() -> None:
    async def act(rig: DubRig) -> None:
        rig.say("one two three", 0)
        await rig.feed(400 * MS, 3000 * MS)
        (caption,) = rig.dubbing.captions()
        assert caption.text == "ONE TWO THREE"
        assert rig.dubbing.captions("source")[0].text == "one two three"
        wav = rig.dubbing.wav()
        assert wav[:4] == b"RIFF"
        assert len(wav) > 100_000

    play(act)


def test_a_session_without_back_ends_refuses_to_dub() -> None:
    rig = Rig()
    with pytest.raises(ValueError, match="back ends"):
        rig.session.switch(Mode.DUB, dub=WISH)
    rig.engines.close()
