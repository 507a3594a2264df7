"""Which video packets are missing, when to ask for them again, and when to stop asking.

Answers aiortc's `NackGenerator`, which asks once, when the gap appears, and
forgets a hole after 128 packets without asking for a keyframe.
"""

from dataclasses import dataclass

from stream.frames import NS_PER_MS

# Packets that sender and receiver remember for repair: 8 s at 120 packets per second.
RTP_HISTORY = 1024
# Ask again after 1.5 round trips, but never faster than one packet takes to travel, be handled and come back.
_RETRY_AT_LEAST_NS = 30 * NS_PER_MS
# Longer than this a frozen picture is seen: a keyframe is the faster repair.
GIVE_UP_NS = 250 * NS_PER_MS
# One request names at most this many packets: larger gaps are repaired by a keyframe.
_REQUEST_AT_MOST = 200


@dataclass(slots=True)
class _Missing:
    since_ns: int
    asked_ns: int | None = None


class LossTracker:
    """Follows the unwrapped sequence numbers of one video stream."""

    def __init__(self) -> None:
        self._top: int | None = None
        self._missing: dict[int, _Missing] = {}
        self.lost = 0
        self.repaired = 0

    def add(self, sequence: int, now_ns: int) -> None:
        """Note a packet that came, and the gap before it."""
        if self._top is None:
            self._top = sequence
            return
        if sequence <= self._top:
            if self._missing.pop(sequence, None) is not None:
                self.repaired += 1
            return
        gap = range(max(self._top + 1, sequence - RTP_HISTORY), sequence)
        self.lost += len(gap)
        for missing in gap:
            self._missing[missing] = _Missing(now_ns)
        self._top = sequence
        self.forget_before(sequence - RTP_HISTORY)

    def forget_before(self, sequence: int) -> None:
        """Stop following what is older than `sequence`."""
        for missing in [s for s in self._missing if s < sequence]:
            del self._missing[missing]

    def due(self, now_ns: int, round_trip_ns: int) -> list[int]:
        """Unwrapped numbers to ask for now, oldest first; each is noted as asked for."""
        retry_ns = max(_RETRY_AT_LEAST_NS, round_trip_ns * 3 // 2)
        asked = [s for s, m in self._missing.items() if m.asked_ns is None or now_ns - m.asked_ns >= retry_ns]
        asked = sorted(asked)[:_REQUEST_AT_MOST]
        for sequence in asked:
            self._missing[sequence].asked_ns = now_ns
        return asked

    def is_hopeless(self, now_ns: int) -> bool:
        """Whether the oldest hole is so old that a keyframe is the better repair."""
        return any(now_ns - missing.since_ns >= GIVE_UP_NS for missing in self._missing.values())

    @property
    def missing(self) -> int:
        """Packets missing now."""
        return len(self._missing)
