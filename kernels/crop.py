"""The square picture of a face that the generators see, and where it lies in the frame.

Training and serving share this geometry. It is held by points of the skull,
so that an opening jaw moves inside the crop and never moves the crop: upright
eyes, the nose base in the middle, and below it room for a jaw opened wide, so
that rows from S // 2 on hold everything the lips can do.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.warp import Map, halved, invert, merged, reached, rescaled, shifted, shrink_factors, warp, warp_definition
from kernels.yuv import BT601_LIMITED, Colour, Planes, Region, Rgb, check_planes, yuv_to_rgb, yuv_to_rgb_matrix

Landmarks = NDArray[np.float32]

# Points of MediaPipe's face mesh that the jaw does not move, where they lie in the unit square (x, y), and their
# weight; temples slide along the outline of a turned head and count half. Mean over 447 portraits of members of the
# US Congress (public domain), landmarks by MediaPipe's face_landmarker.task, aligned to each other by similarities
# (generalised Procrustes), mirrored halves averaged. One side is 3.3 distances between the centres of the eyes: on
# talking people the chin is 1.2 (median) to 1.46 (widest) of them below the nose base, and a jaw opened all the way
# lowers it by 0.43 (ICT-FaceKit, shape jawOpen), which ends at the crop's lower edge.
STABLE = (
    (33, 0.2830, 0.2662, 1.0),  # right eye, outer corner
    (133, 0.4140, 0.2759, 1.0),  # right eye, inner corner
    (362, 0.5860, 0.2759, 1.0),  # left eye, inner corner
    (263, 0.7170, 0.2662, 1.0),  # left eye, outer corner
    (168, 0.5000, 0.2562, 1.0),  # nose bridge, between the eyes
    (6, 0.5000, 0.2935, 1.0),  # nose bridge, below
    (2, 0.5000, 0.5000, 1.0),  # nose base
    (98, 0.4049, 0.4787, 1.0),  # right ala
    (327, 0.5951, 0.4787, 1.0),  # left ala
    (64, 0.3958, 0.4617, 1.0),  # right ala, outside
    (294, 0.6042, 0.4617, 1.0),  # left ala, outside
    (127, 0.1427, 0.2852, 0.5),  # right temple
    (356, 0.8573, 0.2852, 0.5),  # left temple
)
"""Landmark, x, y, weight."""
_INDICES = np.array([row[0] for row in STABLE])
_WEIGHTS = np.array([row[3] for row in STABLE]) / sum(row[3] for row in STABLE)
# Points as complex numbers x + iy: a similarity is then z -> a z + b.
_TEMPLATE = np.array([complex(row[1], row[2]) for row in STABLE])
UPRIGHT_SHARE = 1.3
"""Side of the upright square around a face, of its crop's side: forehead, chin and ears, of a tilted head too."""

# Square pixels; eyes a twentieth of a pixel apart.
_SMALLEST_SPREAD = 1e-3
_TEMPLATE_MEAN = complex(_WEIGHTS @ _TEMPLATE)
_WEIGHTED_TEMPLATE = _WEIGHTS * (_TEMPLATE - _TEMPLATE_MEAN)


def crop_transform(landmarks: Landmarks, size: int) -> NDArray[np.float32]:
    """Fit the crop to a face.

    Args:
        landmarks: float32 [478, 2], MediaPipe's face mesh in pixels of the frame, x first.
        size: Side of the crop in pixels.

    Returns:
        float32 [2, 3], maps pixels of the frame to pixels of the crop: turned, scaled and shifted, never sheared.

    Raises:
        ValueError: The landmarks are not finite, or all in one place.

    Source:
        S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991,
        in the plane, with weights.
    """
    points = landmarks[_INDICES].astype(np.float64).view(np.complex128)[:, 0]
    if not np.isfinite(points).all():
        raise ValueError("the face's landmarks are not finite")
    mean = complex(_WEIGHTS @ points)
    centred = points - mean
    spread = float(_WEIGHTS @ (centred.real**2 + centred.imag**2))
    if spread < _SMALLEST_SPREAD:
        raise ValueError(f"the face's landmarks spread over {spread} square pixels, which is no face")
    a = complex(np.conj(centred) @ _WEIGHTED_TEMPLATE) / spread * size
    b = _TEMPLATE_MEAN * size - 0.5 * (1 + 1j) - a * mean
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]], np.float32)


def upright_region(landmarks: Landmarks, share: float = UPRIGHT_SHARE) -> Region:
    """Lay an upright square around a face, for what takes rectangles of the frame: the crop's centre, and of its side.

    Args:
        landmarks: float32 [478, 2], as `crop_transform` takes them.
        share: Of the crop's side.

    Returns:
        Luma pixels with even corners, so that chroma has no fringe; it may leave the frame.

    Raises:
        ValueError: See `crop_transform`.
    """
    # In a crop of one pixel, its centre is the origin.
    to_centre = crop_transform(landmarks, 1).astype(np.float64)
    turned = complex(to_centre[0, 0], to_centre[1, 0])
    centre = -complex(to_centre[0, 2], to_centre[1, 2]) / turned
    half = share / abs(turned) / 2.0
    edges = (centre.imag - half, centre.real - half, centre.imag + half, centre.real + half)
    return Region(*(2 * round(edge / 2.0) for edge in edges))


