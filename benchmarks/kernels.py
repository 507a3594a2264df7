"""Pixels and sound around the networks, per operation, on one core.

Each output is held against its NumPy definition before it is timed. Beside
them, in the same run: the route that takes the whole frame through RGB.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import RESULTS, Measurement, measure, rows, table, write_result
from benchmarks.pictures import copied, open_face, smooth_planes, waves
from kernels.crop import crop_face, crop_face_definition, crop_transform, drawn_picture, generator_input, in_crop
from kernels.folded_planes import FOLD, folded
from kernels.frame_tensor import (
    Tensor,
    frame_to_tensor,
    frame_to_tensor_definition,
    tensor_to_frame,
    tensor_to_frame_definition,
)
from kernels.mel import StreamingMel, mel_spectrogram, mel_spectrogram_definition, window_at
from kernels.motion import Follower
from kernels.mouth import close_mouth
from kernels.paste import mouth_mask, paste_face, paste_face_definition, resting_mask
from kernels.yuv import Planes, Rgb, i420_to_rgb, rgb_to_i420

_CROP_PX = 192
_OPEN_SHARE = 0.15
# The mean face is 2.36 distances between the eyes wide, from ear to ear.
_WIDTH_IN_EYES = 2.36
_STEP_SAMPLES = 640
# Up to this width, a generator of whole frames has 256 pixels a side.
_SMALL_WIDTH = 640
# How far a picture pans from one to the next.
_PAN_PX = 3


@dataclass(frozen=True, slots=True)
class Scene:
    """A frame with one face, and what all operations before and after the generator may cost there."""

    height: int
    width: int
    face_px: int
    budget_ms: float

    @property
    def name(self) -> str:
        """Size of the picture and width of the face."""
        return f"{self.width}x{self.height} face {self.face_px}"


SCENES = (
    Scene(480, 640, 160, 1.5),
    Scene(480, 640, 200, 1.5),
    Scene(720, 1280, 320, 3.0),
    Scene(720, 1280, 400, 3.0),
)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the operations of one scene are given."""

    planes: Planes
    landmarks: NDArray[np.float32]
    to_crop: NDArray[np.float32]
    crop: Rgb
    generated: Rgb
    in_crop: NDArray[np.float32]
    mask: NDArray[np.float32]

    @property
    def crop_px(self) -> int:
        """Side of the crop."""
        return len(self.crop)

    @property
    def tensor_px(self) -> int:
        """Side of what a generator of whole frames takes."""
        return 256 if self.planes[0].shape[1] <= _SMALL_WIDTH else 512


def prepare(scene: Scene, crop_px: int = _CROP_PX) -> Inputs:
    """Make a frame, a face with its mouth open, and a mouth that differs."""
    planes = smooth_planes(scene.height, scene.width)
    eyes_px = scene.face_px / _WIDTH_IN_EYES
    landmarks = open_face(scene.width / 2, scene.height / 2, eyes_px, _OPEN_SHARE * eyes_px)
    to_crop = crop_transform(landmarks, crop_px)
    crop = crop_face(planes, to_crop, crop_px)
    points = in_crop(landmarks, to_crop)
    generated = np.clip(crop[::-1].astype(np.int16) + 9, 0, 255).astype(np.uint8)
    return Inputs(planes, landmarks, to_crop, crop, generated, points, mouth_mask(points, crop_px))


def check(given: Inputs) -> None:
    """Hold the operations against their definitions; the tests say why the tolerances are what they are."""
    expected = crop_face_definition(given.planes, given.to_crop, given.crop_px)
    np.testing.assert_allclose(given.crop, expected, atol=6.0)
    pasted = copied(given.planes)
    paste_face(pasted, given.generated, given.crop, given.to_crop, given.mask)
    wanted = paste_face_definition(given.planes, given.generated, given.crop, given.to_crop, given.mask)
    for plane, floats in zip(pasted, wanted, strict=True):
        np.testing.assert_allclose(plane, floats, atol=3.0)
    size = (given.tensor_px, given.tensor_px)
    tensor = frame_to_tensor(given.planes, size)
    np.testing.assert_allclose(tensor, frame_to_tensor_definition(given.planes, size), atol=5.0 / 127.5)
    back = copied(given.planes)
    tensor_to_frame(tensor, back, strength=0.5)
    for plane, floats in zip(back, tensor_to_frame_definition(tensor, given.planes, strength=0.5), strict=True):
        np.testing.assert_allclose(plane, floats, atol=1.8)
    sound = _sound(4 * _STEP_SAMPLES)
    np.testing.assert_allclose(mel_spectrogram(sound), mel_spectrogram_definition(sound), atol=1e-4)


