"""All figures of one clip: drawn with its own sound, with others', with silence, beside what no network does.

Pictures are measured as a viewer gets them, pasted back (`training.served`); landmarks are read by the landmark
networks, never by a network that took part in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.mel import NS_PER_S, SAMPLE_RATE_HZ, SILENCE, column_at
from kernels.paste import mouth_mask
from training import intervals
from training.data.cache import CachedClip, inner
from training.data.portraits import MouthPose, move_mouth
from training.glance import windows
from training.intervals import Figure, Samples, averaged, figure
from training.judges import Judges
from training.mouths import (
    Points,
    Track,
    best_offset_ms,
    lagged,
    lip_distances_percent,
    lip_jitter,
    lower_errors,
    lower_ssim,
    narrowest,
    openings,
    read_points,
    sharpness,
)
from training.own_identity import likeness
from training.served import Mel, Pictures, Service, footage_of, reshown, serve
from training.standard.fid import inception_features
from training.standard.lpips import lpips_distances
from training.standard.lse import RATE_HZ, lse_c, lse_d, sync_distances
from training.subject import Subject
from training.sync_curve import SHIFTS_MS, shift_curve

SEED = 7
CLOSED_PERCENTILE = 5
CLOSED_ABOVE = 0.02
"""Above a person's own closed mouth, in eye distances: some 2 mm, where darkness begins to show between lips, and at
least four times the scatter of readings of one closed mouth that is put into all frames of an HDTF clip (0.001 to
0.004)."""
CLOSED_PLAIN = 0.03
BILABIALS = ("P", "B", "M")
ROOM_NS = 20_000_000
"""Looked at on both sides of a phone: an aligner's frames are 10 ms, and its borders lie some of them away."""
PAINTED_TEETH = 0.03
MIN_OFFSET_FRAMES = 12
UNEVEN_NS = 5_000_000

DRAWN, SHUFFLED, STATIC = "drawn", "shuffled sound", "static mouth"
REFERENCE, INPUT = "copy of the reference", "copy of the input"
SHUT = "shut mouth, nothing drawn"
OTHER_MOUTH, OTHER_INPUT = "drawn, another mouth shown", "copy of the input, another mouth shown"

LSE = {"lse_c": lse_c, "lse_d": lse_d}

Figures = dict[str, Figure]


class Seen(NamedTuple):
    """Pictures as they leave, and what is read off them.

    Attributes:
        pictures: uint8 RGB [n, M, M, 3].
        points: float32 [n, 478, 2].
        opening: [n].
    """

    pictures: Pictures
    points: Points
    opening: Track


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """All about one clip.

    Attributes:
        clip: Its name.
        split: As in the cache.
        methods: Figures of the generator and of each baseline.
        strayed: Bytes that changed outside the mask, over all pictures drawn; should be 0.
        strips: Pictures [n, S, S, 3] to look at, by what they are; "real" first.
        heard: The sound that drove some of them, float32 [80, columns] from the first picture to the last.
        frame_ns: Time from one picture to the next.
        features: What the standard FID is computed of, by method, [n, 2048]; empty without its weights.
        bilabials: How many p, b and m are said while the clip is seen, as far as known.
    """

    clip: str
    split: str
    methods: dict[str, Figures]
    strayed: int
    strips: dict[str, Pictures]
    heard: dict[str, Mel]
    frame_ns: int
    features: dict[str, NDArray[np.float32]]
    bilabials: int


def measure(
    subject: Subject, judges: Judges, clip: CachedClip, others: Sequence[CachedClip], *, raw: bool = False
) -> Measured:
    """All figures of one clip.

    Args:
        subject: The generator.
        judges: What measures.
        clip: What is shown.
        others: Whose sound is foreign.
        raw: See `evaluate`.
    """
    return _Clip(subject, judges, clip, others, raw=raw).measured()


