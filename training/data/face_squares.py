"""Photos cut to the squares around their faces: what a filter for the face alone is shown when it is served.

A face whose square leaves the photo has the photo's border repeated there, as it has live.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from kernels.crop import upright_region
from kernels.frame_tensor import frame_to_tensor
from kernels.yuv import rgb_to_i420
from models.landmarks import LandmarkNetworks
from training.data.clips import MaterialError
from training.data.pair_makers import PairMaker, Rgb, same, unchanged
from training.data.photo_pairs import read_photos


def write_face_squares(networks: LandmarkNetworks, folders: Sequence[Path], out: Path, size_px: int) -> tuple[int, int]:
    """Write the square around the face of every photo, and of pictures of every clip, as PNG under the photo's name.

    Returns:
        How many were written, and in how many there is no face or which cannot be decoded.

    Raises:
        MaterialError: A folder is not there, or no photo in them has a face.
    """
    photos = read_photos(folders, PairMaker("photos as they are", same, unchanged))
    written = 0
    for name, pair in zip(photos.names, photos.pairs, strict=True):
        square = face_square(networks, pair.source, size_px)
        if square is not None:
            path = out / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), square[..., ::-1])
            written += 1
    if not written:
        raise MaterialError(f"no photo in {', '.join(map(str, folders))} has a face")
    return written, len(photos.names) - written + len(photos.left_out)


def face_square(networks: LandmarkNetworks, photo: Rgb, size_px: int) -> Rgb | None:
    """The square around the largest face, uint8 [size_px, size_px, 3], or None without one."""
    planes = rgb_to_i420(photo)
    meshes = networks.find(planes)
    if not meshes:
        return None
    region = upright_region(meshes[0].points[:, :2])
    shown = frame_to_tensor(planes, (size_px, size_px), region=region)
    return np.ascontiguousarray(np.rint((shown.transpose(1, 2, 0) + 1.0) * 127.5).astype(np.uint8))
