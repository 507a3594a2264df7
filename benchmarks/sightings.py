"""From what the page saw to figures: glass-to-glass time, the sound's own delay, and the signed offset between them.

An offset is the time of the sound minus the time of the picture that belongs
to it: positive means the sound is late. The camera and the microphone are two
files that Chromium starts separately, so nothing is assumed about them: each
frame's and each chirp's delay is taken from its own way out and way back.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate

from benchmarks.chromium import Observation, Sighting, Sound
from benchmarks.clips import CHIRP_PERIOD_S, chirp

_LONGEST_S = 1.0  # chirps alternate every 500 ms, so a delay of up to 1 s is unambiguous
_LONGEST_PICTURE_MS = 9000.0  # numbers come again after 10 s; a frame that the page missed on its way out has no match
_LEAST_LIKENESS = 0.6  # normalised correlation; a chirp with one packet of six missing still has 0.8


def frame_delays(sent: list[Sighting], received: list[Sighting]) -> NDArray[np.float64]:
    """Glass-to-glass time of every returned frame.

    Returns:
        float64 [n, 2]: when the frame was sent and how long it took to come back, both ms.
        A frame that was received twice counts once, at its first sighting; misread numbers are left out.
    """
    out: dict[int, list[float]] = {}
    for sighting in sent:
        if sighting.number >= 0:
            out.setdefault(sighting.number, []).append(sighting.at_ms)
    delays: dict[float, float] = {}
    for sighting in received:
        earliest_ms = sighting.at_ms - _LONGEST_PICTURE_MS
        starts = [at_ms for at_ms in out.get(sighting.number, []) if earliest_ms <= at_ms <= sighting.at_ms]
        if starts:
            delays.setdefault(max(starts), sighting.at_ms - max(starts))
    return np.array(sorted(delays.items()), np.float64).reshape(-1, 2)


def chirp_times(sound: Sound) -> NDArray[np.float64]:
    """Where the chirps of a recording begin.

    Returns:
        float64 [n, 2]: time in ms and 1 for a rising, 0 for a falling chirp, in order of time.
    """
    found = []
    for kind, rising in ((1.0, True), (0.0, False)):
        likeness = _likeness(sound.samples, chirp(rising=rising, sample_rate_hz=sound.sample_rate_hz))
        found += [(sound.start_ms + 1e3 * at / sound.sample_rate_hz, kind) for at in _peaks(likeness, sound)]
    return np.array(sorted(found), np.float64).reshape(-1, 2)


def _likeness(samples: NDArray[np.float32], template: NDArray[np.float32]) -> NDArray[np.float64]:
    product = correlate(samples.astype(np.float64), template.astype(np.float64), mode="valid", method="fft")
    energy = np.cumsum(np.concatenate([[0.0], samples.astype(np.float64) ** 2]))
    here = np.sqrt(np.maximum(energy[len(template) :] - energy[: -len(template)], 1e-3))
    likeness: NDArray[np.float64] = product / (here * np.sqrt(np.sum(template.astype(np.float64) ** 2)))
    return likeness


def _peaks(likeness: NDArray[np.float64], sound: Sound) -> list[int]:
    apart = round(CHIRP_PERIOD_S * sound.sample_rate_hz)
    peaks, at = [], 0
    above = np.flatnonzero(likeness > _LEAST_LIKENESS)
    for index in above:
        if index < at:
            continue
        peaks.append(int(index + np.argmax(likeness[index : index + apart // 4])))
        at = peaks[-1] + apart
    return peaks


def sound_delays(sent: Sound, received: Sound) -> NDArray[np.float64]:
    """How long each chirp took to come back: float64 [n, 2], when it was sent and its delay, both ms."""
    back = chirp_times(received)
    delays = []
    for at_ms, kind in chirp_times(sent):
        later = back[(back[:, 1] == kind) & (back[:, 0] >= at_ms) & (back[:, 0] < at_ms + 1e3 * _LONGEST_S)]
        if len(later):
            delays.append((at_ms, later[0, 0] - at_ms))
    return np.array(delays, np.float64).reshape(-1, 2)


def offsets_ms(observation: Observation) -> NDArray[np.float64]:
    """The signed offset at every chirp: the sound's delay minus that of the picture taken at the same moment.

    Args:
        observation: Made with sound.

    Returns:
        float64 [n, 2]: when the chirp was sent and the offset, both ms.

    Raises:
        ValueError: The observation has no sound, or no frame came back.
    """
    if observation.sound_sent is None or observation.sound_received is None:
        raise ValueError("this observation was made without sound: start the probe with sound=True")
    frames = frame_delays(observation.sent, observation.received)
    if not len(frames):
        raise ValueError("no numbered frame came back")
    sounds = sound_delays(observation.sound_sent, observation.sound_received)
    sounds = sounds[(sounds[:, 0] >= frames[0, 0]) & (sounds[:, 0] <= frames[-1, 0])]
    return np.stack([sounds[:, 0], sounds[:, 1] - np.interp(sounds[:, 0], frames[:, 0], frames[:, 1])], axis=1)


def settled_after_s(offsets: NDArray[np.float64], since_ms: float, within_ms: float) -> float | None:
    """Seconds after which no chirp is further off than `within_ms`; None where the last one still is.

    Args:
        offsets: float64 [n, 2], of `offsets_ms`.
        since_ms: Time that counts as zero; earlier chirps are left out.
        within_ms: The distance from zero that is allowed.
    """
    offsets = offsets[offsets[:, 0] >= since_ms]
    outside = np.flatnonzero(np.abs(offsets[:, 1]) > within_ms)
    if not len(offsets) or (len(outside) and outside[-1] == len(offsets) - 1):
        return None
    return float(offsets[outside[-1] + 1 if len(outside) else 0, 0] - since_ms) / 1e3
