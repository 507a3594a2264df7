"""Our own dub, coming back through the speaker's microphone, must not be translated again.

Browsers cancel echo by themselves; this guards those that cannot. A dub is recognised by its loudness over time: in a
stretch of 1.2 s it goes up and down as the microphone does, some delay later.
"""

from collections import deque
from collections.abc import Callable
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from stream.frames import NS_PER_MS, AudioChunk

_FRAME_NS = 20 * NS_PER_MS
_STRETCH = 60
_LAGS = range(1, 36)  # 20 to 700 ms: network, jitter buffer, loudspeaker and room
_ALIKE = 0.8
_STEADY = 8
_HOLD = 15
_QUIET_DB = -55.0
_MOVES_DB = 3.0
_TEXTS = 6
_SAME_TEXT = 0.8
_SHORTEST = 8

Heard = Callable[[int, int], NDArray[np.float32]]


class EchoGuard:
    """Says which chunks of the microphone are our own dub. Not safe to call from two threads.

    Args:
        dub: Gives `count` samples of the dub from session time `pts_ns` on, at 48 kHz.
        delay_ns: What the exit adds before the dub leaves.

    Attributes:
        silenced: Chunks that were taken for the dub.
    """

    def __init__(self, dub: Heard, delay_ns: int) -> None:
        self._dub = dub
        self._delay_ns = delay_ns
        self._microphone: deque[float] = deque(maxlen=_STRETCH)
        self._played: deque[float] = deque(maxlen=_STRETCH + _LAGS.stop)
        self._held = 0
        self._lag: int | None = None
        self._steady = 0
        self._texts: deque[str] = deque(maxlen=_TEXTS)
        self.silenced = 0

    def filter(self, chunk: AudioChunk) -> AudioChunk:
        """The chunk itself, or silence in its place where it is our own dub. Chunks of 20 ms follow each other."""
        played = self._dub(chunk.pts_ns - self._delay_ns, 960)
        self._microphone.append(_level_db(chunk.samples))
        self._played.append(_level_db(played))
        lag = self._echoed_after()
        # Two voices go up and down together for a moment, but not at one and the same lag for long.
        near = lag is not None and self._lag is not None and abs(lag - self._lag) <= 1
        self._steady = self._steady + 1 if near else 0
        self._lag = lag
        self._held = _HOLD if self._steady >= _STEADY else max(0, self._held - 1)
        if not self._held:
            return chunk
        self.silenced += 1
        return AudioChunk(chunk.pts_ns, chunk.sample_rate_hz, np.zeros_like(chunk.samples))

    def _echoed_after(self) -> int | None:
        """The lag, in frames, at which the microphone follows the dub; None where it does not."""
        if len(self._played) < self._played.maxlen or max(self._microphone) < _QUIET_DB:  # type: ignore[operator]
            return None
        microphone, played = np.array(self._microphone), np.array(self._played)
        if played.max() < _QUIET_DB:
            return None
        stretches = np.lib.stride_tricks.sliding_window_view(played, _STRETCH)
        alike = _correlations(microphone, stretches[len(stretches) - 1 - np.array(_LAGS)])
        best = int(np.argmax(alike))
        return best if alike[best] > _ALIKE else None

    def spoke(self, text: str) -> None:
        """Remember what the dub says."""
        self._texts.append(_plain(text))

    def repeats(self, text: str) -> bool:
        """Whether a text that was heard is what the dub has just said."""
        plain = _plain(text)
        if len(plain) < _SHORTEST:
            return False
        return any(SequenceMatcher(None, plain, spoken).ratio() > _SAME_TEXT for spoken in self._texts)


def _level_db(samples: NDArray[np.float32]) -> float:
    return float(max(-80.0, 10 * np.log10(float(np.mean(np.square(samples))) + 1e-12)))


def _correlations(one: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's r of one course [n] with each of others [k, n]; 0 where one of the two does not move."""
    centred, rest = one - one.mean(), others - others.mean(axis=1, keepdims=True)
    deviation, deviations = one.std(), others.std(axis=1)
    moves = (deviation >= _MOVES_DB) & (deviations >= _MOVES_DB)
    r = rest @ centred / len(one) / np.maximum(deviation * deviations, 1e-9)
    return np.where(moves, r, 0.0)


def _plain(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum() or letter == " ").strip()
