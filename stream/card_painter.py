"""The pixels of made lips on a card: a face's box goes up once, is cropped, drawn and pasted there, and comes down.

A picture that its decoder has left on the same card is drawn in where it lies.

All faces of all sessions that are due together go in the same launches, which are recorded once for each size of a
batch and are one launch from then on.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kernels.crop import Landmarks
from kernels.cuda.device import Graph
from kernels.cuda.jobs import Entries, entries_of
from kernels.cuda.mouth_jobs import MOUTH_POINTS
from kernels.identity import POSE_POINTS
from kernels.yuv import check_planes
from models.card_engine import CardEngine, on_card
from models.catalogue import LoadedEngine
from models.engine import Engine, EngineError
from models.face_networks import POINTS
from models.manifest import CropInput
from stream.card_tick import Cut, Slots, Tick, place
from stream.painter import CpuPainter, Painter, Shot
from stream.pipeline import Raised, attempt

MAX_BATCH = 64
"""Faces that go together at most."""

PICTURES_MB = 1024
"""What the pictures of all faces may take of the card: 24 of each, 0.2 MB apiece at 192 pixels in half precision."""

# All that is read of a face's landmarks.
_POINTS = np.concatenate([MOUTH_POINTS, POSE_POINTS])

T = TypeVar("T")


def painter_for(engine: Engine, pictures_mb: int = PICTURES_MB) -> Painter:
    """The painter that belongs to a generator: on the card where the generator is, ready for every size of a batch.

    Args:
        engine: The generator.
        pictures_mb: See `CardPainter`.

    Raises:
        EngineError: The card has no room, or failed.
    """
    if not (isinstance(engine, LoadedEngine) and isinstance(engine.engine, CardEngine)):
        return CpuPainter(engine)
    painter = CardPainter(engine.engine, engine.manifest.crop, pictures_mb=pictures_mb)
    painter.warm_up()
    return painter


class CardPainter:
    """See `Painter`.

    Args:
        engine: The generator on its card; closed by whoever opened it.
        crop: What the generator is shown, from its manifest.
        max_batch: See `Painter`.
        pictures_mb: Most memory for the pictures that are kept of faces.

    Raises:
        EngineError: The generator takes pictures of one type and gives another, or the card has no room.
    """

    def __init__(
        self, engine: CardEngine, crop: CropInput, *, max_batch: int = MAX_BATCH, pictures_mb: int = PICTURES_MB
    ) -> None:
        self.identity = crop.identity
        self._buckets = [each for each in engine.network.buckets if each <= max_batch]
        self.max_batch = self._buckets[-1]
        self._device = engine.device
        self._size = crop.size_px
        with on_card():
            self._tick = Tick(engine.device, engine.network, crop, self.max_batch)
            self._slots = Slots(engine.device, self._tick.picture_bytes, pictures_mb << 20)
            self._spare = self._slots.take()
        self._graphs: dict[tuple[int, int], list[Graph | None]] = {}

    @property
    def memory(self) -> dict[str, int]:
        """Bytes of the card that a tick works in, and that pictures of faces take; the generator's own come to it."""
        return {"tick": self._tick.bytes, "pictures": self._slots.bytes}

    def warm_up(self) -> None:
        """Record the launches for every size of a batch, so that no live picture waits for that.

        Raises:
            EngineError: The card has no room, or failed.
        """
        with on_card():
            for bucket in self._buckets:
                self._tick.fill_with_nothing(bucket, self._spare)
                self._record(bucket, waves=1)

    def paint(self, shots: Sequence[Shot]) -> list[Exception | None]:
        """See `Painter.paint`."""
        spoiled: dict[int, Exception] = {}
        for first in range(0, len(shots), self.max_batch):
            part = shots[first : first + self.max_batch]
            spoiled |= self._paint([shot for shot in part if id(shot.frame) not in spoiled])
        return [spoiled.get(id(shot.frame)) for shot in shots]

    def _paint(self, shots: Sequence[Shot]) -> dict[int, Exception]:
        """Draw what fits in one batch; return what went wrong, by the identity of the picture."""
        spoiled: dict[int, Exception] = {}
        fitting = _sound(shots, [attempt(self._fitting, shot) for shot in shots], spoiled)
        if not fitting:
            return spoiled
        points = _in_crops([shot for shot, _ in fitting])
        poses = points[:, len(MOUTH_POINTS) :].tolist()
        found = [attempt(self._cut, *each) for each in zip(*zip(*fitting, strict=True), points, poses, strict=True)]
        cuts = [cut for _, cut in _sound([shot for shot, _ in fitting], found, spoiled)]
        if cuts and isinstance(failed := attempt(self._draw, cuts), Raised):
            spoiled |= {id(cut.shot.frame): failed.error for cut in cuts}
            for cut in cuts:
                # Nobody knows what of it was drawn.
                if (card := cut.shot.frame.on_card) is not None:
                    card.leave()
        return spoiled

    def _fitting(self, shot: Shot) -> Entries:
        """The map to a face's crop. What does not fit would fail the others of its batch: it is found here."""
        wanted = self._tick.mel_shape
        if shot.mel.shape != wanted:
            raise ValueError(f"the mel window is {list(shot.mel.shape)}, the generator takes {list(wanted)}")
        if shot.face.landmarks.shape != (POINTS, 2):
            raise ValueError(f"the landmarks are {list(shot.face.landmarks.shape)}, expected [{POINTS}, 2]")
        # Of a picture on the card this is what it falls back to, and by then it has been decoded to the end.
        check_planes(shot.frame.planes)
        if (card := shot.frame.on_card) is not None and card.device is not self._device:
            raise EngineError("the picture lies on a card, or in a context, that this generator is not in")
        return entries_of(shot.face.to_crop)

    def _cut(self, shot: Shot, to_crop: Entries, points: Landmarks, pose: Sequence[Sequence[float]]) -> Cut:
        with on_card():
            own = self._slots.take()
        identity = own if shot.bank is None else shot.bank.choose_by(shot.face.pts_ns, pose, own)
        return Cut(shot, to_crop, points[: len(MOUTH_POINTS)], own, identity)

    def _draw(self, cuts: Sequence[Cut]) -> None:
        """One trip to the card and back; nothing is written into a picture before all of it has come."""
        faces = place(cuts, self._size)
        bucket = next(each for each in self._buckets if each >= len(faces))
        with on_card():
            if self._tick.make_room(faces):
                self._forget_graphs()
            regions, waves = self._tick.fill(faces, bucket, self._spare)
            if (bucket, waves) not in self._graphs:
                # Over tables that change no picture: what is recorded is done once before, and again later.
                self._tick.fill_with_nothing(bucket, self._spare)
                self._record(bucket, waves)
                self._tick.fill(faces, bucket, self._spare)
            self._tick.up(faces, bucket)
            self._launch(bucket, waves)
            self._tick.down(faces)
            self._device.synchronise()
        self._tick.give_back(faces, regions)

    def _record(self, bucket: int, waves: int) -> None:
        """Record the launches over what was sent up."""
        steps = self._tick.steps(bucket, waves)
        # Once without recording: libraries choose their algorithms and allocate then.
        for step in steps:
            step.work()
        self._device.synchronise()
        self._graphs[bucket, waves] = [self._device.capture(step.work) if step.recordable else None for step in steps]

    def _launch(self, bucket: int, waves: int) -> None:
        for step, graph in zip(self._tick.steps(bucket, waves), self._graphs[bucket, waves], strict=True):
            if graph is None:
                step.work()
            else:
                graph.launch()

    def _forget_graphs(self) -> None:
        for graphs in self._graphs.values():
            for graph in graphs:
                if graph is not None:
                    graph.close()
        self._graphs.clear()

    def close(self) -> None:
        """See `Painter.close`."""
        self._forget_graphs()
        self._tick.close()
        self._slots.close()


def _sound(shots: Sequence[Shot], found: Sequence[T | Raised], spoiled: dict[int, Exception]) -> list[tuple[Shot, T]]:
    """What was found for each face, without the faces of pictures of which one raised; those come to `spoiled`."""
    spoiled |= {id(shot.frame): each.error for shot, each in zip(shots, found, strict=True) if isinstance(each, Raised)}
    return [
        (shot, each)
        for shot, each in zip(shots, found, strict=True)
        if not isinstance(each, Raised) and id(shot.frame) not in spoiled
    ]


def _in_crops(shots: Sequence[Shot]) -> NDArray[np.float32]:
    """The points that are read of each face, `_POINTS`, in pixels of its crop: float32 [faces, points, 2]."""
    landmarks = np.concatenate([shot.face.landmarks for shot in shots]).reshape(len(shots), POINTS, 2)
    maps = np.array([shot.face.to_crop for shot in shots])
    return np.asarray(
        landmarks.take(_POINTS, axis=1) @ maps[:, :, :2].transpose(0, 2, 1) + maps[:, None, :, 2], np.float32
    )