def _sound(count: int) -> NDArray[np.float32]:
    return (np.random.default_rng(0).standard_normal(count) * 0.1).astype(np.float32)


def operations(given: Inputs) -> dict[str, Callable[[], object]]:
    """Return each operation by name, ready to run again and again."""
    planes, size = copied(given.planes), given.crop_px
    resting = resting_mask(given.in_crop, size)
    drawn = generator_input(given.generated, given.generated)[:3]
    mel = StreamingMel()
    step = _sound(_STEP_SAMPLES)
    heard = mel_spectrogram(_sound(16_000))
    tensor_size = (given.tensor_px, given.tensor_px)
    tensor = frame_to_tensor(planes, tensor_size)

    def everything() -> None:
        to_crop = crop_transform(given.landmarks, size)
        crop = crop_face(planes, to_crop, size)
        generator_input(crop, close_mouth(crop, given.in_crop), size)
        mel.push(step)
        window_at(heard, 480_000_000)
        mask, resting = mouth_mask(given.in_crop, size), resting_mask(given.in_crop, size)
        paste_face(planes, drawn_picture(drawn), crop, to_crop, mask, resting=resting)

    return {
        "crop_transform": partial(crop_transform, given.landmarks, size),
        "crop_face": partial(crop_face, planes, given.to_crop, size),
        "close_mouth": partial(close_mouth, given.crop, given.in_crop),
        "generator_input": partial(generator_input, given.crop, given.crop, size),
        "drawn_picture": partial(drawn_picture, drawn),
        "mouth_mask": partial(mouth_mask, given.in_crop, size),
        "resting_mask": partial(resting_mask, given.in_crop, size),
        "paste_face": partial(
            paste_face, planes, given.generated, given.crop, given.to_crop, given.mask, resting=resting
        ),
        "frame_to_tensor": partial(frame_to_tensor, planes, tensor_size),
        "baseline: whole frame in RGB to a tensor": partial(_tensor_through_rgb, planes, tensor_size),
        "tensor_to_frame": partial(tensor_to_frame, tensor, planes),
        "tensor_to_frame, half of it": partial(tensor_to_frame, tensor, planes, strength=0.5),
        "baseline: a tensor through RGB to a whole frame": partial(_frame_through_rgb, tensor, planes),
        **_following(*planes[0].shape),
        "mel step": partial(mel.push, step),
        "mel window": partial(window_at, heard, 480_000_000),
        "all before and after": everything,
        "baseline: whole frame in RGB": partial(_through_rgb, planes, given),
    }


def _following(height: int, width: int) -> dict[str, Callable[[], object]]:
    """What a steady filter does before it draws: nothing moved, or all of the picture did."""
    height, width = height // FOLD * FOLD, width // FOLD * FOLD
    before, now = (waves(height, width, right_px=pan_px) for pan_px in (0, _PAN_PX))
    cells = folded((before, before[::2, ::2], before[1::2, 1::2]))
    floats, still, panned = cells.astype(np.float32), Follower(height, width), Follower(height, width)
    panned.find(before, now)
    return {
        "motion, nothing moved": partial(still.find, before, before),
        "motion, all of it moved": partial(panned.find, before, now),
        "folded planes moved along, bytes": partial(panned.moved_cells, cells),
        "folded planes moved along, floats": partial(panned.moved_cells, floats),
    }


