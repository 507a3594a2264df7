"""Clips of synthetic heads in the form of real ones: crops, sound and an exact mouth, ready for the sampler.

A clip is a function of the cache, the portraits and its number, so that clips can be made on several cores, in any
order, and a broken run goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.crop import crop_transform, in_crop
from kernels.mel import COLUMN_NS, column_at
from kernels.yuv import BT601_LIMITED, rgb_to_i420
from training.data.cache import TRACK_HZ, CachedClip, load_speech, save_clip
from training.data.clips import NS_PER_S, MaterialError, Planes
from training.data.head_model import Floats, HeadModel, load_head_model
from training.data.head_motion import talking
from training.data.head_renderer import HeadRenderer
from training.data.heads import Head, View, make_head, varied
from training.data.mouth import mouth_opening, mouth_width
from training.data.phones import Phone
from training.data.prepare import Follower, margin_crop
from training.data.split import portrait_paths

Picture = NDArray[np.uint8]

HEADS_FOLDER, MESH_FOLDER = "heads", "mesh"
RATE_HZ = 25
CLIP_FRAMES = 50
# Sound kept before and after a clip's pictures, in mel columns: more than any window with its tempo changes.
AROUND_COLUMNS = 64
# Portraits with wider mouths show more of the inside than the lips' own colour can replace; heads that are fitted
# worse, in shares of the outer-eye distance, are turned away or covered.
WIDEST_PORTRAIT, WORST_FIT = 0.15, 0.05
# Deviation of the identities that are added, in the model's own; half of the clips keep the portrait's face.
VARIED = 0.5
MOST_GRAIN = 5.0
# Quantisers of MPEG-4: 2 is hardly visible, 12 is blocky.
QUANTISERS = (2, 12)


@dataclass(frozen=True, slots=True)
class Line:
    """Something to say.

    Attributes:
        mel: float32 [80, columns] of the whole recording.
        mouths: float32 [T, 2] at `TRACK_HZ`, opening above the closed mouth and width over the person's own.
        phones: Where known; they add the tongue, and how lips are held beyond opening and width.
    """

    mel: Floats
    mouths: Floats
    phones: Sequence[Phone] = ()


def head_clip(
    renderer: HeadRenderer,
    model: HeadModel,
    head: Head,
    line: Line,
    rng: np.random.Generator,
    *,
    name: str,
    person: str,
    crop_px: int,
    frames: int = CLIP_FRAMES,
    other: Line | None = None,
) -> CachedClip:
    """Let a head say a stretch of a line, and film it; and once more with the lips saying something else.

    Args:
        renderer: Draws.
        model: The mesh.
        head: Who.
        line: What.
        rng: Decides the stretch, the motion and the camera.
        name: The clip's.
        person: Whose portrait.
        crop_px: Side of the product's crop.
        frames: Pictures, at `RATE_HZ`; fewer where the line is shorter.
        other: What the same pictures say in the clip's `others`: light, pose and grain are the same to the pixel.

    Returns:
        A clip of split "train" whose openings, widths and landmarks are those of the geometry.
    """
    count = min(frames, *(_length(each) for each in (line, other) if each is not None))
    times_s = _stretch(line, count, rng)
    other_times_s = _stretch(other, count, rng) if other is not None else times_s
    pts_ns = np.round(times_s * NS_PER_S).astype(np.int64)
    first = max(0, column_at(int(pts_ns[0])) - AROUND_COLUMNS)
    seed = rng.integers(2**63)

    def filmed(said: Line, at_s: NDArray[np.float64]) -> tuple[list[View], list[Planes]]:
        alike = np.random.default_rng(seed)
        mouths = said.mouths[np.round(at_s * TRACK_HZ).astype(int)]
        moments = talking(model, head, mouths, [_said(said.phones, at) for at in at_s], RATE_HZ, alike)
        views = [renderer.draw(head, each) for each in moments]
        return views, film([view.picture for view in views], alike)

    views, pictures = filmed(line, times_s)
    crops, inside = zip(
        *(margin_crop(planes, view.landmarks, crop_px) for planes, view in zip(pictures, views, strict=True)),
        strict=True,
    )
    others = other_landmarks = None
    if other is not None:
        other_views, pictures = filmed(other, other_times_s)
        # Cut where the first mouth is: only the lips may differ.
        others = np.stack(
            [margin_crop(planes, view.landmarks, crop_px)[0] for planes, view in zip(pictures, views, strict=True)]
        )
        other_landmarks = np.stack(
            [
                in_crop(each.landmarks, crop_transform(view.landmarks, crop_px))
                for each, view in zip(other_views, views, strict=True)
            ]
        )
    return CachedClip(
        name=name,
        person=person,
        split="train",
        crops=np.stack(crops),
        pts_ns=pts_ns - first * COLUMN_NS,
        mel=line.mel[:, first : column_at(int(pts_ns[-1])) + AROUND_COLUMNS].copy(),
        opening=np.array([view.opening for view in views], np.float32),
        width=np.array([mouth_width(view.landmarks) for view in views], np.float32),
        landmarks=np.stack(inside),
        others=others,
        other_landmarks=other_landmarks,
    )


def _length(line: Line) -> int:
    return len(line.mouths) * RATE_HZ // TRACK_HZ


def _stretch(line: Line, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Times of `count` pictures somewhere in a line, seconds."""
    return (int(rng.integers(_length(line) - count + 1)) + np.arange(count)) / RATE_HZ


