"""Mouths as a viewer gets to see them: drawn from a frame and put back into it, as `stream.render` does.

The frames are the cache's crops with their margin, as I420. A generator of another size than the cache's is fed and
pasted through a scaled map, so that generators of two sizes can be measured on the same frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.crop import crop_face, in_crop
from kernels.identity import IdentityBank
from kernels.paste import mouth_mask, paste_face, resting_mask
from kernels.warp import invert
from kernels.yuv import Planes, i420_to_rgb, rgb_to_i420
from training.data.cache import CachedClip, size_of
from training.glance import draw, shut
from training.subject import Subject

Pictures = NDArray[np.uint8]
Points = NDArray[np.float32]
Mel = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """What a camera saw of one face.

    Attributes:
        frames: uint8 RGB [T, M, M, 3], each through I420 and back, as a decoder would give it.
        landmarks: float32 [T, 478, 2] in pixels of the frames.
        pts_ns: int64 [T].
        size_px: Side of the product's crop in the frames' own pixels; it lies in the middle.
    """

    frames: Pictures
    landmarks: Points
    pts_ns: NDArray[np.int64]
    size_px: int

    @property
    def margin_px(self) -> int:
        """Pixels around the product's crop."""
        return int(self.frames.shape[1] - self.size_px) // 2

    def inner(self, pictures: Pictures) -> Pictures:
        """The product's crop out of pictures of the frames' size, [..., S, S, 3]."""
        inside = slice(self.margin_px, self.margin_px + self.size_px)
        return pictures[..., inside, inside, :]

    def to_crop(self, size_px: int) -> NDArray[np.float32]:
        """Map from the frames' pixels to those of a crop with `size_px` a side."""
        scale = size_px / self.size_px
        shift = (0.5 - self.margin_px) * scale - 0.5
        return np.array([[scale, 0, shift], [0, scale, shift]], np.float32)


def footage_of(clip: CachedClip) -> Footage:
    """A cached clip as frames of a camera."""
    size_px = size_of(clip.crops)
    margin = (clip.crops.shape[1] - size_px) // 2
    frames = np.stack([i420_to_rgb(rgb_to_i420(each)) for each in clip.crops])
    return Footage(frames, clip.landmarks + np.float32(margin), clip.pts_ns, size_px)


def reshown(footage: Footage, frames: Pictures, landmarks: Points) -> Footage:
    """The same footage with other pictures and what is read off them."""
    through = np.stack([i420_to_rgb(rgb_to_i420(each)) for each in frames])
    return replace(footage, frames=through, landmarks=landmarks.astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """One generator serving one stretch of footage.

    Attributes:
        subject: The generator.
        footage: What it is shown.
        originals: uint8 RGB [T, S, S, 3], the crops, S its own size.
        shown: uint8 RGB [T, S, S, 3], what it is fed of them: themselves, or with their mouths shut for an editor.
        identities: uint8 RGB [T, S, S, 3], the pictures that its identity policy chooses.
    """

    subject: Subject
    footage: Footage
    originals: Pictures
    shown: Pictures
    identities: Pictures

    def generated(self, mel: Mel) -> Pictures:
        """Draw the first crops with mel windows [n, 1, 80, columns]; uint8 RGB [n, S, S, 3]."""
        count = len(mel)
        return draw(self.subject.paint, self.identities[:count], self.shown[:count], mel, self.subject.mask_row)

    def pasted(self, generated: Pictures) -> tuple[Pictures, int]:
        """Put generated crops [n, S, S, 3] into the first frames.

        Returns:
            uint8 RGB [n, M, M, 3], and how many bytes of the planes changed where the mask does not reach.
        """
        pictures, strayed = [], 0
        to_crop = self.footage.to_crop(self.subject.size_px)
        for frame, points, original, crop in zip(
            self.footage.frames, self.footage.landmarks, self.originals, generated, strict=False
        ):
            planes = rgb_to_i420(frame)
            before = planes[0].copy(), planes[1].copy(), planes[2].copy()
            at = in_crop(points, to_crop)
            mask, resting = (each(at, self.subject.size_px) for each in (mouth_mask, resting_mask))
            paste_face(planes, crop, original, to_crop, mask, resting=resting)
            strayed += _strayed(before, planes, _reached(mask, to_crop, frame.shape[0]))
            pictures.append(i420_to_rgb(planes))
        return np.stack(pictures), strayed

    def bare(self, generated: Pictures) -> Pictures:
        """The generated crops themselves, laid over the first frames as squares; uint8 RGB [n, M, M, 3]."""
        pictures = self.footage.frames[: len(generated)].copy()
        size = (self.footage.size_px,) * 2
        scaled = [cv2.resize(each, size, interpolation=cv2.INTER_CUBIC) for each in generated]
        self.footage.inner(pictures)[...] = np.stack(scaled)
        return pictures


def serve(subject: Subject, footage: Footage) -> Service:
    """Crop the footage and choose the identity pictures, frame by frame, as serving would have."""
    to_crop = footage.to_crop(subject.size_px)
    originals = np.stack([crop_face(rgb_to_i420(each), to_crop, subject.size_px) for each in footage.frames])
    points = in_crop(footage.landmarks, to_crop)
    shown = shut(originals, points) if subject.edits else originals
    if subject.identity == "same_frame":
        return Service(subject, footage, originals, shown, originals)
    bank: IdentityBank[NDArray[np.uint8]] = IdentityBank(opened=subject.identity == "open_mouth")
    seen = zip(footage.pts_ns.tolist(), points, originals, strict=True)
    return Service(subject, footage, originals, shown, np.stack([bank.choose(*each) for each in seen]))


def _reached(mask: NDArray[np.float32], to_crop: NDArray[np.float32], side_px: int) -> NDArray[np.bool_]:
    """Pixels of the frame that an interpolated mask can touch, [M, M]; exactly the mask where nothing is scaled."""
    weighs = (np.rint(mask * 255) > 0).astype(np.uint8)
    to_frame = invert(to_crop)
    if to_frame[0, 0] != 1.0:
        # Interpolation reaches two pixels of the crop further.
        weighs = cv2.dilate(weighs, np.ones((5, 5), np.uint8))
    return np.asarray(cv2.warpAffine(weighs, to_frame, (side_px, side_px), flags=cv2.INTER_NEAREST) > 0)


def _strayed(before: Planes, after: Planes, reached: NDArray[np.bool_]) -> int:
    """Bytes that differ where the mask does not reach."""
    blocks = reached.reshape(reached.shape[0] // 2, 2, -1, 2).any(axis=(1, 3))
    places = (reached, blocks, blocks)
    return sum(int(((a != b) & ~place).sum()) for a, b, place in zip(before, after, places, strict=True))
