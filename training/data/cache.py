"""The cache folder: one .npz per clip, one pair of .npy for the portraits, one split.json.

Crops carry a margin around the product's own crop, so that shifts and turns can be drawn later
from real pixels; the middle `size` pixels are exactly what the live path would cut out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.clips import MaterialError
from training.data.phones import Phone

SPLIT_FILE = "split.json"
SPEECH_FOLDER = "speech"
TRACK_HZ = 100
MARGIN_SHARE = 12
"""The margin is a twelfth of the crop's side."""


def margin_px(size_px: int) -> int:
    """Margin around a crop of some side."""
    return size_px // MARGIN_SHARE


def size_of(crops: NDArray[np.uint8]) -> int:
    """Side of the product's own crop inside cached ones [..., M, M, 3].

    Raises:
        MaterialError: No crop has this side with its margin.
    """
    side = int(crops.shape[-2])
    size = round(side * MARGIN_SHARE / (MARGIN_SHARE + 2))
    fitting = [each for each in (size - 1, size, size + 1) if each + 2 * margin_px(each) == side]
    if not fitting:
        raise MaterialError(
            f"the cache holds pictures of {side} px, which no crop has with its margin; prepare it again"
        )
    return fitting[0]


def inner(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The product's own crops inside cached ones, [..., S, S, 3]."""
    size = size_of(crops)
    margin = (crops.shape[-2] - size) // 2
    return crops[..., margin : margin + size, margin : margin + size, :]


@dataclass(frozen=True, slots=True)
class CachedClip:
    """One stretch of a clip, ready to be drawn from.

    Attributes:
        name: As in `ClipEntry`.
        person: As in `ClipEntry`.
        split: As in `ClipEntry`.
        crops: uint8 RGB [T, M, M, 3], M = size + 2 margins.
        pts_ns: int64 [T], on the sound's time line.
        mel: float32 [80, columns] of the whole file.
        opening: float32 [T], `mouth_opening` of the unsmoothed landmarks.
        width: float32 [T], `mouth_width` likewise.
        landmarks: float32 [T, 478, 2] smoothed, in pixels of the product's crop (without margin).
        others: uint8 RGB [T, M, M, 3], the same pictures but for another mouth; only synthetic heads have them.
        other_landmarks: float32 [T, 478, 2] of these.
        blendshapes: float32 [T, 52], weights of `models.landmarks.BLENDSHAPES`, read off the unsmoothed landmarks;
            heads and older caches have none.
        face_px: float32 [T], side of the product's crop in pixels of the source; likewise.
        phones: What is said when, on the sound's time line; empty where not known.
    """

    name: str
    person: str
    split: str
    crops: NDArray[np.uint8]
    pts_ns: NDArray[np.int64]
    mel: NDArray[np.float32]
    opening: NDArray[np.float32]
    width: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    others: NDArray[np.uint8] | None = None
    other_landmarks: NDArray[np.float32] | None = None
    blendshapes: NDArray[np.float32] | None = None
    face_px: NDArray[np.float32] | None = None
    phones: tuple[Phone, ...] = ()

    @property
    def loud(self) -> float:
        """The level that loud columns reach, in mel units: the 95th percentile of their means."""
        return float(np.percentile(self.mel.mean(0), 95))

    @property
    def rest(self) -> float:
        """The opening at which this person's mouth counts as closed: the 5th percentile."""
        return float(np.percentile(self.opening, 5))

    @property
    def mouths(self) -> NDArray[np.float32]:
        """As of a recording, float32 [T, 2]; openings are below 0 where the mouth is more closed than at rest."""
        return np.stack([self.opening - self.rest, self.width / np.median(self.width)], 1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class CachedPortraits:
    """Every portrait in every mouth pose.

    Attributes:
        names: One per person.
        crops: uint8 RGB [P, V, M, M, 3], memory-mapped.
        openings: float32 [V], the pose's opening.
        width_scales: float32 [V], the pose's width over the portrait's own.
    """

    names: list[str]
    crops: NDArray[np.uint8]
    openings: NDArray[np.float32]
    width_scales: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CachedSpeech:
    """One recording without a picture.

    Attributes:
        name: Unique.
        voice: Who speaks.
        mel: float32 [80, columns] of the whole recording.
        mouths: float32 [T, 2] at `TRACK_HZ`, opening above the closed mouth and width over the person's median.
        phones: What is said when; empty where not known.
        weight: How much a second of it counts against a second of any other voice, see `Recordings`.
    """

    name: str
    voice: str
    mel: NDArray[np.float32]
    mouths: NDArray[np.float32]
    phones: tuple[Phone, ...] = ()
    weight: float = 1.0

    @property
    def loud(self) -> float:
        """As for a clip."""
        return float(np.percentile(self.mel.mean(0), 95))


def save_clip(folder: Path, clip: CachedClip) -> None:
    """Write one clip; the file appears under its name only when it is whole."""
    fields = {key: value for key, value in asdict(clip).items() if isinstance(value, np.ndarray)}
    _save(folder, clip.name, fields | (_phone_fields(clip.phones) if clip.phones else {}))


def save_speech(folder: Path, speech: CachedSpeech) -> None:
    """Write one recording; the file appears under its name only when it is whole."""
    (folder / SPEECH_FOLDER).mkdir(exist_ok=True)
    fields = {
        "voice": np.array(speech.voice),
        "weight": np.array(speech.weight),
        "mel": speech.mel,
        "mouths": speech.mouths,
    }
    _save(folder / SPEECH_FOLDER, speech.name, fields | _phone_fields(speech.phones))


def _phone_fields(phones: Sequence[Phone]) -> dict[str, NDArray[Any]]:
    return {
        "phone_names": np.array([each.name for each in phones], np.str_),
        "phone_times_s": np.array([(each.start_s, each.end_s) for each in phones], np.float64).reshape(-1, 2),
    }


def _phones(fields: Mapping[str, NDArray[Any]]) -> tuple[Phone, ...]:
    named = zip(fields["phone_names"], fields["phone_times_s"].tolist(), strict=True)
    return tuple(Phone(str(name), *times_s) for name, times_s in named)


def _save(folder: Path, name: str, fields: Mapping[str, NDArray[Any]]) -> None:
    partial = folder / f".{name}.partial.npz"
    np.savez(partial, allow_pickle=False, **fields)
    partial.replace(folder / f"{name}.npz")


def load_speech(folder: Path) -> list[CachedSpeech]:
    """Read every recording, none where the cache has none."""
    found = []
    for path in sorted((folder / SPEECH_FOLDER).glob("[!.]*.npz")):
        with np.load(path) as fields:
            voice, weight = str(fields["voice"]), float(fields["weight"])
            found.append(CachedSpeech(path.stem, voice, fields["mel"], fields["mouths"], _phones(fields), weight))
    return found


def save_split(folder: Path, clips: list[dict[str, object]]) -> None:
    """Write which clip belongs to whom and what it may be used for; one with a reason under `left_out`, for nothing."""
    text = json.dumps({"clips": clips}, indent=1)
    (folder / SPLIT_FILE).write_text(text + "\n", encoding="utf-8")


def load_clips(folder: Path, splits: set[str]) -> list[CachedClip]:
    """Read the clips of some splits that the filters let pass.

    Raises:
        MaterialError: The folder holds no cache, or none of these splits.
    """
    index = folder / SPLIT_FILE
    if not index.is_file():
        raise MaterialError(f"no {index}; build the cache first: python -m training prepare --cache {folder}")
    rows = json.loads(index.read_text(encoding="utf-8"))["clips"]
    clips = [_load(folder, row) for row in rows if row["split"] in splits and not row.get("left_out")]
    if not clips:
        raise MaterialError(f"{folder} has no clip in {', '.join(sorted(splits))}")
    return clips


def _load(folder: Path, row: dict[str, str]) -> CachedClip:
    with np.load(folder / f"{row['name']}.npz") as fields:
        # Heads and older caches know of no phones.
        phones = _phones(fields) if "phone_names" in fields else ()
        arrays = {key: fields[key] for key in fields.files if not key.startswith("phone_")}
    return CachedClip(row["name"], row["person"], row["split"], **arrays, phones=phones)


def load_portraits(folder: Path) -> CachedPortraits | None:
    """Read the moving portraits, or None where the cache has none."""
    if not (folder / "portraits.json").is_file():
        return None
    index = json.loads((folder / "portraits.json").read_text(encoding="utf-8"))
    crops = np.load(folder / "portraits.npy", mmap_mode="r")
    openings, scales = (np.array(index[key], np.float32) for key in ("openings", "width_scales"))
    return CachedPortraits(index["names"], crops, openings, scales)