class _Clip:
    """One clip while it is being measured."""

    def __init__(
        self, subject: Subject, judges: Judges, clip: CachedClip, others: Sequence[CachedClip], *, raw: bool
    ) -> None:
        self._subject, self._judges, self._clip, self._others, self._raw = subject, judges, clip, others, raw
        self._footage = footage_of(clip)
        self._truth = self._see(self._footage.frames)
        self._service = serve(subject, self._footage)
        self._strayed = 0

    def measured(self) -> Measured:
        mel = windows(self._clip, self._clip.pts_ns, self._subject.window)
        silent = self._drawn(np.full_like(mel, SILENCE))
        foreign = [self._drawn(self._foreign_mel(each)) for each in self._others]
        seen = {
            DRAWN: self._drawn(mel),
            SHUFFLED: self._drawn(np.random.default_rng(SEED).permutation(mel)),
            STATIC: self._pasted(self._still()),
            REFERENCE: self._pasted(self._service.identities),
            INPUT: self._truth,
        }
        if self._subject.edits:
            seen[SHUT] = self._pasted(self._service.shown)
            seen[OTHER_INPUT] = shown = self._another_mouth()
            seen[OTHER_MOUTH] = self._drawn(mel, serve(self._subject, reshown(self._footage, *shown[:2])))
        methods = {name: self._against(each) for name, each in seen.items()}
        for name in {STATIC, REFERENCE, INPUT, SHUT} & seen.keys():
            methods[name] |= self._swapped([seen[name]] * len(self._others)) | self._silence(seen[name])
        for name in {DRAWN, OTHER_MOUTH} & seen.keys():
            methods[name] |= self._offset(seen[name])
        methods[DRAWN] |= self._swapped(foreign) | self._silence(silent) | self._stranger()
        return self._reported(methods, seen, {"foreign sound": foreign[0]} if foreign else {}, silent)

    def _reported(
        self, methods: dict[str, Figures], seen: dict[str, Seen], foreign: dict[str, Seen], silent: Seen
    ) -> Measured:
        strips = {"real": self._truth, "own sound": seen[DRAWN], **foreign, "silence": silent}
        if OTHER_INPUT in seen:
            strips |= {"another mouth shown": seen[OTHER_INPUT], "own sound to it": seen[OTHER_MOUTH]}
        inside, inception = self._footage.inner, self._judges.inception
        return Measured(
            self._clip.name,
            self._clip.split,
            methods,
            self._strayed,
            {name: inside(each.pictures) for name, each in strips.items()},
            self._heard(),
            int(np.median(np.diff(self._clip.pts_ns))),
            {name: inception_features(inception, inside(each.pictures)) for name, each in seen.items()}
            if inception
            else {},
            len(_bilabial_spans_ns(self._clip, self._clip.pts_ns)),
        )

    def _heard(self) -> dict[str, Mel]:
        clip = self._clip
        heard = {"own sound": _between(clip, clip.pts_ns)}
        if self._others:
            heard["foreign sound"] = _between(self._others[0], self._foreign_times(self._others[0]))
        return heard

    # -- pictures ----------------------------------------------------------------------------------

    def _see(self, pictures: Pictures) -> Seen:
        points = read_points(self._judges.landmarks, pictures, self._footage.landmarks)
        return Seen(pictures, points, openings(points))

    def _drawn(self, mel: Mel, service: Service | None = None) -> Seen:
        service = service or self._service
        generated = service.generated(mel)
        return self._see(service.bare(generated)) if self._raw else self._pasted(generated, service)

    def _pasted(self, crops: Pictures, service: Service | None = None) -> Seen:
        pictures, strayed = (service or self._service).pasted(crops)
        self._strayed += strayed
        return self._see(pictures)

    def _still(self) -> Pictures:
        """The most closed mouth of the clip, for every frame."""
        originals = self._service.originals
        return np.broadcast_to(originals[int(np.argmin(self._truth.opening))], originals.shape)

    def _another_mouth(self) -> Seen:
        """The clip with the mouth warped to the opening that it has half a clip away; real outside the mouth.

        Nowhere in it is the mouth that was there.
        """
        wanted = np.roll(self._truth.opening, len(self._truth.opening) // 2)
        side_px = self._footage.frames.shape[1]
        shown = []
        for frame, points, opening in zip(self._footage.frames, self._truth.points, wanted, strict=True):
            moved = move_mouth(frame, points, MouthPose(float(opening)), PAINTED_TEETH)
            shown.append(moved)
        seen = self._see(np.stack(shown))
        pictures = []
        for frame, moved, *points in zip(
            self._footage.frames, seen.pictures, self._truth.points, seen.points, strict=True
        ):
            mask = np.maximum(*(mouth_mask(each, side_px) for each in points))[..., None]
            pictures.append(np.rint(frame + mask * (moved.astype(np.float32) - frame)).astype(np.uint8))
        return seen._replace(pictures=np.stack(pictures))

    def _foreign_mel(self, other: CachedClip) -> Mel:
        return windows(other, self._foreign_times(other), self._subject.window)

    def _foreign_times(self, other: CachedClip) -> NDArray[np.int64]:
        """The clip's times on another clip's time line, for as long as both last."""
        times_ns = self._clip.pts_ns - self._clip.pts_ns[0] + other.pts_ns[0]
        return np.asarray(times_ns[times_ns <= other.pts_ns[-1]])

    # -- figures -----------------------------------------------------------------------------------

    def _against(self, seen: Seen) -> Figures:
        """Figures of pictures that should be the true ones."""
        truth, landmarks = self._truth, self._footage.landmarks
        both = np.stack([seen.opening, truth.opening], -1)
        lower = self._footage.inner(seen.pictures), self._footage.inner(truth.pictures)
        sharp = np.stack([sharpness(each.pictures, landmarks) for each in (seen, truth)], -1)
        bends = np.stack([lip_jitter(each.points) for each in (seen, truth)], -1)
        figures = {
            "own_r": figure(both, intervals.pearson),
            "distance_percent": figure(lip_distances_percent(seen.points, truth.points)[:, None], intervals.mean),
            "psnr_db": figure(lower_errors(*lower)[:, None], intervals.psnr_db),
            "ssim": figure(lower_ssim(*lower)[:, None], intervals.mean),
            "sharpness": figure(sharp, intervals.ratio),
            "jitter": figure(bends, intervals.ratio),
            "spread": figure(both, intervals.spread_ratio),
        }
        return (
            figures
            | self._perceived(*lower)
            | self._likeness("identity", lower[0])
            | self._agreement("expert", seen, self._clip, self._clip.pts_ns)
            | self._lse("", seen, self._clip, self._clip.pts_ns)
            | self._bilabials("closed_bilabials", seen, self._clip, self._clip.pts_ns)
        )

    def _perceived(self, crops: Pictures, truth: Pictures) -> Figures:
        if self._judges.lpips is None:
            return {}
        return {"lpips": figure(lpips_distances(self._judges.lpips, crops, truth)[:, None], intervals.mean)}

    def _likeness(self, key: str, crops: Pictures) -> Figures:
        """How near crops are to the mean of this person's true ones, as the own identity network sees it."""
        if self._judges.identity is None:
            return {}
        real = self._footage.inner(self._truth.pictures)
        return {key: figure(likeness(self._judges.identity, crops, real)[:, None], intervals.mean)}

    def _stranger(self) -> Figures:
        """The same for the true pictures of another person."""
        return self._likeness("identity_stranger", inner(self._others[0].crops)) if self._others else {}

    def _agreement(self, key: str, seen: Seen, heard: CachedClip, times_ns: NDArray[np.int64]) -> Figures:
        """How surely the own sync expert finds lips and sound to belong together; none for a clip too short."""
        if self._judges.expert is None:
            return {}
        pictures = self._footage.inner(seen.pictures)[: len(times_ns)]
        curve = shift_curve(self._judges.expert, pictures, heard.mel, times_ns).similarity
        if len(curve) < MIN_OFFSET_FRAMES:
            return {}
        return {
            key: figure(curve, intervals.means, _confidence),
            f"{key}_offset_ms": figure(curve, intervals.means, _peak_ms),
        }

    def _lse(self, suffix: str, seen: Seen, heard: CachedClip, times_ns: NDArray[np.int64]) -> Figures:
        """The standard's scores; none without its network, or for a clip too short or not of 25 pictures a second."""
        uneven = np.abs(np.diff(times_ns) - NS_PER_S // RATE_HZ).max() > UNEVEN_NS
        if self._judges.syncnet is None or uneven:
            return {}
        samples = self._judges.sounds[heard.name][max(0, int(times_ns[0]) * SAMPLE_RATE_HZ // NS_PER_S) :]
        distances = sync_distances(self._judges.syncnet, seen.pictures[: len(times_ns)], samples)
        if len(distances) < MIN_OFFSET_FRAMES:
            return {}
        return {f"{key}{suffix}": figure(distances, intervals.means, read) for key, read in LSE.items()}

    def _offset(self, seen: Seen) -> Figures:
        """Of a mouth that a sound moves; none for a clip too short."""
        tracks = lagged(seen.opening, self._truth.opening, self._clip.pts_ns)
        if len(tracks) < MIN_OFFSET_FRAMES:
            return {}
        return {"offset_ms": figure(tracks, intervals.pearson, best_offset_ms)}

    def _swapped(self, seen: Sequence[Seen]) -> Figures:
        """Figures of pictures that foreign voices drove, or would have."""
        parts: list[Figures] = []
        for other, each in zip(self._others, seen, strict=True):
            times_ns = self._foreign_times(other)
            driving = np.interp(times_ns, other.pts_ns, other.opening)
            own, drawn = self._truth.opening[: len(times_ns)], each.opening[: len(times_ns)]
            pairs = {"foreign_r": (drawn, driving), "leak_r": (drawn, own), "chance_r": (driving, own)}
            figures = {key: figure(np.stack(pair, -1), intervals.pearson) for key, pair in pairs.items()}
            figures |= self._agreement("expert_foreign", each, other, times_ns)
            figures |= self._bilabials("closed_bilabials_foreign", each, other, times_ns)
            parts.append(figures | self._lse("_foreign", each, other, times_ns))
        keys = dict.fromkeys(key for part in parts for key in part)
        return {key: averaged([part[key] for part in parts if key in part]) for key in keys}

    def _silence(self, seen: Seen) -> Figures:
        """Shares of pictures without speech whose mouth is closed."""
        limits = {"closed_silence": self._closed_opening, "closed_plain": CLOSED_PLAIN}
        return {
            key: figure((seen.opening <= each)[:, None].astype(float), intervals.mean) for key, each in limits.items()
        }

    def _bilabials(self, key: str, seen: Seen, heard: CachedClip, times_ns: NDArray[np.int64]) -> Figures:
        """Share of p, b and m during which the mouth closes; none where no such phone is known."""
        spans_ns = _bilabial_spans_ns(heard, times_ns)
        if not len(spans_ns):
            return {}
        closed = narrowest(seen.opening[: len(times_ns)], times_ns, spans_ns) <= self._closed_opening
        return {key: figure(closed[:, None].astype(float), intervals.mean, block=1)}

    @property
    def _closed_opening(self) -> float:
        """At most so far open is this person's mouth when it is closed."""
        return float(np.percentile(self._truth.opening, CLOSED_PERCENTILE)) + CLOSED_ABOVE


def _confidence(curve: Samples) -> Samples:
    """How far the expert's best similarity stands above the median over all shifts.

    A maximum of noise: where nothing agrees, resamples lie above the value itself.
    """
    return np.asarray(curve.max(-1) - np.median(curve, axis=-1))


def _peak_ms(curve: Samples) -> Samples:
    """The shift at which the expert's similarity is best: positive when the lips lead."""
    return np.asarray(SHIFTS_MS[np.argmax(curve, -1)])


def _bilabial_spans_ns(clip: CachedClip, times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """When p, b and m are said while pictures at `times_ns` are shown, with `ROOM_NS` around them, [n, 2]."""
    said = [(each.start_s, each.end_s) for each in clip.phones if each.name in BILABIALS]
    spans_ns = np.rint(np.reshape(said, (-1, 2)) * NS_PER_S).astype(np.int64)
    shown = (spans_ns[:, 0] >= times_ns[0]) & (spans_ns[:, 1] <= times_ns[-1])
    return np.asarray(spans_ns[shown] + (-ROOM_NS, ROOM_NS))


def _between(clip: CachedClip, times_ns: NDArray[np.int64]) -> Mel:
    return clip.mel[:, column_at(int(times_ns[0])) : column_at(int(times_ns[-1])) + 1]
