"""A session never sees another's face or voice, whatever is batched, fails, comes late or is replaced."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from stream.batcher import Batcher
from stream.frames import SyncedFrame, VideoFrame
from stream.painter import CpuPainter, Shot
from stream.pipeline import Lane, Raised, attempt
from stream.render import RenderOptions, RenderStage
from tests.stream.fake_faces import face
from tests.stream.fake_generator import FakeGenerator
from tests.stream.tagged import FRAME_NS, MARKS, HandClock, TagPainter, at_random, tagged

pytestmark = pytest.mark.unit

PLAIN = RenderOptions(badge="")
SESSIONS, PICTURES = 20, 5_000
REPLACED_EVERY = 500


class Tally:
    """What became of the pictures of all sessions, and every tag that was found where it should not be."""

    def __init__(self) -> None:
        self.became: Counter[str] = Counter()
        self.foreign: list[tuple[int, list[int]]] = []

    def look(self, tag: int, item: SyncedFrame, kind: str) -> None:
        """A picture that was made carries its tag everywhere, any other is as it was: the same bytes."""
        self.became[kind] += 1
        planes = item.frame.planes
        if any((plane != tag).any() for plane in planes):
            self.foreign.append((tag, [int(planes[0][place]) for place in MARKS]))


async def converse(
    batcher: Batcher, clock: HandClock, tag: int, tally: Tally, new_painter: Callable[[], Awaitable[None]]
) -> None:
    """One session: pictures of which some come late, and some have no face."""
    stage, dice = RenderStage(batcher.painter, PLAIN), random.Random(tag)
    for number in range(PICTURES):
        item = tagged(tag, number, faces=0 if dice.random() < 0.02 else 1)
        late = dice.random() < 0.02
        deadline_ns = clock.now_ns() + (-1 if late else dice.randrange(1, 1000))
        outcome = await batcher.submit(stage, item, deadline_ns)
        assert outcome.late == late
        tally.look(tag, item, "late" if outcome.late else "failed" if isinstance(outcome.result, Raised) else "done")
        if tag == 1 and number % REPLACED_EVERY == 0:
            await new_painter()
    batcher.leave(stage)


def test_of_a_hundred_thousand_pictures_none_carries_anothers_tag() -> None:
    painters = [TagPainter(at_random(0, 0.01))]

    def replaced() -> None:
        painters[-1].close()
        painters.append(TagPainter(at_random(len(painters), 0.01), name=f"painter {len(painters)}"))
        batcher.painter = painters[-1]

    async def scenario(tally: Tally) -> None:
        tags = range(1, SESSIONS + 1)
        await asyncio.gather(*(converse(batcher, clock, tag, tally, lambda: lane.run(replaced)) for tag in tags))

    clock, lane, tally = HandClock(), Lane("engine"), Tally()
    batcher = Batcher(lane, painters[0], clock, gather_ns=0)
    asyncio.run(scenario(tally))
    lane.close()
    assert tally.foreign == []
    assert tally.became.total() == SESSIONS * PICTURES
    assert tally.became["failed"] > SESSIONS * PICTURES // 100
    assert len(painters) == 1 + PICTURES // REPLACED_EVERY
    # It was a batch that they could be mixed up in, and nobody was shown what a replaced painter had kept.
    assert max(count for painter in painters for count in painter.batches) > 1
    assert sum(painter.strange for painter in painters) == 0


def test_a_painter_that_mixes_two_sessions_up_would_be_seen() -> None:
    class Mixer(TagPainter):
        def paint(self, shots: Sequence[Shot]) -> list[Exception | None]:
            voices = [shot.mel for shot in shots]
            return super().paint([replace(shot, mel=mel) for shot, mel in zip(shots, reversed(voices), strict=True)])

    clock, lane, tally = HandClock(), Lane("engine"), Tally()
    batcher = Batcher(lane, Mixer(), clock, gather_ns=0)

    async def scenario() -> None:
        gate = threading.Event()
        held = asyncio.ensure_future(lane.run(lambda: gate.wait(5)))
        items = [tagged(tag, 0) for tag in (1, 2)]
        asked = [
            asyncio.ensure_future(batcher.submit(RenderStage(batcher.painter, PLAIN), each, None)) for each in items
        ]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(held, *asked)
        for tag, item in zip((1, 2), items, strict=True):
            tally.look(tag, item, "done")

    asyncio.run(scenario())
    lane.close()
    assert tally.foreign == [(1, [1, 2, 1]), (2, [2, 1, 2])]


# -- with real pixels -------------------------------------------------------------------------------

FACES = [face(0, centre=(32.0, 24.0), side=40.0), face(0, centre=(20.0, 20.0), side=30.0, face_id=1)]


def portrait(session: int, number: int) -> SyncedFrame:
    """Noise of the session's own, with one face or two, and a voice of its own; every ninth window does not fit."""
    dice = np.random.default_rng([session, number])
    planes = tuple(dice.integers(16, 236, size, np.uint8) for size in ((48, 64), (24, 32), (24, 32)))
    pts_ns = number * FRAME_NS
    faces = tuple(replace(each, pts_ns=pts_ns) for each in FACES[: 1 + number % 2])
    mel = np.full((80, 3 if number % 9 == 8 else 27), dice.uniform(-4, 4), np.float32)
    return SyncedFrame(VideoFrame(pts_ns, 0, "yuv420p", (planes[0], planes[1], planes[2])), faces, mel)


def test_pixels_painted_together_are_those_that_each_session_gets_alone() -> None:
    sessions, pictures = 5, 200
    together: list[list[VideoFrame]] = [[] for _ in range(sessions)]

    async def converse(session: int) -> None:
        stage = RenderStage(batcher.painter)
        for number in range(pictures):
            item = portrait(session, number)
            outcome = await batcher.submit(stage, item, None)
            assert isinstance(outcome.result, Raised) == (number % 9 == 8)
            together[session].append(item.frame)

    async def scenario() -> None:
        await asyncio.gather(*(converse(session) for session in range(sessions)))

    engine, lane = FakeGenerator(), Lane("engine")
    batcher = Batcher(lane, CpuPainter(engine, identity="open_mouth", max_batch=6), HandClock(), gather_ns=0)
    asyncio.run(scenario())
    lane.close()
    assert max(engine.batches) > 2
    for session in range(sessions):
        alone = RenderStage(CpuPainter(FakeGenerator(), identity="open_mouth"))
        for number, shown in enumerate(together[session]):
            item = portrait(session, number)
            attempt(alone.process, item)
            assert all(np.array_equal(a, b) for a, b in zip(shown.planes, item.frame.planes, strict=True))
