import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.engine import Engine, EngineError
from stream.clock import VirtualClock
from stream.config import Config, EngineConfig
from stream.engines import Engines, FinderPool, open_engines
from stream.errors import ConfigError
from stream.frames import VideoFrame
from stream.passage import Mode
from stream.render import RenderOptions, RenderStage
from tests.stream.session_fakes import MS, FakeEngine, FakeFinder, FakeRender, Ramp, Rig, a_face
from tests.stream.tagged import TagPainter

pytestmark = pytest.mark.unit


class Pool:
    """A pool that counts how often networks were loaded, and which ones each finder got."""

    def __init__(self, loaded: int) -> None:
        self.loads = 0
        self.used: list[Any] = []
        self.pool = FinderPool(self._load, self._make, loaded)

    def _load(self) -> Any:
        self.loads += 1
        return f"networks {self.loads}"

    def _make(self, networks: Any, _: int) -> FakeFinder:
        self.used.append(networks)
        return FakeFinder(a_face)


def test_networks_are_loaded_before_the_first_session() -> None:
    assert Pool(2).loads == 2


def test_networks_pass_from_an_ended_session_to_the_next() -> None:
    pool = Pool(1)
    for _ in range(5):
        pool.pool.open(96).close()
    assert (pool.loads, pool.used) == (1, ["networks 1"] * 5)


def test_no_two_finders_share_networks_at_a_time_and_surplus_ones_are_let_go() -> None:
    pool = Pool(1)
    finders = [pool.pool.open(96) for _ in range(3)]
    assert len(set(pool.used)) == 3
    for finder in finders:
        finder.close()
    for _ in range(2):
        pool.pool.open(96)
    assert pool.loads == 4


def test_an_engine_that_broke_is_closed_and_replaced_once_for_all_sessions() -> None:
    made: list[FakeEngine] = []

    def open_engine() -> FakeEngine:
        made.append(FakeEngine())
        return made[-1]

    engines = Engines(open_engine, lambda _: FakeFinder(a_face), FakeRender)
    broken = engines.painter
    for _ in range(2):
        engines.rebuild(broken)
    assert len(made) == 2
    assert made[0].closed
    assert engines.painter is not broken
    with pytest.raises(ConfigError, match="visavis engines check"):
        engines.rebuild(engines.painter)
    engines.close()


def test_when_the_engine_breaks_it_is_replaced_once_and_every_session_goes_on_with_its_own_pictures() -> None:
    painters: list[TagPainter] = []

    def open_painter(_: Engine) -> TagPainter:
        broken = EngineError("the device is gone")
        painters.append(TagPainter((lambda n: [None] * n) if painters else (lambda _: broken), name=f"{len(painters)}"))
        return painters[-1]

    async def scenario() -> list[Rig]:
        clock = VirtualClock()
        engines = Engines(
            FakeEngine,
            lambda _: FakeFinder(a_face),
            lambda painter: RenderStage(painter, RenderOptions(badge="")),
            open_painter=open_painter,
            clock=clock,
        )
        rigs = [Rig(clock=clock, engines=engines) for _ in range(4)]
        async with AsyncExitStack() as stack:
            for rig in rigs:
                await stack.enter_async_context(rig.running())
                rig.peer.epoch_ns = 0
            for number in range(50):
                await clock.advance_to(number * 40 * MS)
                for session, rig in enumerate(rigs):
                    # One of them begins when the others have almost given up, one long after.
                    if number == (1, 5, 20, 40)[session]:
                        rig.session.switch(Mode.RE_VOICE, Tagged(session + 1))
                    planes = tuple(np.full(size, session + 1, np.uint8) for size in ((4, 4), (2, 2), (2, 2)))
                    frame = VideoFrame(number * 40 * MS, clock.now_ns(), "yuv420p", (planes[0], planes[1], planes[2]))
                    await rig.peer.video_in.put(frame)
                for rig in rigs:
                    await rig.settle()
        return rigs

    rigs = asyncio.run(scenario())
    assert len(painters) == 2
    assert painters[0].closed
    assert painters[1].strange == 0
    for session, rig in enumerate(rigs):
        assert all((plane == session + 1).all() for frame in rig.peer.pictures for plane in frame.planes)
        assert len(rig.peer.pictures) == 50
        assert not rig.session.render.off
        assert rig.session.render.meter.figures().count > rig.session.render.failed
    # The one that began at last never saw the broken one.
    assert rigs[3].session.render.failed == 0


class Tagged(Ramp):
    """A voice whose mel window is full of a tag."""

    def __init__(self, tag: int) -> None:
        super().__init__(10_000 * MS)
        self._tag = tag

    def mel(self, _: int) -> NDArray[np.float32]:
        return np.full((80, 27), self._tag, np.float32)


@pytest.mark.parametrize(
    ("engine", "found"),
    [
        (EngineConfig(name="nobody"), "nobody"),
        (EngineConfig(backend="tensorflow"), "tensorflow"),
        (EngineConfig(folder="nowhere"), "nowhere"),
    ],
)
def test_a_server_without_its_engine_refuses_to_start_and_names_what_is_missing(
    engine: EngineConfig, found: str
) -> None:
    with pytest.raises(EngineError) as raised:
        open_engines(Config(engine=engine))
    assert found in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_manifest_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / EngineConfig().name).mkdir()
    with pytest.raises(EngineError, match=r"make it|Fetch it"):
        open_engines(Config(engine=EngineConfig(folder=str(tmp_path))))