def _through_rgb(planes: Planes, given: Inputs) -> Planes:
    """Do what published inference code does: convert the frame, warp, blend all of it in float, convert back."""
    rgb = i420_to_rgb(planes)
    size = (rgb.shape[1], rgb.shape[0])
    cv2.warpAffine(rgb, given.to_crop, (given.crop_px,) * 2, flags=cv2.INTER_LINEAR)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    generated = cv2.warpAffine(given.generated, given.to_crop, size, flags=flags)
    weights = cv2.warpAffine(given.mask, given.to_crop, size, flags=flags)
    return rgb_to_i420(np.asarray(cv2.blendLinear(generated, rgb, weights, 1.0 - weights), np.uint8))


def _tensor_through_rgb(planes: Planes, size: tuple[int, int]) -> Tensor:
    """Do what published inference code does: convert the frame, shrink it, and scale it in float."""
    rgb = cv2.resize(i420_to_rgb(planes), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(rgb.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1.0, np.float32)


def _frame_through_rgb(tensor: Tensor, planes: Planes) -> Planes:
    levels = np.clip((tensor.transpose(1, 2, 0) + 1.0) * 127.5, 0.0, 255.0).astype(np.uint8)
    size = (planes[0].shape[1], planes[0].shape[0])
    return rgb_to_i420(np.asarray(cv2.resize(levels, size, interpolation=cv2.INTER_CUBIC), np.uint8))


def _copy_floor_ms(scene: Scene, given: Inputs, count: int) -> dict[str, float]:
    """Time one copy of the frame's bytes that crop and paste cannot avoid touching: no method is faster."""
    region = paste_face(copied(given.planes), given.generated, given.crop, given.to_crop, given.mask)
    side = int(given.crop_px / np.hypot(*given.to_crop[0, :2]))
    touched = {
        "crop_face": min(side, scene.height) * min(side, scene.width) * 3 // 2,
        "paste_face": region.height * region.width * 3,
    }
    floors = {}
    for name, count_bytes in touched.items():
        source = np.zeros(count_bytes, np.uint8)
        floors[name] = measure(name, source.copy, count=count).ms.p50
    return floors


def run(
    scenes: tuple[Scene, ...] = SCENES, count: int = 300, crop_px: int = _CROP_PX
) -> tuple[list[Measurement], list[dict[str, Any]]]:
    """Measure all operations of all scenes on one core.

    Returns:
        The rows, and for each scene whether everything together keeps its budget at the median.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return _run(scenes, count, crop_px)
    finally:
        cv2.setNumThreads(threads)


def _run(scenes: tuple[Scene, ...], count: int, crop_px: int) -> tuple[list[Measurement], list[dict[str, Any]]]:
    measured, verdicts = [], []
    for scene in scenes:
        given = prepare(scene, crop_px)
        check(given)
        floors = _copy_floor_ms(scene, given, count)
        results = {name: measure(name, call, count=count) for name, call in operations(given).items()}
        total, baseline = (results[name].ms.p50 for name in ("all before and after", "baseline: whole frame in RGB"))
        verdicts.append(
            {
                "scene": scene.name,
                "budget_ms": scene.budget_ms,
                "p50_ms": total,
                "kept": total <= scene.budget_ms,
                "baseline_ratio": baseline / total,
            }
        )
        for name, row in results.items():
            extra = {**row.extra, **({"copy_floor_ms": floors[name]} if name in floors else {})}
            measured.append(replace(row, name=f"{scene.name}: {name}", extra=extra))
    return measured, verdicts


def main(argv: list[str]) -> int:
    """Measure, print, write the JSON; 1 when a budget is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run kernels", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="timed calls per operation")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--crop-px", type=int, default=_CROP_PX, help="side of the crop (default: the shipped one's)")
    asked = parser.parse_args(argv)
    measured, verdicts = run(SCENES, asked.count, asked.crop_px)
    body = {"threads": 1, "crop_px": asked.crop_px, "rows": rows(measured), "budgets": verdicts}
    path = write_result("kernels", body, asked.results)
    print(table(measured))
    for verdict in verdicts:
        word = "keeps" if verdict["kept"] else "MISSES"
        print(
            f"{verdict['scene']}: {verdict['p50_ms']:.3f} ms {word} {verdict['budget_ms']} ms,"
            f" whole frame in RGB {verdict['baseline_ratio']:.1f}x"
        )
    print(path)
    return 0 if all(verdict["kept"] for verdict in verdicts) else 1
