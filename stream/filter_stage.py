"""The stage that lays a filter on a picture, in place: resample, run the network, blend.

Whatever is wrong is found before the first byte is changed, so a picture is filtered whole or left as it came. A filter
that hides who is there is the other way round: the picture is wiped before anything else, and nothing of it is read.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.crop import upright_region
from kernels.folded_planes import cells_to_frame
from kernels.frame_tensor import tensor_to_frame
from kernels.portrait_layout import PORTRAIT_BACKDROP, portrait_region
from kernels.yuv import Colour, Plane, Region, rgb_to_i420
from models.engine import Array, EngineError
from stream.badge import Badge
from stream.clock import Clock
from stream.filter_sources import SOURCES, View
from stream.filters import Chosen
from stream.frames import NS_PER_S, FaceCrop, Planes, VideoFrame
from stream.stages import StageFigures, StageMeter

Drawn = NDArray[Any]
"""What a network is shown, or makes of it: a float32 tensor, or folded planes in bytes."""

# A stream or a face that was away for longer starts anew.
_FORGET_NS = NS_PER_S
# Of a face's square: along its edges the filter fades out. Less is seen as an edge, more leaves the chin out.
_FADED = 1 / 8
# The same where the whole of a square is new, from its top: hair begins near it, shoulders end at the others.
_FADED_TOP = 1 / 32
# A square stays while the face has moved by less of its side: what is measured trembles by that.
_HELD = 0.02


@dataclass(frozen=True, slots=True)
class FilterTask:
    """A picture to filter.

    Attributes:
        frame: Changed in place.
        faces: Where the faces are, for filters that work around them.
        chosen: With what.
        lips: Its lips were made, so that its mark has to be drawn again on top of the filter.
        hurried: Time is short: the network leaves out what it can do without.
    """

    frame: VideoFrame
    faces: Sequence[FaceCrop]
    chosen: Chosen
    lips: bool = False
    hurried: bool = False


@dataclass(slots=True)
class _Stream:
    """What is remembered of one run of pictures: of the frame, or of one face.

    Attributes:
        region: What it is about: the whole picture, or a square around the face.
        beside: What goes into the network beside the next picture.
        shown: What the network was shown last.
        made: What it made of that.
        seen_ns: Media time of the last picture.
    """

    region: Region
    beside: dict[str, Array] | None = field(default=None, repr=False)
    shown: Drawn | None = field(default=None, repr=False)
    made: Drawn | None = field(default=None, repr=False)
    seen_ns: int = 0


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A picture as it left.

    Attributes:
        pts_ns: Its time.
        planes: A copy of its own.
    """

    pts_ns: int
    planes: Planes = field(repr=False)

    def stands_for(self, frame: VideoFrame) -> bool:
        """Whether a later picture may be shown as this one."""
        fits = all(a.shape == b.shape for a, b in zip(self.planes, frame.planes, strict=True))
        return fits and 0 <= frame.pts_ns - self.pts_ns <= _FORGET_NS


