"""A session whose pictures stay on the card sends what it would have sent from memory; the card is a stand-in."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from kernels.cuda.device import DeviceError
from models.card_engine import CardEngine
from models.catalogue import WEIGHTS, LoadedEngine
from models.manifest import load_manifest
from models.torch_cuda_engine import generator_on_card
from stream.card_painter import CardPainter
from stream.clock import VirtualClock
from stream.engines import Engines
from stream.filters import Chosen
from stream.frames import FaceCrop, VideoFrame
from stream.passage import Mode
from stream.render import RenderOptions, RenderStage
from tests.kernels.cuda.fake_card import FakeCard
from tests.models.on_fake_card import NetworkOnFakeCard
from tests.stream.fake_faces import face
from tests.stream.fake_filter import FakeFilter, Fakes
from tests.stream.session_fakes import FRAME_NS, MS, FakeFinder, Ramp, Rig
from tests.stream.test_card_painter import difference, frame_of
from tests.stream.test_drawn_on_card import Surfaces

pytestmark = pytest.mark.unit

NAME = "lipgan_quarter"
COUNT = 3


class Studio(Rig):
    """A session on a card, whose pictures may stay there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, stay: bool) -> None:
        clock, self.fake, self.stay = VirtualClock(), FakeCard(), stay
        self.manifest = load_manifest(WEIGHTS / NAME, "")
        self._monkeypatch = monkeypatch
        engines = Engines(
            self._open,
            lambda _: FakeFinder(self._find),
            lambda painter: RenderStage(painter, RenderOptions()),
            open_painter=lambda _: CardPainter(self.card, self.manifest.crop, max_batch=1),
            clock=clock,
            open_filters=Fakes(FakeFilter("grey", 0.0)).shelf,
        )
        super().__init__(clock=clock, engines=engines)
        self.engine = self.card
        self.surfaces = Surfaces(self)  # type: ignore[arg-type]

    def _open(self) -> LoadedEngine:
        network = generator_on_card(WEIGHTS / NAME / "generator.safetensors", precision="fp32", device="cpu")
        self.card = CardEngine(NetworkOnFakeCard(self.fake, network, (1,)), self.fake.open(self._monkeypatch))
        return LoadedEngine(self.card, self.manifest, threads=1)

    def _find(self, frame: VideoFrame) -> list[FaceCrop]:
        size = self.manifest.crop.size_px
        return [face(frame.pts_ns, centre=(100.0, 60.0), side=80.0, size=size)]

    async def show(self, number: int) -> None:
        """Let picture `number` arrive, and wait until everything rests."""
        await self.clock.advance_to(number * FRAME_NS)
        self.peer.epoch_ns = 0
        frame = frame_of(seed=number, pts_ns=number * FRAME_NS)
        await self.peer.video_in.put(self.surfaces.holding(frame) if self.stay else frame)
        await self.settle()


Act = Callable[[Studio, int], Awaitable[None]]


async def nothing(_studio: Studio, _number: int) -> None:
    """Only let pictures pass."""


def sent(monkeypatch: pytest.MonkeyPatch, *, stay: bool, before_each: Act = nothing) -> Studio:
    async def scenario() -> Studio:
        studio = Studio(monkeypatch, stay=stay)
        async with studio.running():
            studio.session.switch(Mode.RE_VOICE, Ramp(100_000 * MS))
            # The face finder is opened first.
            await studio.settle()
            for number in range(COUNT):
                await before_each(studio, number)
                await studio.show(number)
            # Before the engine's memory is gone.
            for frame in studio.peer.pictures:
                assert frame.planes
        return studio

    return asyncio.run(scenario())


def on_card(studio: Studio) -> list[bool]:
    return [frame.on_card is not None for frame in studio.peer.pictures]


def test_what_a_session_sends_from_the_card_is_what_it_sends_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    copied, kept = (sent(monkeypatch, stay=stay) for stay in (False, True))
    assert (on_card(copied), on_card(kept)) == ([False] * COUNT, [True] * COUNT)
    pairs = list(zip(kept.peer.pictures, copied.peer.pictures, strict=True))
    assert [difference(a, b) for a, b in pairs] == [0] * COUNT
    assert all(difference(a, frame_of(seed=number)) > 10 for number, (a, _) in enumerate(pairs))
    assert kept.session._renderer.made == COUNT
    assert kept.session.passed == {}


def test_under_a_filter_pictures_come_into_memory_and_stay_again_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def filter_one(studio: Studio, number: int) -> None:
        grey = studio.engines.filters.find("grey")
        studio.session.choose_filter(Chosen(grey, order="before") if number == 1 else None)

    copied, kept = (sent(monkeypatch, stay=stay, before_each=filter_one) for stay in (False, True))
    assert on_card(kept) == [True, False, True]
    assert [difference(a, b) for a, b in zip(kept.peer.pictures, copied.peer.pictures, strict=True)] == [0] * COUNT
    assert kept.session.filtering.public()["filtered"] == 1


def test_a_card_that_fails_in_a_call_loses_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail_once(studio: Studio, number: int) -> None:
        def fail() -> None:
            raise DeviceError("an illegal memory access was encountered")

        device = studio.card.device
        whole = type(device).synchronise
        monkeypatch.setattr(device, "synchronise", fail if number == 1 else lambda: whole(device))

    kept = sent(monkeypatch, stay=True, before_each=fail_once)
    assert len(kept.peer.pictures) == COUNT
    assert on_card(kept) == [True, False, True]
    assert difference(kept.peer.pictures[1], frame_of(seed=1)) == 0
    assert kept.session.passed == {"render_failed": 1}


def test_pictures_of_an_engine_that_was_opened_anew_go_on_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    async def rebuild(studio: Studio, number: int) -> None:
        if number == 1:
            # The decoder goes on in the old context for as long as it has not noticed.
            monkeypatch.setattr(studio.card.device, "close", lambda: None)
            await studio.engines.lane.run(lambda: studio.engines.rebuild(studio.engines.painter))

    copied, kept = (sent(monkeypatch, stay=stay, before_each=rebuild) for stay in (False, True))
    assert on_card(kept) == [True, False, False]
    assert [difference(a, b) for a, b in zip(kept.peer.pictures, copied.peer.pictures, strict=True)] == [0] * COUNT


def test_a_picture_that_only_passes_is_not_brought_down(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> Studio:
        studio = Studio(monkeypatch, stay=True)
        async with studio.running():
            await studio.show(0)
            studio.surfaces.codecs.downloads = 0
            frame = studio.surfaces.holding(frame_of(pts_ns=FRAME_NS))
            brought = studio.surfaces.codecs.downloads
            await studio.clock.advance_to(FRAME_NS)
            await studio.peer.video_in.put(frame)
            await studio.settle()
            # Nothing beyond what the comparison in `holding` took.
            assert studio.surfaces.codecs.downloads == brought
        return studio

    assert on_card(asyncio.run(scenario())) == [True, True]


def test_the_device_that_codecs_share_is_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    studio = Studio(monkeypatch, stay=True)
    engines = studio.engines
    assert engines.device is studio.card.device
    assert engines.paints_where_it_lies(studio.surfaces.holding(frame_of()))
    assert not engines.paints_where_it_lies(frame_of())
    engines.close()
