"""Voice activity: when somebody starts and stops speaking.

webrtcvad, which costs microseconds and mistakes many noises for speech, decides whether Silero's network listens at
all; the network decides. A turn begins with its pre-roll, since quiet consonants come before the first sure window.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from models.voice_activity import SAMPLE_RATE_HZ, WINDOW, SileroNetwork
from stream.frames import NS_PER_MS, NS_PER_S, AudioChunk

_GATE_FRAME = SAMPLE_RATE_HZ * 20 // 1000


@dataclass(frozen=True, slots=True)
class VadConfig:
    """When a turn starts and ends.

    Attributes:
        start_probability: The network must be this sure before a turn starts.
        keep_probability: It need only be this sure for a turn to go on.
        pre_roll_ms: So much before the first sure window belongs to the turn.
        hang_over_ms: A turn ends after so long without speech.
        gate_mode: webrtcvad's aggressiveness, 0 to 3.
        gate_hold_ms: The network listens for so long after the gate last opened.
    """

    start_probability: float = 0.5
    keep_probability: float = 0.35
    pre_roll_ms: int = 250
    hang_over_ms: int = 250
    gate_mode: int = 2
    gate_hold_ms: int = 300


@dataclass(frozen=True, slots=True)
class VadEvent:
    """A turn starts or ends.

    Attributes:
        at_ns: Media time. A start includes the pre-roll and is never before the end of the turn before it; an end is
            that of the last window with speech.
        decided_ns: Media time up to which had been heard when this was decided.
    """

    kind: Literal["start", "end"]
    at_ns: int
    decided_ns: int


class VoiceActivity:
    """Finds turns in a stream of sound. Not safe to call from two threads.

    Args:
        config: When a turn starts and ends.
        network: Taken over; made anew when None.
    """

    def __init__(self, config: VadConfig | None = None, network: SileroNetwork | None = None) -> None:
        self._config = VadConfig() if config is None else config
        self._network = SileroNetwork() if network is None else network
        self._next_ns: int | None = None
        self._last_end_ns = 0
        self._restart(0)

    def _restart(self, pts_ns: int) -> None:
        """Listen anew, to sound that begins at `pts_ns`."""
        self._gate = webrtcvad.Vad(self._config.gate_mode)
        self._network.reset()
        self._origin_ns = pts_ns
        self._held = np.zeros(0, np.float32)
        self._gate_held = np.zeros(0, np.int16)
        self._heard = 0  # samples in windows that were decided, from the origin
        self._open_until = 0
        self._speech_until: int | None = None
        # The network is shown a little of what came before the gate opened: its first windows are unsure.
        self._before: deque[NDArray[np.float32]] = deque(maxlen=4)

    @property
    def speaking(self) -> bool:
        """Whether a turn is going on."""
        return self._speech_until is not None

    def push(self, chunk: AudioChunk) -> Sequence[VadEvent]:
        """Listen to the next sound.

        Args:
            chunk: 16 kHz, of any length. Where it does not follow the one before it, a turn that goes on ends.

        Raises:
            ValueError: The chunk has another sample rate.
        """
        if chunk.sample_rate_hz != SAMPLE_RATE_HZ:
            raise ValueError(f"the chunk has {chunk.sample_rate_hz} Hz, expected {SAMPLE_RATE_HZ}; resample it first")
        events: list[VadEvent] = []
        if self._next_ns is None or abs(chunk.pts_ns - self._next_ns) > NS_PER_MS:
            events += self.flush()
            self._restart(chunk.pts_ns)
        # Anchored with every chunk: a sender's clock that is off by 100 ppm adds up to a third of a second in an hour.
        self._origin_ns = chunk.pts_ns - (self._heard + len(self._held)) * NS_PER_S // SAMPLE_RATE_HZ
        self._next_ns = chunk.end_ns
        self._held = np.concatenate([self._held, chunk.samples])
        while len(self._held) >= WINDOW:
            window, self._held = self._held[:WINDOW], self._held[WINDOW:]
            self._heard += WINDOW
            events += self._follow(self._probability(window))
        return events

    def flush(self) -> Sequence[VadEvent]:
        """End the turn that goes on: no more sound follows."""
        return [] if self._speech_until is None else [self._finish(self._speech_until)]

    def close(self) -> None:
        """Give the memory back."""
        self._network.close()

    def _probability(self, window: NDArray[np.float32]) -> float:
        """What the network says of a window; 0 where the gate keeps it from listening."""
        if self._gate_opens(window):
            self._open_until = self._heard + self._samples(self._config.gate_hold_ms)
        if self._heard > self._open_until:
            self._before.append(window)
            return 0.0
        if self._before:
            self._network.reset()
            while self._before:
                self._network.probability(self._before.popleft())
        return self._network.probability(window)

    def _gate_opens(self, window: NDArray[np.float32]) -> bool:
        """Whether webrtcvad takes any of its frames that end within the window for speech."""
        pcm = (np.clip(window, -1, 1) * 32767).astype(np.int16)
        self._gate_held = np.concatenate([self._gate_held, pcm])
        opens = False
        while len(self._gate_held) >= _GATE_FRAME:
            frame, self._gate_held = self._gate_held[:_GATE_FRAME], self._gate_held[_GATE_FRAME:]
            opens |= self._gate.is_speech(frame.tobytes(), SAMPLE_RATE_HZ)
        return opens

    def _follow(self, probability: float) -> Sequence[VadEvent]:
        """Start, go on or end, given the probability of the window heard last."""
        wanted = self._config.keep_probability if self.speaking else self._config.start_probability
        if probability >= wanted:
            started = not self.speaking
            self._speech_until = self._heard
            return [self._start()] if started else []
        if self._speech_until is None or self._heard - self._speech_until < self._samples(self._config.hang_over_ms):
            return []
        return [self._finish(self._speech_until)]

    def _start(self) -> VadEvent:
        at_ns = self._time_ns(self._heard - WINDOW) - self._config.pre_roll_ms * NS_PER_MS
        return VadEvent("start", max(at_ns, self._origin_ns, self._last_end_ns), self._time_ns(self._heard))

    def _finish(self, speech_until: int) -> VadEvent:
        self._speech_until = None
        self._last_end_ns = self._time_ns(speech_until)
        return VadEvent("end", self._last_end_ns, self._time_ns(self._heard))

    def _time_ns(self, sample: int) -> int:
        return self._origin_ns + sample * NS_PER_S // SAMPLE_RATE_HZ

    @staticmethod
    def _samples(ms: int) -> int:
        return ms * SAMPLE_RATE_HZ // 1000