def _said(phones: Sequence[Phone], at_s: float) -> str:
    return next((each.name for each in phones if each.start_s <= at_s < each.end_s), "")


def film(pictures: Sequence[Picture], rng: np.random.Generator) -> list[Planes]:
    """Grain and, two times in three, the blocks of an MPEG-4 encoder; planes of as many pictures."""
    grain = float(rng.uniform(0, MOST_GRAIN))
    noisy = [_grained(each, grain, rng) for each in pictures]
    if rng.random() < 1 / 3:
        return [rgb_to_i420(each, BT601_LIMITED) for each in noisy]
    return _coded(noisy, int(rng.integers(*QUANTISERS)))


def _grained(picture: Picture, grain: float, rng: np.random.Generator) -> Picture:
    noise = rng.standard_normal(picture.shape[:2], np.float32)
    # A sensor's grain after its own de-noising is about a pixel wide.
    noise = cv2.GaussianBlur(noise, (0, 0), 0.7) * (2 * grain)
    return np.asarray(np.clip(picture + noise[..., None], 0, 255), np.uint8)


def _coded(pictures: Sequence[Picture], quantiser: int) -> list[Planes]:
    """Through MPEG-4 at a constant quantiser; the sides must be even."""
    height, width = pictures[0].shape[:2]
    coder: Any = av.CodecContext.create("mpeg4", "w")
    coder.width, coder.height, coder.pix_fmt = width, height, "yuv420p"
    coder.framerate, coder.time_base = Fraction(RATE_HZ), Fraction(1, RATE_HZ)
    coder.qmin = coder.qmax = quantiser
    # Enough for every quantiser: the rate control would drop below it otherwise.
    coder.bit_rate = 50_000_000
    coder.thread_count = 1
    decoder: Any = av.CodecContext.create("mpeg4", "r")
    planes: list[Planes] = []
    for number, picture in enumerate([*pictures, None]):
        for packet in coder.encode(None if picture is None else _frame(picture, number)):
            planes += [_unpacked(frame) for frame in decoder.decode(packet)]
    planes += [_unpacked(frame) for frame in decoder.decode(None)]
    return planes


def _frame(picture: Picture, number: int) -> av.VideoFrame:
    y, u, v = rgb_to_i420(picture, BT601_LIMITED)
    packed = np.concatenate([y.ravel(), u.ravel(), v.ravel()]).reshape(-1, picture.shape[1])
    frame = av.VideoFrame.from_ndarray(packed, format="yuv420p")
    frame.pts, frame.time_base = number, Fraction(1, RATE_HZ)
    return frame


