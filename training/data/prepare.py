"""Clips and portraits in, cache out, through the product's own landmarks, smoothing, crop and mel.

Clips that `training.data.filters` refuses stay in split.json with the reason, and out of everything that is learned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.crop import crop_face, crop_transform, in_crop
from kernels.mel import mel_spectrogram
from kernels.yuv import BT601_LIMITED, rgb_to_i420
from models.mouth_cover import MouthCoverNetwork
from training.data.cache import CachedClip, margin_px, save_clip, save_split
from training.data.clips import NS_PER_S, MaterialError, Planes, read_pictures, read_sound
from training.data.filters import ClipQuality, Limits, quality_of, read_limits
from training.data.mouth import mouth_opening, mouth_width
from training.data.phones import align_phones
from training.data.portraits import MouthPose, move_mouth
from training.data.speech import Recordings, prepare_speech
from training.data.split import ClipEntry, portrait_paths, read_clips

Points = NDArray[np.float32]


class Follower(Protocol):
    """Reads one face through a clip; `training.data.faces.FaceFollower` is the real one."""

    def find(self, planes: Planes, /) -> Points | None:
        """Landmarks [478, 2] x, y in pixels, or None without a face; called in order of time."""

    def blendshapes(self) -> NDArray[np.float32]:
        """MediaPipe's 52 weights of the face last found."""

    def smooth(self, pts_ns: int, landmarks: Points, /) -> Points:
        """The landmarks that crop and paste see."""


SIZE_PX = 96
OPENINGS = (0.0, 0.012, 0.025, 0.04, 0.055, 0.07, 0.09, 0.11, 0.13, 0.16, 0.19, 0.23, 0.28)
WIDTH_SCALES = (0.84, 0.95, 1.03)
# Warped at twice the final size, then averaged down: no jagged lips.
PORTRAIT_OVERSAMPLING = 2


def prepare(
    material: Path,
    cache: Path,
    follower: Callable[[], Follower],
    say: Callable[[str], None],
    recordings: Sequence[Recordings] = (),
    crop_px: int = SIZE_PX,
) -> None:
    """Build the cache.

    Args:
        material: Folder that `configs/clips.toml` is relative to.
        cache: Folder to write to.
        follower: Makes a fresh follower; called once per clip.
        say: Takes one line of progress.
        recordings: Further speech with words.
        crop_px: Side of the crops; the network's.

    Raises:
        MaterialError, ConfigError: A clip is missing or unreadable, or shows no face at all.
    """
    cache.mkdir(parents=True, exist_ok=True)
    taught = prepare_clips(read_clips(material), cache, follower, say, read_limits(), crop_px)
    prepare_speech(material, cache, taught, say, recordings)
    prepare_portraits(portrait_paths(material), cache, follower, say, crop_px)


def prepare_clips(
    entries: Sequence[ClipEntry],
    cache: Path,
    follower: Callable[[], Follower],
    say: Callable[[str], None],
    limits: Limits,
    crop_px: int = SIZE_PX,
) -> list[CachedClip]:
    """Write every clip that the filters let pass, and split.json with all of them.

    Returns:
        What may be trained on, without its pictures.

    Raises:
        MaterialError: A clip is missing or unreadable, or shows no face at all.
    """
    cover = MouthCoverNetwork()
    rows: list[dict[str, object]] = []
    taught: list[CachedClip] = []
    for entry in entries:
        clip = prepare_clip(entry, follower(), crop_px)
        row = split_row(clip, quality_of(clip, cover.hidden_share), limits)
        rows.append(row)
        if "left_out" in row:
            say(f"{entry.name}: left out: {row['left_out']}")
            continue
        save_clip(cache, clip)
        say(f"{entry.name}: {len(clip.crops)} frames, opening {clip.opening.mean():.3f} +- {clip.opening.std():.3f}")
        taught += [replace(clip, crops=clip.crops[:0])] if entry.split == "train" else []
    save_split(cache, rows)
    return taught


def split_row(clip: CachedClip, quality: ClipQuality, limits: Limits) -> dict[str, object]:
    """What split.json says of a clip: `left_out` only where there is a reason, `offset_ms` null where not measured."""
    row: dict[str, object] = {"name": clip.name, "person": clip.person, "split": clip.split, "frames": len(clip.crops)}
    row["offset_ms"] = quality.offset.ms if quality.offset.measured(limits) else None
    reason = quality.failing(limits)
    return {**row, "left_out": reason} if reason else row


