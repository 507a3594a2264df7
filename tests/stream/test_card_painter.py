"""Lips painted on a card are those that the processor paints; the card is a stand-in that runs the kernels."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.on_card.idle import IdleCard, IdleNetwork
from kernels.identity import IdentityBank
from models.card_engine import CardEngine
from models.catalogue import WEIGHTS, LoadedEngine, load_engine
from models.engine import DeviceMemoryError, EngineError
from models.manifest import load_manifest
from models.torch_cuda_engine import generator_on_card
from stream.card_painter import CardPainter, painter_for
from stream.engines import Engines
from stream.frames import FaceCrop, SyncedFrame, VideoFrame
from stream.painter import CpuPainter, Shot
from stream.pipeline import Outcome, Raised
from stream.render import RenderOptions, RenderStage
from tests import faces as pictures
from tests.kernels.cuda.fake_card import FakeCard, FakeError
from tests.models.on_fake_card import NetworkOnFakeCard
from tests.stream.fake_faces import FakeFinder, face

pytestmark = pytest.mark.unit

# The processor rounds to bytes between the steps: the crop, the picture, light and weights, half a level each.
LEVELS = 3


class Card:
    """A painter with all that stands behind it."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        name: str = "lipgan_quarter",
        *,
        precision: str = "fp32",
        room: int = 1 << 30,
        capturable: bool = True,
    ) -> None:
        self.fake = FakeCard(room)
        network = generator_on_card(WEIGHTS / name / "generator.safetensors", precision=precision, device="cpu")
        self.network = NetworkOnFakeCard(self.fake, network, capturable=capturable)
        self.manifest = load_manifest(WEIGHTS / name, "")
        self.engine = CardEngine(self.network, self.fake.open(monkeypatch))
        self.painter = CardPainter(self.engine, self.manifest.crop)