class FilterStage:
    """Lays filters on the pictures of one session.

    The same picture as before gets the same result, exactly, and costs no network: a network that remembers would
    otherwise drift on a picture that stands still.

    Args:
        clock: Times each filter.
        meters: By the filters' names; what is not among them is not metered.
        mark: Text of the mark for filtered pictures; empty for none.
        lips_mark: Text of the mark for made lips, drawn anew where a filter changed it; empty for none.

    Attributes:
        passed: Pictures that stayed as they were, by reason: "no_face", "unseen".
        hidden: Pictures that became a backdrop, by reason: "no_face".
        made: Pictures that were filtered.
    """

    name = "filter"

    def __init__(
        self, clock: Clock, meters: Mapping[str, StageMeter] | None = None, *, mark: str = "", lips_mark: str = ""
    ) -> None:
        self._clock = clock
        self._meters = meters or {}
        self._mark = Badge(mark, "left") if mark else None
        self._lips_mark = Badge(lips_mark) if lips_mark else None
        self._streams: dict[int | None, _Stream] = {}
        self._used: tuple[object, str] | None = None
        self._last: _Drawn | None = None
        self.passed: Counter[str] = Counter()
        self.hidden: Counter[str] = Counter()
        self.made = 0

    def process(self, task: FilterTask) -> VideoFrame:
        """Return the same frame, filtered.

        Raises:
            EngineError: The network refused, or made nothing that can be shown; the picture is as it was, or a
                backdrop where the filter hides who is there.
        """
        begun_ns = self._clock.now_ns()
        frame, chosen = task.frame, task.chosen
        if chosen.anonymous:
            _fill(frame)
        self._begin(chosen, frame.pts_ns)
        reason = self._why_not(task)
        if reason is not None:
            (self.hidden if chosen.anonymous else self.passed)[reason] += 1
            self._last = None
            return frame
        made = self._made(task)
        for stream, drawn in made:
            _lay(frame, drawn, chosen, stream.region)
        for mark in (self._mark, self._lips_mark if task.lips else None):
            if mark is not None:
                mark.draw(frame)
        self._last = _Drawn(frame.pts_ns, _copied(frame.planes)) if chosen.anonymous else None
        self.made += 1
        if (meter := self._meters.get(chosen.name)) is not None:
            meter.add(self._clock.now_ns() - begun_ns)
        return frame

    def hide(self, frame: VideoFrame) -> None:
        """Leave nothing of a picture that could not be drawn: the last one that was, or a backdrop; on any thread."""
        last = self._last
        if last is None or not last.stands_for(frame):
            _fill(frame)
            return
        for plane, drawn in zip(frame.planes, last.planes, strict=True):
            plane[...] = drawn

    def latencies(self) -> dict[str, StageFigures]:
        """Milliseconds a picture of each filter that has been used, by all who share the meters."""
        figures = {name: meter.figures() for name, meter in self._meters.items()}
        return {name: each for name, each in figures.items() if each.count}

    def _why_not(self, task: FilterTask) -> str | None:
        if not task.chosen.is_seen:
            return "unseen"
        return "no_face" if task.chosen.needs_faces and not task.faces else None

    # -- what is remembered ------------------------------------------------------------------------

    def _begin(self, chosen: Chosen, now_ns: int) -> None:
        """Forget what belongs to another filter, and who has been away."""
        used = (chosen.filter, chosen.area)
        if self._used is None or self._used[0] is not used[0] or self._used[1] != used[1]:
            self._streams.clear()
            self._used, self._last = used, None
        away = [key for key, each in self._streams.items() if not 0 <= now_ns - each.seen_ns <= _FORGET_NS]
        for key in away:
            del self._streams[key]

    def _made(self, task: FilterTask) -> list[tuple[_Stream, Drawn]]:
        """Run the network on all that is to be filtered of a picture, before any of it is changed."""
        made = []
        for face, region in self._regions(task):
            key = None if face is None else face.face_id
            # Of a network that raises, what it remembers may be what is wrong with it: that is not put back.
            stream = self._streams.pop(key, None) or _Stream(region)
            if face is None or _moved(stream.region, region):
                stream.region = region
            made.append((stream, self._run(task, stream, face)))
            stream.seen_ns = task.frame.pts_ns
            self._streams[key] = stream
        return made

    def _regions(self, task: FilterTask) -> list[tuple[FaceCrop | None, Region]]:
        if task.chosen.area == "frame":
            return [(None, Region(0, 0, task.frame.height, task.frame.width))]
        around = portrait_region if task.chosen.anonymous else upright_region
        return [(face, around(face.landmarks)) for face in task.faces]

    # -- the network -------------------------------------------------------------------------------

    def _run(self, task: FilterTask, stream: _Stream, face: FaceCrop | None) -> Drawn:
        """What the network makes of the part of the picture that the stream is about."""
        network = task.chosen.filter
        view = View(task.frame, stream.region, network.size_px, face)
        shown = SOURCES[network.manifest.source](view)
        if stream.made is not None and stream.shown is not None and np.array_equal(shown, stream.shown):
            return stream.made
        beside = network.start() if stream.beside is None else stream.beside
        drawn, beside = network.draw(shown[None], beside, hurried=task.hurried)
        # Bytes are always finite.
        if drawn.dtype != np.uint8 and not np.isfinite(drawn).all():
            raise EngineError(f"the filter {task.chosen.name} made a picture that is not finite: take another")
        made: Drawn = drawn[0]
        stream.beside, stream.shown, stream.made = beside, shown, made
        return made