def in_crop(landmarks: Landmarks, to_crop: NDArray[np.float32]) -> Landmarks:
    """Points float32 [n, 2], x first, in pixels of the crop that the map [2, 3] leads to."""
    return np.asarray(landmarks @ to_crop[:, :2].T + to_crop[:, 2], np.float32)


def crop_face(planes: Planes, to_crop: NDArray[np.float32], size: int, colour: Colour = BT601_LIMITED) -> Rgb:
    """Cut a face out of a frame.

    The planes are resampled first and converted to RGB at the crop's size: conversion is linear, so this is the
    conversion of the region of interest followed by the warp, without touching pixels that the crop does not keep.

    Args:
        planes: uint8 Y [H, W], U and V [ceil(H/2), ceil(W/2)], may be strided.
        to_crop: float32 [2, 3], from `crop_transform`.
        size: Side S of the crop in pixels.
        colour: Matrix and range of the planes.

    Returns:
        uint8 RGB [S, S, 3]; the picture's border is repeated outside it.

    Raises:
        ValueError: The planes' sizes do not fit each other, or `to_crop` has no inverse.
    """
    check_planes(planes)
    to_luma = invert(to_crop)
    to_chroma = on_chroma_grid(to_luma)
    rows, columns = reached(to_chroma, size, size, *planes[1].shape)
    from_chroma = shifted(to_chroma, -columns.start, -rows.start)
    blue, red = (plane[rows, columns] for plane in planes[1:])
    if shrink_factors(to_luma)[0] == 2:
        # Luma is averaged over 2 x 2 pixels, and then lies on chroma's grid.
        yuv = warp(merged(halved(planes[0], rows, columns), blue, red), from_chroma, size, size)
    else:
        yuv = warp(merged(blue, blue, red), from_chroma, size, size)
        yuv[..., 0] = warp(planes[0], to_luma, size, size)
    return yuv_to_rgb(np.asarray(cv2.cvtColor(yuv, cv2.COLOR_BGRA2BGR), np.uint8), colour)


def on_chroma_grid(to_luma: Map) -> Map:
    """Turn a map to luma pixels into one to chroma samples, each in the middle of its 2 x 2 luma pixels."""
    return rescaled(to_luma, to_pixel=2.0)


def generator_input(identity: Rgb, target: Rgb, mask_row: int | None = None) -> NDArray[np.float32]:
    """Stack what the generator sees.

    Args:
        identity: uint8 RGB [S, S, 3], whole.
        target: uint8 RGB [S, S, 3]; its rows from `mask_row` on are hidden.
        mask_row: None for S // 2, mouth and jaw; S hides nothing.

    Returns:
        float32 [6, S, S] in [0, 1]: identity's R, G, B, then the target's with the hidden rows 0.

    Source:
        `batch_inference.py` in Rudrabha/LipGAN (identity first, masked second; Wav2Lip has them reversed).
    """
    side = identity.shape[0]
    stacked = np.empty((6, side, side), np.float32)
    upper = side // 2 if mask_row is None else mask_row
    for i, (whole, hidden) in enumerate(zip(cv2.split(identity), cv2.split(target), strict=True)):
        np.multiply(whole, _TO_UNIT, out=stacked[i])
        np.multiply(hidden[:upper], _TO_UNIT, out=stacked[3 + i, :upper])
    stacked[3:, upper:] = 0.0
    return stacked


def drawn_picture(output: NDArray[np.float32]) -> Rgb:
    """Turn what a generator drew, float32 [3, S, S] in [0, 1], into uint8 RGB [S, S, 3], rounded."""
    planes = cv2.convertScaleAbs(cv2.max(output.reshape(-1, output.shape[2]), 0.0), alpha=255.0).reshape(output.shape)
    return np.asarray(cv2.merge(list(planes)), np.uint8).reshape(*output.shape[1:], 3)


_TO_UNIT = np.float32(1.0 / 255.0)


def crop_face_definition(
    planes: Planes, to_crop: NDArray[np.float32], size: int, colour: Colour = BT601_LIMITED
) -> NDArray[np.float64]:
    """Say in NumPy what `crop_face` means, before rounding: float64 in [0, 255]."""
    to_luma = invert(to_crop)
    maps = (to_luma, on_chroma_grid(to_luma), on_chroma_grid(to_luma))
    parts = [warp_definition(plane, map_, size, size) for plane, map_ in zip(planes, maps, strict=True)]
    yuv1 = np.stack([*parts, np.ones((size, size))], axis=-1)
    return np.clip(yuv1 @ yuv_to_rgb_matrix(colour).T, 0.0, 255.0)