def frame_of(height: int = 150, width: int = 200, seed: int = 0, pts_ns: int = 0) -> VideoFrame:
    """A picture with structure at every scale that a face has, and without a frame's noise."""
    random = np.random.default_rng(seed)
    canvas = random.integers(40, 220, (height // 6 + 2, width // 6 + 2, 3)).astype(np.uint8)
    picture = np.kron(canvas, np.ones((6, 6, 1), np.uint8))[:height, :width]
    return VideoFrame(pts_ns, 0, "yuv420p", pictures.planes_of(np.ascontiguousarray(picture)))


def mel_of(card: Card, seed: int = 0) -> np.ndarray:
    columns = card.manifest.mel.columns
    return np.random.default_rng(seed).uniform(-4, 2, (80, columns)).astype(np.float32)


def shot_of(card: Card, frame: VideoFrame, crop: FaceCrop, *, alpha: float = 1.0, seed: int = 0) -> Shot:
    policy = card.painter.identity
    bank = None if policy == "same_frame" else IdentityBank(opened=policy == "open_mouth")
    return Shot(frame, crop, mel_of(card, seed), alpha, bank)


def one(card: Card, *, centre: tuple[float, float] = (100.0, 75.0), side: float = 90.0, face_id: int = 0) -> FaceCrop:
    return face(0, centre=centre, side=side, size=card.manifest.crop.size_px, face_id=face_id)


def by_processor(card: Card, shots: Sequence[Shot]) -> None:
    """Paint copies of the shots' pictures with the same weights on the processor."""
    engine = load_engine(card.manifest.name, backend="torch")
    assert CpuPainter(engine).paint(shots) == [None] * len(shots)


def difference(first: VideoFrame, second: VideoFrame) -> int:
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(first.planes, second.planes, strict=True))


@pytest.mark.parametrize("height_width", [(150, 200), (151, 199)])
@pytest.mark.parametrize("name", ["lipgan_quarter", "lipgan_lite"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_lips_from_the_card_are_those_of_the_processor(
    name: str, precision: str, height_width: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card(monkeypatch, name, precision=precision)
    painted, expected, original = (frame_of(*height_width) for _ in range(3))
    assert card.painter.paint([shot_of(card, painted, one(card))]) == [None]
    by_processor(card, [shot_of(card, expected, one(card))])
    assert difference(expected, original) > 20
    assert difference(painted, expected) <= LEVELS


def test_a_batch_gives_each_session_what_it_gets_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    # Pictures of other sizes, faces of other sizes, one of them partly outside: three in a launch of four.
    asked = [((150, 200), (100.0, 75.0), 90.0), ((97, 131), (50.0, 60.0), 70.0), ((240, 320), (300.0, 200.0), 160.0)]
    together = [frame_of(*size, seed=i) for i, (size, _, _) in enumerate(asked)]
    shots = [
        shot_of(card, frame, one(card, centre=centre, side=side), seed=i)
        for i, (frame, (_, centre, side)) in enumerate(zip(together, asked, strict=True))
    ]
    assert card.painter.paint(shots) == [None] * 3
    assert card.network.batches[-1] == 4
    for index, (size, centre, side) in enumerate(asked):
        alone = frame_of(*size, seed=index)
        card.painter.paint([shot_of(card, alone, one(card, centre=centre, side=side), seed=index)])
        # torch adds up in another order for another batch.
        assert difference(alone, together[index]) <= 1


def test_mouths_that_overlap_in_one_picture_are_pasted_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    painted, expected = frame_of(), frame_of()
    crops = [one(card), one(card, centre=(135.0, 80.0), face_id=1)]
    assert card.painter.paint([shot_of(card, painted, each) for each in crops]) == [None, None]
    by_processor(card, [shot_of(card, expected, each) for each in crops])
    assert difference(painted, expected) <= LEVELS


def test_faces_of_one_picture_that_are_far_apart_keep_what_lies_between(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    painted, expected = frame_of(120, 400), frame_of(120, 400)
    crops = [one(card, centre=(60.0, 60.0), side=80.0), one(card, centre=(330.0, 60.0), side=80.0, face_id=1)]
    assert card.painter.paint([shot_of(card, painted, each) for each in crops]) == [None, None]
    by_processor(card, [shot_of(card, expected, each) for each in crops])
    assert difference(painted, expected) <= LEVELS


@pytest.mark.parametrize("alpha", [0.25, 0.75])
def test_a_fade_is_that_of_the_processor(alpha: float, monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    painted, expected = frame_of(), frame_of()
    card.painter.paint([shot_of(card, painted, one(card), alpha=alpha)])
    by_processor(card, [shot_of(card, expected, one(card), alpha=alpha)])
    assert difference(painted, expected) <= LEVELS


@pytest.mark.parametrize(("capturable", "graphs_a_tick"), [(True, 1), (False, 2)])
def test_after_the_warm_up_nothing_is_recorded_and_a_tick_is_one_launch(
    capturable: bool, graphs_a_tick: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card(monkeypatch, capturable=capturable)
    card.painter.warm_up()
    device = card.engine.device

    def refuse(_: object) -> None:
        raise AssertionError("a graph was recorded")

    monkeypatch.setattr(device, "capture", refuse)
    for count in (1, 2, 3, 4):
        before = card.fake.graph_launches
        frames = [frame_of(seed=i) for i in range(count)]
        assert card.painter.paint([shot_of(card, each, one(card)) for each in frames]) == [None] * count
        assert card.fake.graph_launches - before == graphs_a_tick


def test_more_faces_than_go_together_go_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    frames = [frame_of(seed=i) for i in range(6)]
    assert card.painter.paint([shot_of(card, each, one(card)) for each in frames]) == [None] * 6
    assert all(difference(each, frame_of(seed=i)) > 10 for i, each in enumerate(frames))


def test_larger_pictures_than_there_was_room_for_are_painted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    painted, expected = frame_of(1000, 1100), frame_of(1000, 1100)
    crop = one(card, centre=(550.0, 500.0), side=900.0)
    assert card.painter.paint([shot_of(card, painted, crop)]) == [None]
    by_processor(card, [shot_of(card, expected, crop)])
    # Where much is averaged or enlarged the processor rounds more often.
    assert difference(painted, expected) <= LEVELS + 1


def test_one_window_that_does_not_fit_spoils_its_own_picture_only(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    good, bad = frame_of(seed=1), frame_of(seed=2)
    wrong = Shot(bad, one(card), np.zeros((80, 5), np.float32), 1.0, None)
    verdicts = card.painter.paint([wrong, shot_of(card, good, one(card)), shot_of(card, bad, one(card))])
    assert [type(each) for each in verdicts] == [ValueError, type(None), ValueError]
    assert difference(bad, frame_of(seed=2)) == 0
    assert difference(good, frame_of(seed=1)) > 10


def test_faces_that_cannot_be_cut_out_spoil_their_own_pictures_only() -> None:
    manifest = load_manifest(WEIGHTS / "lipgan_quarter", "")
    painter = CardPainter(CardEngine(IdleNetwork(manifest), IdleCard()), manifest.crop)
    crop = face(0, centre=(100.0, 75.0), side=90.0, size=manifest.crop.size_px)
    mel = np.zeros((80, manifest.mel.columns), np.float32)
    y, u, v = frame_of().planes
    flat, far = np.zeros((2, 3), np.float32), np.array([[0.5, 0.0, np.nan], [0.0, 0.5, 0.0]], np.float32)
    asked = [
        (frame_of(), crop),
        (frame_of(), replace(crop, to_crop=flat)),
        (replace(frame_of(), picture=(y, u[1:], v)), crop),
        (frame_of(), replace(crop, to_crop=far)),
        (frame_of(), crop),
    ]
    verdicts = painter.paint([Shot(frame, each, mel, 1.0, None) for frame, each in asked])
    assert [type(each) for each in verdicts] == [type(None), ValueError, ValueError, ValueError, type(None)]


def test_a_card_without_room_says_so_and_paints_again_when_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    card.fake.room = card.fake.used
    frame = frame_of(1000, 1100)
    crop = one(card, centre=(550.0, 500.0), side=900.0)
    (verdict,) = card.painter.paint([shot_of(card, frame, crop)])
    assert isinstance(verdict, DeviceMemoryError)
    assert difference(frame, frame_of(1000, 1100)) == 0
    small = frame_of()
    card.fake.room = 1 << 30
    assert card.painter.paint([shot_of(card, small, one(card)), shot_of(card, frame, crop)]) == [None, None]
    assert difference(frame, frame_of(1000, 1100)) > 10


def test_a_card_that_fails_leaves_every_picture_as_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    card.painter.warm_up()
    frames = [frame_of(seed=i) for i in range(2)]
    card.fake.sticky = FakeError("an illegal memory access was encountered")
    verdicts = card.painter.paint([shot_of(card, each, one(card)) for each in frames])
    assert [type(each) for each in verdicts] == [EngineError, EngineError]
    assert all(difference(each, frame_of(seed=i)) == 0 for i, each in enumerate(frames))
    # What stands behind it can be closed, and the card opened anew.
    card.painter.close()
    card.engine.close()
    assert (card.fake.used, card.fake.resets) == (0, 1)


def test_pictures_of_faces_stay_within_their_limit_and_what_is_taken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    painter = CardPainter(card.engine, card.manifest.crop, pictures_mb=4)
    before = dict(painter.memory)
    # 16 at a time, of 0.1 MB each: 2 x 16 fit.
    banks = [IdentityBank(opened=True) for _ in range(40)]
    verdicts = []
    for number, bank in enumerate(banks):
        shot = Shot(frame_of(seed=number), one(card), mel_of(card), 1.0, bank)
        verdicts += painter.paint([shot])
    assert verdicts[:30] == [None] * 30
    assert all(isinstance(each, DeviceMemoryError) for each in verdicts[31:])
    assert "raise [engine] card_pictures_mb" in str(verdicts[-1])
    assert painter.memory == {"tick": before["tick"], "pictures": 32 * 3 * 96 * 96 * 4}
    # A session that ends makes room for the next one.
    banks.clear()
    assert painter.paint([shot_of(card, frame_of(), one(card))]) == [None]


def test_kept_pictures_give_their_room_back_and_a_closed_painter_all(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch, "lipgan_lite", precision="fp16")
    bank: IdentityBank = IdentityBank(opened=True)
    used = []
    for number in range(12):
        frame = frame_of(seed=number, pts_ns=number * 40_000_000)
        crop = face(frame.pts_ns, centre=(100.0, 75.0), side=90.0, size=card.manifest.crop.size_px)
        assert card.painter.paint([Shot(frame, crop, mel_of(card), 1.0, bank)]) == [None]
        used.append(card.fake.used)
    assert len(set(used)) == 1
    card.painter.close()
    card.engine.close()
    assert card.fake.used == 0


def test_a_generator_on_a_card_is_painted_there_and_any_other_by_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(monkeypatch)
    loaded = LoadedEngine(card.engine, card.manifest, threads=1)
    painter = painter_for(loaded)
    assert isinstance(painter, CardPainter)
    # It is warm.
    assert sorted(set(card.network.batches)) == [1, 2, 4]
    assert isinstance(painter_for(load_engine("lipgan_quarter")), CpuPainter)


def test_sessions_on_a_card_go_through_one_painter_and_survive_its_breakdown(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCard()
    manifest = load_manifest(WEIGHTS / "lipgan_quarter", "")

    def open_engine() -> LoadedEngine:
        network = generator_on_card(
            WEIGHTS / "lipgan_quarter" / "generator.safetensors", precision="fp32", device="cpu"
        )
        engine = CardEngine(NetworkOnFakeCard(fake, network), fake.open(monkeypatch))
        return LoadedEngine(engine, manifest, threads=1)

    engines = Engines(
        open_engine, lambda _: FakeFinder(), lambda painter: RenderStage(painter, RenderOptions(badge=""))
    )
    stages = [engines.render_stage() for _ in range(3)]

    def frames() -> list[VideoFrame]:
        return [frame_of(seed=seed) for seed in range(3)]

    def items(pictures: list[VideoFrame]) -> list[SyncedFrame]:
        crop = face(0, centre=(100.0, 75.0), side=90.0, size=manifest.crop.size_px)
        mel = np.zeros((80, manifest.mel.columns), np.float32)
        return [SyncedFrame(each, (crop,), mel) for each in pictures]

    async def together(pictures: list[VideoFrame]) -> list[Outcome[VideoFrame]]:
        asked = zip(stages, items(pictures), strict=True)
        return list(await asyncio.gather(*(engines.batcher.submit(stage, item, None) for stage, item in asked)))

    whole = frames()
    assert not any(isinstance(each.result, Raised) for each in asyncio.run(together(whole)))
    assert all(difference(a, b) > 10 for a, b in zip(whole, frames(), strict=True))
    fake.sticky = FakeError("an illegal memory access was encountered")
    spoiled = frames()
    assert all(isinstance(each.result, Raised) for each in asyncio.run(together(spoiled)))
    assert all(difference(a, b) == 0 for a, b in zip(spoiled, frames(), strict=True))
    asyncio.run(engines.lane.run(lambda: engines.rebuild(engines.painter)))
    again = frames()
    assert not any(isinstance(each.result, Raised) for each in asyncio.run(together(again)))
    assert [difference(a, b) for a, b in zip(again, whole, strict=True)] == [0, 0, 0]
    assert fake.resets == 1
    asyncio.run(engines.lane.run(lambda: (engines.painter.close(), engines.engine.close())))
    engines.lane.close()
    assert fake.used == 0
