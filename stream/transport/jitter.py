"""Jitter buffers: RTP packets in, whole encoded frames out, as soon as they are whole.

Sequence numbers are unwrapped first, so that everything here is plain
integers. Both buffers return *all* frames that a packet completes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

# A sender that is this far ahead has restarted or lost us; 8.5 s at 120 packets per second.
VIDEO_CAPACITY = 1024
# Audio packets that may overtake a missing one before it is given up. Waiting for a second one makes each loss a
# burst of three packets and 40 ms of jitter, for which a viewer's buffer grows by as much; it is worth that only on a
# line that has shown that it swaps packets.
_AUDIO_REORDER = 1
_AUDIO_REORDER_WHERE_SWAPPED = 2
# A jump this large in audio sequence numbers is a restart, not a loss.
_AUDIO_RESTART = 250


class Unwrapper:
    """Turns a counter of `bits` bits that wraps into one that does not.

    Steps of up to half the range are followed in both directions (RFC 3711, 3.3.1).
    """

    def __init__(self, bits: int) -> None:
        self._range = 1 << bits
        self._last: int | None = None

    def __call__(self, value: int) -> int:
        """The unwrapped value; the first one is returned as it is."""
        if self._last is None:
            self._last = value
            return value
        step = (value - self._last) % self._range
        if step >= self._range // 2:
            step -= self._range
        self._last += step
        return self._last


class RtpLike(Protocol):
    """What the buffers read of an RTP packet; `aiortc.rtp.RtpPacket` after depayloading is one."""

    sequence_number: int
    timestamp: int
    marker: int
    _data: bytes


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One access unit as the decoder wants it.

    Attributes:
        data: The frame's payloads, joined.
        rtp_timestamp: As sent, 32 bits.
        arrival_ns: Clock time at which its last packet came.
    """

    data: bytes
    rtp_timestamp: int
    arrival_ns: int


@dataclass(slots=True)
class _Held:
    packet: RtpLike
    arrival_ns: int


