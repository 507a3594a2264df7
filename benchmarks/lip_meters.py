"""Meters for made lips against a sound: by the own sync expert, by phones whose times are known, and by shut lips.

All offsets are the time of the sound minus the time of the picture that belongs to it: positive, the sound is late.
None of the figures are LSE-C or LSE-D, which need another network's weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.av_lag import Curve, lag_at_peak, lag_scores, peak_of
from kernels.crop import crop_face
from kernels.mel import SAMPLE_RATE_HZ, mel_spectrogram
from models.sync_expert import SyncExpert
from stream.face_tracking import FaceTracks, FollowingReader
from stream.faces import LoadedNetworks
from stream.frames import NS_PER_MS, NS_PER_S
from stream.media import ClipReader
from stream.occlusion import MouthWatch
from training.clip_figures import CLOSED_ABOVE, CLOSED_PERCENTILE
from training.data.mouth import mouth_opening
from training.mouths import narrowest
from training.sync_curve import SHIFTS_MS, ShiftCurve, shift_curve

Samples = NDArray[np.float32]
Spans = Sequence[tuple[int, int]]

SIZE = 96
WINDOW_NS = 2 * NS_PER_S
STEP_NS = NS_PER_S
# Beyond it a window shows lips that the voice does not move.
_LEAST_SPEECH = 0.75
_LEAST_RUNS = 20
_DRAWS = 500
_SEED = 20
_BILABIAL_ROOM_NS = 40 * NS_PER_MS


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """The face of a clip.

    Attributes:
        pts_ns: int64 [T], of the pictures that show it.
        opening: float64 [T], of landmarks that are not smoothed, in distances between the outer eye corners.
        crops: uint8 RGB [T, 96, 96, 3].
    """

    pts_ns: NDArray[np.int64]
    opening: NDArray[np.float64]
    crops: NDArray[np.uint8]

    @property
    def curve(self) -> Curve:
        """Times in seconds and openings."""
        return self.pts_ns / NS_PER_S, self.opening


def watch(path: Path, networks: LoadedNetworks) -> Watched:
    """Read the first face of every picture.

    Raises:
        ValueError: No picture shows one.
    """
    reader = FollowingReader(networks.landmarks, 1)
    tracks = FaceTracks(SIZE, lambda: MouthWatch(networks.cover))
    pts_ns, openings, crops = [], [], []
    for frame in ClipReader(path).frames():
        readings = reader.read(frame)
        for reading, face in zip(readings, tracks.update(frame, readings), strict=True):
            pts_ns.append(frame.pts_ns)
            openings.append(mouth_opening(reading.points))
            crops.append(crop_face(frame.planes, face.to_crop, SIZE, frame.colour))
    if not crops:
        raise ValueError(f"{path.name} shows no face")
    return Watched(np.array(pts_ns, np.int64), np.array(openings), np.stack(crops))


@dataclass(frozen=True, slots=True)
class Sync:
    """What the expert says of one window.

    Attributes:
        start_ns: Of the window.
        offset_ms: Between the columns of the mel by a parabola.
        confidence: How far the best similarity is above the median over all shifts.
    """

    start_ns: int
    offset_ms: float
    confidence: float


def sync_of(expert: SyncExpert, seen: Watched, sound: Samples, turns: Spans) -> list[Sync]:
    """Offset and confidence of every window of two seconds, one a second, in which the voice speaks.

    Args:
        expert: Frozen.
        seen: The lips.
        sound: float32 [n] at 16 kHz, on the pictures' time.
        turns: When the voice speaks.
    """
    curve = shift_curve(expert, seen.crops, mel_spectrogram(sound), seen.pts_ns)
    return [sync for start_ns in starts_of(curve, turns) if (sync := _sync(curve, start_ns)) is not None]


def starts_of(curve: ShiftCurve, turns: Spans) -> list[int]:
    """Where windows begin: a second apart, those alone that are spoken in. A short clip is one window."""
    if not len(curve.pts_ns):
        return []
    first_ns, last_ns = int(curve.pts_ns[0]), int(curve.pts_ns[-1])
    starts = range(first_ns, max(first_ns + 1, last_ns - WINDOW_NS + 1), STEP_NS)
    return [each for each in starts if speech_share(turns, each, min(each + WINDOW_NS, last_ns)) >= _LEAST_SPEECH]


def speech_share(turns: Spans, start_ns: int, end_ns: int) -> float:
    """Share of a stretch of time that lies in turns, 0 to 1."""
    inside_ns = sum(max(0, min(end, end_ns) - max(start, start_ns)) for start, end in turns)
    return inside_ns / max(end_ns - start_ns, 1)


def _sync(curve: ShiftCurve, start_ns: int) -> Sync | None:
    within = (curve.pts_ns >= start_ns) & (curve.pts_ns < start_ns + WINDOW_NS)
    if within.sum() < _LEAST_RUNS:
        return None
    mean = curve.similarity[within].mean(0)
    offset_ms = float(np.interp(peak_of(mean), np.arange(len(SHIFTS_MS)), SHIFTS_MS))
    return Sync(start_ns, offset_ms, float(mean.max() - np.median(mean)))


def delayed(sound: Samples, late_ms: int) -> Samples:
    """A sound that comes later, or earlier where `late_ms` is negative; as long as before."""
    count = late_ms * SAMPLE_RATE_HZ // 1000
    moved = np.zeros_like(sound)
    if count >= 0:
        moved[count:] = sound[: len(sound) - count]
    else:
        moved[:count] = sound[-count:]
    return moved


@dataclass(frozen=True, slots=True)
class Pooled:
    """Offset of many windows together, where each alone says too little.

    Attributes:
        windows: How many.
        offset_ms: Where the mean of their correlations is highest.
        low_ms: Lower end of its 95 % interval, by windows drawn again.
        high_ms: Upper end.
        alike: That mean correlation.
    """

    windows: int
    offset_ms: float
    low_ms: float
    high_ms: float
    alike: float


def window_scores(truth: Curve, found: Curve, turns: Spans) -> list[NDArray[np.floating]]:
    """Correlations over all lags of every window of two seconds, one a second, in which the voice speaks."""
    first_ns, last_ns = (round(max(0.3, found[0][0]) * NS_PER_S), round(found[0][-1] * NS_PER_S))
    starts = range(first_ns, last_ns - WINDOW_NS, STEP_NS)
    spoken = [each for each in starts if speech_share(turns, each, each + WINDOW_NS) >= _LEAST_SPEECH]
    scores = [lag_scores(truth, found, each / NS_PER_S, (each + WINDOW_NS) / NS_PER_S) for each in spoken]
    return [each for each in scores if np.isfinite(each).all()]


def pooled(scores: Sequence[NDArray[np.floating]]) -> Pooled:
    """See `Pooled`; a mouth that is late makes the sound early, so the sign turns.

    Raises:
        ValueError: There are none.
    """
    if not scores:
        raise ValueError("no window was spoken in")
    rows = np.stack(scores)
    draws = np.random.default_rng(_SEED).integers(0, len(rows), (_DRAWS, len(rows)))
    drawn_ms = [-1000 * lag_at_peak(rows[each].mean(0)) for each in draws]
    mean = rows.mean(0)
    low, high = np.percentile(drawn_ms, [2.5, 97.5])
    return Pooled(len(rows), -1000 * lag_at_peak(mean), float(low), float(high), float(mean.max()))


@dataclass(frozen=True, slots=True)
class ShutLips:
    """How often lips are shut when an m, b or p is said.

    Attributes:
        phones: How many such phones.
        shut: Share of them with lips shut within 40 ms.
        by_chance: The same at times drawn at random while the voice speaks.
    """

    phones: int
    shut: float
    by_chance: float


def shut_lips(seen: Watched, own: Watched, spans_ns: NDArray[np.int64], turns: Spans) -> ShutLips:
    """Hold a mouth against the times at which it must be shut.

    Args:
        seen: The made lips.
        own: The clip's own, which tell how far this person's mouth is open when it is shut.
        spans_ns: int64 [n, 2], of the phones.
        turns: When the voice speaks.
    """
    room = np.array([-_BILABIAL_ROOM_NS, _BILABIAL_ROOM_NS])
    limit = float(np.percentile(own.opening, CLOSED_PERCENTILE)) + CLOSED_ABOVE
    inside = (spans_ns[:, 0] > seen.pts_ns[0]) & (spans_ns[:, 1] < seen.pts_ns[-1])
    spans_ns = spans_ns[inside] + room
    if not len(spans_ns) or not turns:
        return ShutLips(0, 0.0, 0.0)
    elsewhere = np.concatenate([drawn_spans(spans_ns, turns, seed) for seed in range(_DRAWS // 10)])
    shut, chance = (narrowest(seen.opening, seen.pts_ns, each) <= limit for each in (spans_ns, elsewhere))
    return ShutLips(len(spans_ns), float(np.mean(shut)), float(np.mean(chance)))


def drawn_spans(spans_ns: NDArray[np.int64], turns: Spans, seed: int) -> NDArray[np.int64]:
    """Spans as long as these at random places within the turns, int64 [n, 2]."""
    generator = np.random.default_rng(seed)
    lengths = np.array([end - start for start, end in turns], np.float64)
    chosen = generator.choice(len(turns), len(spans_ns), p=lengths / lengths.sum())
    starts = np.array([turns[each][0] for each in chosen]) + (generator.random(len(spans_ns)) * lengths[chosen])
    spread = spans_ns[:, 1] - spans_ns[:, 0]
    return np.stack([starts.astype(np.int64), starts.astype(np.int64) + spread], 1)


def mean_shut(found: Mapping[str, ShutLips]) -> ShutLips:
    """All clips together, each phone counting once."""
    phones = sum(each.phones for each in found.values())
    shut = sum(each.shut * each.phones for each in found.values())
    chance = sum(each.by_chance * each.phones for each in found.values())
    return ShutLips(phones, shut / max(phones, 1), chance / max(phones, 1))
