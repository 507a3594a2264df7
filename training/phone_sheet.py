"""A contact sheet by phone: the true mouth, the generator's and a baseline's, for each person five phones apart.

Each person is shown half a clip away from the sound, so that the true mouth is nowhere in what a generator sees; where
the head hardly moves, it can still be held against the mouth that belongs to the sound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.cache import CachedClip, load_clips
from training.data.clips import MaterialError, read_sound
from training.data.phones import Phone, align_phones
from training.data.split import SPLITS, read_clips
from training.glance import windows
from training.served import footage_of, serve
from training.subject import Subject

Picture = NDArray[np.uint8]

PHONES = {
    "open (ah, ay)": ("AA", "AY", "AE", "AW", "AH", "EH"),
    "spread (ee)": ("IY", "EY", "IH"),
    "round (oo)": ("UW", "W", "OW", "AO", "UH", "R"),
    "lips shut (p, b, m)": ("B", "P", "M"),
    "lip on teeth (f, v)": ("F", "V"),
}
"""Column titles, and the phones of each, the one to show first."""

TILE_PX = 144
BAND_PX = 18
QUALITY = 88


@dataclass(frozen=True, slots=True)
class _Moment:
    clip: CachedClip
    frame: int


def phone_sheet(
    material: Path, cache: Path, subjects: Sequence[Subject], out: Path, say: Callable[[str], None]
) -> None:
    """Write the sheet.

    Args:
        material: Folder that `configs/clips.toml` is relative to.
        cache: Folder by `prepare`.
        subjects: Generators to show below the true mouth, the first one is ours.
        out: JPEG to write.
        say: Takes one line per person.

    Raises:
        MaterialError: No clip of the cache has known words.
    """
    people = _moments(material, cache)
    if not people:
        raise MaterialError(f"no clip of {cache} has known words; the sheet needs them to find phones")
    rows = [_titles()]
    for person, moments in people.items():
        rows.append(_row(moments, subjects))
        say(f"{person}: {', '.join(name for name, moment in zip(PHONES, moments, strict=True) if moment)}")
    sheet = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(out), sheet, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def _moments(material: Path, cache: Path) -> dict[str, list[_Moment | None]]:
    """For each person one moment of each kind, None where nothing of the kind is said; clips not trained on first."""
    clips = {clip.name: clip for clip in load_clips(cache, set(SPLITS) - {"measured"})}
    found: dict[str, list[_Moment | None]] = {}
    entries = [entry for entry in read_clips(material) if entry.words and entry.name in clips]
    for entry in sorted(entries, key=lambda each: each.split == "train"):
        theirs = found.setdefault(entry.person, [None] * len(PHONES))
        if all(theirs):
            continue
        phones = align_phones(read_sound(entry.path)[0], entry.words) or []
        for index, wanted in enumerate(PHONES.values()):
            theirs[index] = theirs[index] or _moment(clips[entry.name], phones, wanted)
    return found


def _moment(clip: CachedClip, phones: Sequence[Phone], wanted: Sequence[str]) -> _Moment | None:
    said = [each for each in phones if each.name in wanted]
    if not said:
        return None
    chosen = min(said, key=lambda each: (wanted.index(each.name), each.start_s - each.end_s))
    middle_ns = (chosen.start_s + chosen.end_s) / 2 * 1e9
    return _Moment(clip, int(np.argmin(np.abs(clip.pts_ns - middle_ns))))


def _row(moments: Sequence[_Moment | None], subjects: Sequence[Subject]) -> Picture:
    blank = np.zeros((TILE_PX * (1 + len(subjects)), TILE_PX, 3), np.uint8)
    columns = []
    for moment in moments:
        if moment is None:
            columns.append(blank)
            continue
        true = footage_of(moment.clip).frames[moment.frame]
        tiles = {"real": _tile(true)} | {each.name: _drawn(moment, each) for each in subjects}
        columns.append(np.vstack([_named(name, tile) for name, tile in tiles.items()]))
    return np.hstack(columns)


def _drawn(moment: _Moment, subject: Subject) -> Picture:
    clip, count = moment.clip, len(moment.clip.crops)
    away = {name: np.roll(getattr(clip, name), count // 2, axis=0) for name in ("crops", "landmarks")}
    service = serve(subject, footage_of(replace(clip, **away)))
    mel = windows(clip, clip.pts_ns[: moment.frame + 1], subject.window)
    pictures, _ = service.pasted(service.generated(mel))
    return _tile(pictures[moment.frame])


def _tile(frame: Picture) -> Picture:
    """The lower two thirds of a face, as sharp as it is."""
    side = frame.shape[0]
    face = frame[round(0.33 * side) : round(0.95 * side), round(0.19 * side) : round(0.81 * side)]
    return np.asarray(cv2.resize(face, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA), np.uint8)


def _named(name: str, tile: Picture) -> Picture:
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(tile, name, (3, TILE_PX - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.36, colour, thickness, cv2.LINE_AA)
    return tile


def _titles() -> Picture:
    band = np.zeros((BAND_PX, TILE_PX * len(PHONES), 3), np.uint8)
    for index, title in enumerate(PHONES):
        place = (index * TILE_PX + 4, BAND_PX - 5)
        cv2.putText(band, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
    return band