def _moved(held: Region, seen: Region) -> bool:
    """Whether a face has left the square that was laid around it."""
    most = _HELD * max(held.height, held.width)
    return any(abs(now - before) > most for now, before in zip(seen, held, strict=True))


# -- pixels ------------------------------------------------------------------------------------------


def _lay(frame: VideoFrame, drawn: Drawn, chosen: Chosen, region: Region) -> None:
    """Blend what the network made into the picture; of a filter that is shown grey, its colours alone."""
    luma = frame.planes[0].copy() if chosen.filter.manifest.source == "grey" else None
    _lay_all(frame, drawn, chosen, region)
    if luma is not None:
        frame.planes[0][...] = luma


def _lay_all(frame: VideoFrame, drawn: Drawn, chosen: Chosen, region: Region) -> None:
    # Even, so that chroma has no fringe.
    column = 2 * round(chosen.wipe * frame.width / 2)
    planes = frame.planes
    if chosen.area == "frame":
        _blend(frame, drawn, None, chosen.strength, column)
        return
    inside = region.clipped(frame.height, frame.width).on_even_grid(frame.height, frame.width)
    top = _FADED_TOP if chosen.anonymous else _FADED
    views: list[Callable[[Plane], Plane]] = [inside.of, inside.of_chroma, inside.of_chroma]
    before = [view(plane).copy() for view, plane in zip(views, planes, strict=True)]
    _blend(frame, drawn, region, chosen.strength, column)
    for view, plane, old, step in zip(views, planes, before, (1, 2, 2), strict=True):
        _fade_edges(view(plane), old, region, inside, step, top)


def _blend(frame: VideoFrame, drawn: Drawn, region: Region | None, strength: float, column: int) -> None:
    if drawn.dtype == np.uint8:
        cells_to_frame(drawn, frame.planes, region, strength, frame.colour, wipe_column=column)
    else:
        tensor_to_frame(drawn, frame.planes, region, strength, frame.colour, wipe_column=column)


def _fade_edges(now: Plane, old: Plane, region: Region, inside: Region, step: int, top: float) -> None:
    """Leave less of the new picture towards the edges of its square; equal bytes stay as they are."""
    rows = _ramp(region.height // step, top)[(inside.top - region.top) // step :][: now.shape[0], None]
    columns = _ramp(region.width // step)[(inside.left - region.left) // step :][: now.shape[1]]
    was = old.astype(np.float32)
    now[...] = np.rint(was + rows * columns * (now - was))


@lru_cache(maxsize=64)
def _ramp(length: int, first: float = _FADED) -> NDArray[np.float32]:
    """Rise smoothly to 1 from both ends, over that share from the first one."""
    # An odd picture's last row of chroma is one more than half of its square.
    place = np.arange(length + 1) + 0.5
    near = np.clip(np.minimum(place / (length * first), (length - place) / (length * _FADED)), 0.0, 1.0)
    return np.asarray(near * near * (3.0 - 2.0 * near), np.float32)


def _fill(frame: VideoFrame) -> None:
    """Make a picture one colour."""
    for plane, level in zip(frame.planes, _backdrop(frame.colour), strict=True):
        plane[...] = level


@lru_cache(maxsize=8)
def _backdrop(colour: Colour) -> tuple[int, ...]:
    """The backdrop's Y, U and V."""
    return tuple(int(plane[0, 0]) for plane in rgb_to_i420(np.full((2, 2, 3), PORTRAIT_BACKDROP, np.uint8), colour))


def _copied(planes: Planes) -> Planes:
    y, u, v = (plane.copy() for plane in planes)
    return y, u, v
