"""What a session does from when on: modes, and a voice laid on the session's timeline."""

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from stream.dubbing import Dubbing

# A window of mel reaches 175 ms beyond its picture: in a shorter pause it would see both ends of the voice.
SHORTEST_PAUSE_NS = 400_000_000


class Mode(enum.StrEnum):
    """What happens to a peer's picture and sound."""

    PASS_THROUGH = "pass-through"  # noqa: S105 - a mode, not a password
    RE_VOICE = "re-voice"
    DUB = "dub"


class Voice(Protocol):
    """A voice for the ear and for the lips, both on the voice's own time; silence outside."""

    @property
    def duration_ns(self) -> int:
        """Length of the voice."""
        ...

    def audio(self, pts_ns: int, count: int, sample_rate_hz: int = 48_000) -> NDArray[np.float32]:
        """`count` samples from `pts_ns` on."""
        ...

    def mel(self, pts_ns: int) -> NDArray[np.float32]:
        """The mel window [80, T] around `pts_ns`."""
        ...


class Spoken(Protocol):
    """What is heard in a passage, on the session's timeline."""

    def audio(self, pts_ns: int, count: int, sample_rate_hz: int = 48_000) -> NDArray[np.float32]:
        """`count` samples from `pts_ns` on."""
        ...

    def mel(self, pts_ns: int) -> NDArray[np.float32] | None:
        """The mel window [80, T] around `pts_ns`; None where the picture passes as it is."""
        ...


class LoopedVoice:
    """A voice that begins at `start_ns` of the session and begins again after each pause.

    It is itself a `Voice` on the session's timeline, so sound and lips are cut
    from it at the same pts and cannot part. Before `start_ns` it is silent.

    Args:
        voice: The voice, on its own time.
        start_ns: Session time at which it begins.
        pause_ns: Silence between two rounds, at least `SHORTEST_PAUSE_NS`.
    """

    def __init__(self, voice: Voice, start_ns: int, pause_ns: int) -> None:
        if pause_ns < SHORTEST_PAUSE_NS:
            raise ValueError(f"a pause of {pause_ns / 1e6:g} ms is shorter than {SHORTEST_PAUSE_NS / 1e6:g} ms")
        self._voice = voice
        self._start_ns = start_ns
        self._lead_ns = pause_ns // 2
        self.duration_ns = voice.duration_ns + pause_ns

    def _position_ns(self, pts_ns: int) -> int:
        """The voice's own time: from half a pause before its beginning to half a pause after its end.

        The seam lies in the middle of the pause, where neither a chunk of
        sound nor a window of mel that starts there reaches the other side.
        """
        since_ns = pts_ns - self._start_ns
        if since_ns < 0:
            return since_ns
        return (since_ns + self._lead_ns) % self.duration_ns - self._lead_ns

    def audio(self, pts_ns: int, count: int, sample_rate_hz: int = 48_000) -> NDArray[np.float32]:
        """`count` samples, at most half a pause long, from session time `pts_ns` on."""
        return self._voice.audio(self._position_ns(pts_ns), count, sample_rate_hz)

    def mel(self, pts_ns: int) -> NDArray[np.float32]:
        """The mel window around session time `pts_ns`."""
        return self._voice.mel(self._position_ns(pts_ns))


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a session in one mode, open at its end until the next one begins.

    Attributes:
        start_ns: Session time of its first picture.
        mode: What happens in it.
        voice: What is heard in it, on the session's timeline; None passes the peer's own sound.
        hold_ns: Its pictures wait so long before they are drawn.
        dubbing: Hears the peer's own sound; None where nobody listens to it.
    """

    start_ns: int
    mode: Mode
    voice: Spoken | None
    hold_ns: int = 0
    dubbing: "Dubbing | None" = None