def _unpacked(frame: av.VideoFrame) -> Planes:
    packed = np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8).ravel()
    luma, half = frame.height * frame.width, (frame.height // 2, frame.width // 2)
    chroma = packed[luma:].reshape(2, *half)
    return packed[:luma].reshape(frame.height, frame.width).copy(), chroma[0].copy(), chroma[1].copy()


def prepare_heads(
    material: Path,
    cache: Path,
    follower: Callable[[], Follower],
    say: Callable[[str], None],
    *,
    clips: range,
    crop_px: int,
) -> None:
    """Add synthetic clips to a cache that has speech.

    Args:
        material: Folder that `configs/clips.toml` is relative to, with the mesh in `mesh`.
        cache: Folder that `prepare` has written.
        follower: Makes a fresh follower, for the portraits' landmarks.
        say: Takes one line of progress.
        clips: Numbers of the clips to make; those that are there already are left alone.
        crop_px: Side of the crops.

    Raises:
        MaterialError: The mesh, the portraits or the cache's speech are missing, or there is nothing to draw with.
    """
    lines = load_speech(cache)
    paths = portrait_paths(material)
    if not lines or not paths:
        missing = f"{cache} has no speech" if not lines else f"{material} has no portraits"
        raise MaterialError(f"{missing}; heads need both. Build the cache first: python -m training prepare")
    folder = cache / HEADS_FOLDER
    folder.mkdir(exist_ok=True)
    model = load_head_model(material / MESH_FOLDER)
    with HeadRenderer(model) as renderer:
        for number in clips:
            if any(folder.glob(f"head-{number:06d}-*.npz")):
                continue
            rng = np.random.default_rng(number)
            path, head = _draw_head(model, paths, follower, rng)
            speech, other = (lines[int(each)] for each in rng.integers(len(lines), size=2))
            name = f"head-{number:06d}-{path.stem}"
            clip = head_clip(
                renderer,
                model,
                head,
                Line(speech.mel, speech.mouths, speech.phones),
                rng,
                name=name,
                person=path.stem,
                crop_px=crop_px,
                other=Line(other.mel, other.mouths, other.phones),
            )
            save_clip(folder, clip)
            say(f"{name}: {speech.name}, {len(clip.crops)} frames, opening {clip.opening.mean():.3f}")


def load_heads(cache: Path) -> list[CachedClip]:
    """Read every synthetic clip, none where the cache has none."""
    return list(each_head(cache))


def each_head(cache: Path) -> Iterator[CachedClip]:
    """The same one by one, for who keeps less of them than there is."""
    for path in sorted((cache / HEADS_FOLDER).glob("[!.]*.npz")):
        with np.load(path) as fields:
            arrays = {key: fields[key] for key in fields.files}
        yield CachedClip(path.stem, path.stem.split("-", 2)[2], "train", **arrays)


def _draw_head(
    model: HeadModel, paths: Sequence[Path], follower: Callable[[], Follower], rng: np.random.Generator
) -> tuple[Path, Head]:
    """A portrait that can be used, on its own face or another."""
    for index in rng.permutation(len(paths)):
        portrait = cv2.imread(str(paths[index]), cv2.IMREAD_COLOR)
        if portrait is None:
            raise MaterialError(f"{paths[index]} cannot be read as a picture")
        portrait = cv2.cvtColor(portrait, cv2.COLOR_BGR2RGB)
        landmarks = follower().find(rgb_to_i420(portrait, BT601_LIMITED))
        if landmarks is None or mouth_opening(landmarks) > WIDEST_PORTRAIT:
            continue
        head = make_head(model, np.asarray(portrait, np.uint8), landmarks)
        if head.fit.residual_px > WORST_FIT * float(np.linalg.norm(landmarks[33] - landmarks[263])):
            continue
        if rng.random() < 0.5:
            head = varied(model, head, rng.normal(0, VARIED, len(model.identities)).astype(np.float32))
        return paths[index], head
    raise MaterialError("no portrait shows a face whose mouth is closed enough to be moved")
