"""How busy the engine's thread is, and how much time before their deadlines pictures are done."""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from stream.clock import Clock
from stream.frames import NS_PER_MS, NS_PER_S
from stream.stages import Recent

# Whole seconds that the figures cover, beside the one that runs.
_SECONDS = 10
# Pictures whose slack the percentiles cover at most: 10 s of 16 sessions, sorted in 100 us.
_SLACKS = 4096
# A line is drawn through batches whose sizes vary by this much (the variance, in faces).
_SPREAD = 0.25
# A session that has asked for nothing for so long does not run.
_RUNS_NS = 2 * NS_PER_S
# Percentiles are not worked out more often than this, however many ask for them.
_FRESH_NS = 200 * NS_PER_MS


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """The engine's last ten seconds.

    Attributes:
        busy_share: Part of the time in which it worked, 0 to 1.
        needed_share: Part of the time that the sessions that run now need, by what a picture took in these seconds, in
            batches as full as the painter takes them.
        sessions: How many run now: they asked within the last two seconds, and have not left.
        pictures: How many were done; each face of a picture is one of `faces`.
        faces: How many faces were painted.
        batches: In how many goes.
        filtered: How many goes of filters there were, one picture at a time.
        late: Pictures whose turn came too late for their deadline; they passed unchanged.
        slack_p5_ms: 95 of 100 pictures were done at least this long before their deadline.
        slack_p50_ms: Half of them were.
    """

    busy_share: float = 0.0
    needed_share: float = 0.0
    sessions: int = 0
    pictures: int = 0
    faces: int = 0
    batches: int = 0
    filtered: int = 0
    late: int = 0
    slack_p5_ms: float = 0.0
    slack_p50_ms: float = 0.0


@dataclass(slots=True)
class _Second:
    """The account of one second, which belongs to the work that ended in it."""

    number: int
    busy_ns: int = 0
    filtered_ns: int = 0
    filtered: int = 0
    faces: int = 0
    faces_squared: int = 0
    faces_by_ns: int = 0
    batches: int = 0
    late: int = 0
    late_filtered: int = 0
    slacks: int = 0
    pictures: int = 0
    sessions: set[int] = field(default_factory=set)

    @property
    def pace(self) -> float:
        """Pictures that each session asked for."""
        return (self.pictures + self.late) / max(len(self.sessions), 1)

    @property
    def filter_pace(self) -> float:
        """Goes of a filter that each session asked for, those without one counted."""
        return (self.filtered + self.late_filtered) / max(len(self.sessions), 1)


class EngineLoad:
    """Written by the engine's thread, read by any other.

    Args:
        clock: Tells which second it is.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since_ns = clock.now_ns()
        self._most = 1
        self._seconds: deque[_Second] = deque()
        self._asked_ns: dict[int, int] = {}
        self._slacks_ns = Recent(_SLACKS)
        self._figures = LoadFigures()
        self._figured_ns: int | None = None

    def worked(self, took_ns: int, faces: int, most: int = 1) -> None:
        """Note one go of the engine over so many faces, of the most that it takes together."""
        with self._lock:
            second = self._now()
            second.busy_ns += took_ns
            second.faces += faces
            second.faces_squared += faces * faces
            second.faces_by_ns += faces * took_ns
            second.batches += 1
            self._most = most

    def filtered(self, took_ns: int) -> None:
        """Note one go of a filter, which no batch makes quicker."""
        with self._lock:
            second = self._now()
            second.filtered_ns += took_ns
            second.filtered += 1

    def done(self, session: int, slack_ns: int | None, *, late: bool = False, painted: bool = True) -> None:
        """Note a picture of a session, and what was left until its deadline where it had one.

        Args:
            session: Whose it is.
            slack_ns: Time left; negative where there was none.
            late: It passed unchanged, for want of time.
            painted: It is a picture of the painter's; one that was filtered alone is counted elsewhere.
        """
        with self._lock:
            second = self._now()
            self._asked_ns[session] = self._clock.now_ns()
            second.sessions.add(session)
            second.late += painted and late
            second.late_filtered += late and not painted
            second.pictures += painted and not late
            if slack_ns is not None:
                second.slacks += 1
                self._slacks_ns.add(slack_ns)

    def left(self, session: int) -> None:
        """Note that a session has ended."""
        with self._lock:
            self._asked_ns.pop(session, None)

    def figures(self) -> LoadFigures:
        """The last ten seconds; up to a fifth of a second old."""
        with self._lock:
            now_ns = self._clock.now_ns()
            if self._figured_ns is None or now_ns - self._figured_ns >= _FRESH_NS:
                self._figures, self._figured_ns = self._work_out(now_ns), now_ns
            return self._figures

    def _now(self) -> _Second:
        """The account of the second that runs; those that are too old go."""
        number = self._clock.now_ns() // NS_PER_S
        if not self._seconds or self._seconds[-1].number != number:
            self._seconds.append(_Second(number))
        while self._seconds[0].number < number - _SECONDS:
            self._seconds.popleft()
        return self._seconds[-1]

    def _work_out(self, now_ns: int) -> LoadFigures:
        self._now()
        seconds = self._seconds
        self._asked_ns = {each: ns for each, ns in self._asked_ns.items() if now_ns - ns <= _RUNS_NS}
        begun_ns = max(self._since_ns, (now_ns // NS_PER_S - _SECONDS) * NS_PER_S)
        over_ns = max(now_ns - begun_ns, 1)
        pictures = sum(second.pictures for second in seconds)
        filtered = sum(second.filtered for second in seconds)
        filtered_ns = sum(second.filtered_ns for second in seconds)
        # The fastest second: in others some of the sessions began or ended.
        pace = max(second.pace for second in seconds)
        filter_pace = max(second.filter_pace for second in seconds)
        paced_ns = pace * _least_ns(seconds, self._most) / max(pictures, 1)
        paced_ns += filter_pace * filtered_ns / max(filtered, 1)
        p5, p50 = self._slacks_ns.percentiles(5, 50, last=sum(second.slacks for second in seconds))
        return LoadFigures(
            busy_share=(sum(second.busy_ns for second in seconds) + filtered_ns) / over_ns,
            needed_share=len(self._asked_ns) * paced_ns / NS_PER_S,
            sessions=len(self._asked_ns),
            pictures=pictures,
            faces=sum(second.faces for second in seconds),
            batches=sum(second.batches for second in seconds),
            filtered=filtered,
            late=sum(second.late + second.late_filtered for second in seconds),
            slack_p5_ms=p5 / NS_PER_MS,
            slack_p50_ms=p50 / NS_PER_MS,
        )


def _least_ns(seconds: Sequence[_Second], most: int) -> float:
    """What all faces would have taken in batches of `most`, by a line through the batches that were: time over faces.

    A batch that runs half empty is as busy as a full one, so that a busy engine may have most of its time to give.
    """
    busy_ns = sum(second.busy_ns for second in seconds)
    faces = sum(second.faces for second in seconds)
    batches = sum(second.batches for second in seconds)
    if not faces:
        return 0.0
    # Sums of squares about the means; batches that are all of one size tell nothing of others.
    spread = sum(second.faces_squared for second in seconds) - faces * faces / batches
    together = sum(second.faces_by_ns for second in seconds) - faces * busy_ns / batches
    face_ns = together / spread if spread > batches * _SPREAD else busy_ns / faces
    face_ns = min(max(face_ns, 0.0), busy_ns / faces)
    fixed_ns = busy_ns / batches - face_ns * faces / batches
    return faces * (fixed_ns / max(most, faces / batches) + face_ns)
