"""The filter that stands in while something stands before a mouth: which pictures it draws, and what lips are made in.

Nobody asked to be hidden here. So it draws on a canvas of its own, of landmarks alone, and the camera's picture is not
touched: where the canvas has no time or fails, that picture goes on as if there were no such filter.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from stream.filter_stage import FilterTask
from stream.filters import Chosen
from stream.frames import NS_PER_S, FaceCrop, SyncedFrame

Draw = Callable[[FilterTask, int | None], Awaitable[str | None]]
"""Has a task's frame filtered in place by a clock time (None for whenever), and says why it was not."""

# Every mouth must have been free for so long before the camera's picture is back: a hand that moves does not flicker.
_FREE_NS = NS_PER_S
# Less of a mouth, and it counts as covered: `MouthWatch` has covered and free mouths part there.
_HALF_SEEN = 0.5
# A face less plain than this would have no lips made even with nothing before it, and changes nothing.
_PLAIN = 0.5


class CoverWatch:
    """Knows from picture to picture, in their order, whether a mouth is covered or was until a moment ago."""

    def __init__(self) -> None:
        self._covered_ns: int | None = None

    def look(self, item: SyncedFrame) -> bool:
        """Whether the picture is one for the stand-in.

        It begins where lips are to be made and a mouth is covered, goes on where a dub is silent for a moment, and
        ends when all mouths have been free for a second. A picture without a face is never one: there is nobody to
        draw. Neither is one that only passes through, as its faces are not for lips.
        """
        now_ns = item.frame.pts_ns
        if any(_is_covered(face) for face in item.faces) and (item.mel is not None or self._lasts(now_ns)):
            self._covered_ns = now_ns
        return bool(item.faces) and self._lasts(now_ns)

    def _lasts(self, now_ns: int) -> bool:
        return self._covered_ns is not None and 0 <= now_ns - self._covered_ns <= _FREE_NS


def _is_covered(face: FaceCrop) -> bool:
    return face.visible < _HALF_SEEN and face.plainness >= _PLAIN


class StandIn:
    """Has the pictures of one stream with a covered mouth drawn by a filter, and counts them.

    Args:
        chosen: The filter, one that hides who is there; None for never.
        draw: Runs it.

    Attributes:
        drawn: Pictures that it drew.
        passed: Pictures that it was to draw and did not, by `draw`'s reason.
    """

    def __init__(self, chosen: Chosen | None, draw: Draw) -> None:
        self.chosen = chosen
        self._draw = draw
        self._watch = CoverWatch()
        self.drawn = 0
        self.passed: Counter[str] = Counter()

    async def draw(self, item: SyncedFrame, chosen: Chosen | None, by_ns: int | None = None) -> SyncedFrame | None:
        """The picture drawn anew, to make lips in; None where the picture is to go its ordinary way, untouched.

        Args:
            item: The picture.
            chosen: What it would be filtered with; one that hides who is there draws it anyway.
            by_ns: Clock time by which it must be done; None for whenever.
        """
        if self.chosen is None or not self._watch.look(item) or (chosen is not None and chosen.anonymous):
            return None
        canvas = item.frame.canvas()
        why_not = await self._draw(FilterTask(canvas, item.faces, self.chosen), by_ns)
        if why_not is not None:
            self.passed[why_not] += 1
            return None
        self.drawn += 1
        return drawn_by(replace(item, frame=canvas), self.chosen)

    def public(self) -> dict[str, Any]:
        """As the page takes it."""
        return {"covered": self.drawn, "covered_passed": dict(self.passed)}


def drawn_by(item: SyncedFrame, chosen: Chosen) -> SyncedFrame:
    """A picture as lips are made in it after a filter drew it: where that draws persons anew, their mouths are free."""
    faces = tuple(replace(face, visible=1.0) for face in item.faces) if chosen.anonymous else item.faces
    return replace(item, faces=faces, look=chosen.seen_by_lips)