def prepare_clip(entry: ClipEntry, follower: Follower, crop_px: int = SIZE_PX) -> CachedClip:
    """Cut every face out of one stretch, and find the phones of its words where they are known.

    Raises:
        MaterialError: No sound, no picture, or no face in any frame.
    """
    sound, zero_ns = read_sound(entry.path)
    crops: list[NDArray[np.uint8]] = []
    tracks: list[tuple[int, float, float, Points, NDArray[np.float32], float]] = []
    for pts_ns, planes in read_pictures(entry.path, zero_ns):
        if not entry.start_s <= pts_ns / NS_PER_S < entry.end_s:
            continue
        landmarks = follower.find(planes)
        if landmarks is None:
            continue
        smooth = follower.smooth(pts_ns, landmarks)
        crop, inside = margin_crop(planes, smooth, crop_px)
        crops.append(crop)
        mouth = mouth_opening(landmarks), mouth_width(landmarks)
        tracks.append((pts_ns, *mouth, inside, follower.blendshapes(), source_side_px(smooth)))
    if not crops:
        raise MaterialError(f"{entry.path} shows no face; remove it from clips.toml")
    phones = align_phones(sound, entry.words) if entry.words else None
    pts, opening, width, points, blendshapes, sides_px = zip(*tracks, strict=True)
    return CachedClip(
        name=entry.name,
        person=entry.person,
        split=entry.split,
        crops=np.stack(crops),
        pts_ns=np.array(pts, np.int64) + round(entry.sound_late_ms * 1e6),
        mel=mel_spectrogram(sound),
        opening=np.array(opening, np.float32),
        width=np.array(width, np.float32),
        landmarks=np.stack(points),
        blendshapes=np.stack(blendshapes),
        face_px=np.array(sides_px, np.float32),
        phones=tuple(phones or ()),
    )


def source_side_px(landmarks: Points) -> float:
    """Side of the product's crop in pixels of the picture that the landmarks lie in."""
    return 1 / float(np.linalg.norm(crop_transform(landmarks, 1)[:, 0]))


def margin_crop(
    planes: Planes, landmarks: Points, crop_px: int = SIZE_PX, scale: int = 1
) -> tuple[NDArray[np.uint8], Points]:
    """The product's crop with a margin, and the landmarks in the crop without it.

    Args:
        planes: Y, U, V.
        landmarks: [478, 2] in pixels of the picture.
        crop_px: Side of the product's crop.
        scale: 1, or an oversampling factor for crop and margin alike.

    Returns:
        uint8 RGB [M, M, 3] with M = scale * (crop_px + 2 * margin), and [478, 2] in crop pixels without margin.
    """
    to_crop = crop_transform(landmarks, crop_px * scale)
    inside = in_crop(landmarks, to_crop)
    wide = to_crop.copy()
    wide[:, 2] += margin_px(crop_px) * scale
    size = scale * (crop_px + 2 * margin_px(crop_px))
    return crop_face(planes, wide, size, BT601_LIMITED), inside


def prepare_portraits(
    paths: list[Path], cache: Path, follower: Callable[[], Follower], say: Callable[[str], None], crop_px: int
) -> None:
    """Write every portrait in every pose; portraits without a face are left out and counted."""
    poses = [MouthPose(opening, scale) for scale in WIDTH_SCALES for opening in OPENINGS]
    names: list[str] = []
    pictures: list[NDArray[np.uint8]] = []
    for number, path in enumerate(paths):
        moved = portrait_poses(path, follower(), poses, np.random.default_rng(number), crop_px)
        if moved is not None:
            names.append(path.stem)
            pictures.append(moved)
    if not pictures:
        return
    np.save(cache / "portraits.npy", np.stack(pictures))
    index = {
        "names": names,
        "openings": [each.opening for each in poses],
        "width_scales": [each.width_scale for each in poses],
    }
    (cache / "portraits.json").write_text(json.dumps(index) + "\n", encoding="utf-8")
    say(f"portraits: {len(names)} of {len(paths)} with a face, {len(poses)} mouth poses each")


def portrait_poses(
    path: Path, follower: Follower, poses: list[MouthPose], rng: np.random.Generator, crop_px: int = SIZE_PX
) -> NDArray[np.uint8] | None:
    """One portrait in all poses, uint8 RGB [V, M, M, 3], or None without a face."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise MaterialError(f"{path} cannot be read as a picture")
    picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    planes = rgb_to_i420(picture, BT601_LIMITED)
    landmarks = follower.find(planes)
    if landmarks is None:
        return None
    crop, inside = margin_crop(planes, landmarks, crop_px, PORTRAIT_OVERSAMPLING)
    teeth = float(rng.uniform(0.0, 0.06))
    points = inside + margin_px(crop_px) * PORTRAIT_OVERSAMPLING
    size = (crop_px + 2 * margin_px(crop_px),) * 2
    moved = (move_mouth(crop, points, pose, teeth) for pose in poses)
    return np.stack([cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in moved])