class VideoJitterBuffer:
    """Emits a picture on its marker bit, and every picture that a packet completes.

    Answers two faults of aiortc's `JitterBuffer`: a frame waited for the first
    packet of the next one (one frame interval), and one packet released one
    frame at most, so that a backlog stayed. A hole is not waited for for ever:
    `give_up` drops what cannot be decoded and resumes at the next keyframe.

    Args:
        starts_keyframe: Whether a packet is the first one of a keyframe.
    """

    def __init__(self, starts_keyframe: Callable[[RtpLike], bool]) -> None:
        self._starts_keyframe = starts_keyframe
        self._unwrap = Unwrapper(16)
        self._held: dict[int, _Held] = {}
        self._next: int | None = None
        self.wants_keyframe = True
        self.given_up = 0

    @property
    def depth(self) -> int:
        """Packets held back."""
        return len(self._held)

    @property
    def next_sequence(self) -> int | None:
        """Unwrapped number of the packet that the next frame starts with; None while waiting for a keyframe."""
        return None if self.wants_keyframe else self._next

    def unwrap(self, sequence_number: int) -> int:
        """The unwrapped sequence number; call once per packet, in order of arrival."""
        return self._unwrap(sequence_number)

    def add(self, sequence: int, packet: RtpLike, arrival_ns: int) -> list[EncodedFrame]:
        """Take a packet by its unwrapped number and return the frames that are now whole."""
        if self._next is not None and sequence < self._next:
            return []
        if self._next is not None and sequence - self._next >= VIDEO_CAPACITY:
            self._forget()
        self._held[sequence] = _Held(packet, arrival_ns)
        if self._next is None:
            self._next = sequence
        if self.wants_keyframe and not self._resume():
            return []
        return self._whole_frames()

    def give_up(self) -> list[EncodedFrame]:
        """Stop waiting for the hole at the head and return what a keyframe held beyond it makes whole."""
        self.given_up += 1
        self.wants_keyframe = True
        if self._next is not None:
            # The frame with the hole is lost even where its first packets are here.
            hole = self._next
            while hole in self._held:
                hole += 1
            for sequence in [s for s in self._held if s < hole]:
                del self._held[sequence]
            self._next = hole
        return self._whole_frames() if self._resume() else []

    def _forget(self) -> None:
        self._held.clear()
        self._next = None
        self.wants_keyframe = True
        self.given_up += 1

    def _resume(self) -> bool:
        """Move to the earliest keyframe held; without one keep only what may still be needed."""
        starts = [s for s, held in self._held.items() if self._starts_keyframe(held.packet)]
        if starts:
            self._next = min(starts)
            self.wants_keyframe = False
            for sequence in [s for s in self._held if s < self._next]:
                del self._held[sequence]
            return True
        # Packets of a keyframe may overtake its first one: keep a little.
        while len(self._held) > 32:
            oldest = min(self._held)
            del self._held[oldest]
            self._next = oldest + 1
        return False

    def _whole_frames(self) -> list[EncodedFrame]:
        frames = []
        while (end := self._frame_end()) is not None:
            frames.append(self._take(end))
        return frames

    def _frame_end(self) -> int | None:
        """Number after the last packet of the first frame, None while it has a hole or no end."""
        assert self._next is not None
        # Padding carries no data and belongs to no frame.
        while (head := self._held.get(self._next)) is not None and not head.packet._data:
            del self._held[self._next]
            self._next += 1
        sequence, timestamp = self._next, None
        while (held := self._held.get(sequence)) is not None:
            if timestamp is not None and held.packet.timestamp != timestamp:
                return sequence
            timestamp = held.packet.timestamp
            sequence += 1
            if held.packet.marker:
                return sequence
        return None

    def _take(self, end: int) -> EncodedFrame:
        assert self._next is not None
        parts = [self._held.pop(sequence) for sequence in range(self._next, end)]
        self._next = end
        data = b"".join(part.packet._data for part in parts)
        return EncodedFrame(data, parts[0].packet.timestamp, max(part.arrival_ns for part in parts))


class AudioJitterBuffer:
    """Puts audio packets in order; a missing one is given up when a later one comes.

    Once a packet comes after it was given up, two later ones are waited for from then on.

    Answers aiortc's fault that one lost packet blocks the buffer until it
    overflows and leaves it 14 packets (280 ms) deep for ever. Nothing is held
    back while packets come in order: smoothing is the receiver's and the
    pacer's work, and the hole a lost packet leaves shows in the timestamps.
    """

    def __init__(self) -> None:
        self._reorder = _AUDIO_REORDER
        self._given_up: int | None = None
        self._unwrap = Unwrapper(16)
        self._held: dict[int, EncodedFrame] = {}
        self._next: int | None = None
        self._top = 0
        self.lost = 0

    @property
    def depth(self) -> int:
        """Packets held back."""
        return len(self._held)

    def add(self, packet: RtpLike, arrival_ns: int) -> list[EncodedFrame]:
        """Take a packet and return those whose turn has come, in order."""
        sequence = self._unwrap(packet.sequence_number)
        if self._next is None or abs(sequence - self._next) >= _AUDIO_RESTART:
            self._held.clear()
            self._next = self._top = sequence
        if sequence < self._next:
            if sequence == self._given_up:
                self._reorder = _AUDIO_REORDER_WHERE_SWAPPED
            return []
        self._top = max(self._top, sequence)
        self._held[sequence] = EncodedFrame(packet._data, packet.timestamp, arrival_ns)
        ready = []
        while self._held:
            frame = self._held.pop(self._next, None)
            if frame is not None:
                ready.append(frame)
            elif self._top - self._next < self._reorder:
                break
            else:
                self.lost += 1
                self._given_up = self._next
            self._next += 1
        return ready
