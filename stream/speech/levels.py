"""How loud a sound is, frame by frame of 20 ms: what of it is silence, and where it may be cut."""

import numpy as np
from numpy.typing import NDArray

FRAMES_PER_S = 50

Samples = NDArray[np.float32]


def voiced(samples: Samples, rate_hz: int, share: float = 0.08) -> NDArray[np.bool_]:
    """Which frames are not silence, bool [frames]: louder than this share of the loudest. Only whole frames count."""
    levels = frame_levels(samples, rate_hz // FRAMES_PER_S)
    return levels > max(0.003, share * float(levels.max(initial=0.0)))


def quietest(samples: Samples, rate_hz: int, near: int, within_s: float) -> int:
    """The sample in the middle of the quietest frame within so many seconds of another sample."""
    frame = rate_hz // FRAMES_PER_S
    levels, reach = frame_levels(samples, frame), max(1, round(within_s * FRAMES_PER_S))
    begin, end = max(0, near // frame - reach), min(len(levels), near // frame + reach + 1)
    return near if begin >= end else (begin + int(np.argmin(levels[begin:end]))) * frame + frame // 2


def frame_levels(samples: Samples, frame: int) -> Samples:
    """Root mean square of every whole frame of so many samples, float32 [frames]."""
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    levels: Samples = np.sqrt(np.mean(np.square(frames), axis=1) + 1e-12)
    return levels
