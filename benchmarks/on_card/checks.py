"""Every kernel on the card against its NumPy definition: poisoned outputs, guards around them, odd sizes, NV12."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.on_card.scene import Scene, Sizes
from kernels.crop import crop_face_definition, in_crop
from kernels.cuda import boxes
from kernels.cuda.device import Device
from kernels.mouth import close_mouth_definition
from kernels.paste import mouth_mask_definition, paste_face_definition, resting_mask_definition
from kernels.yuv import Colour

SIZES = (
    Sizes(3, 240, 320, 110, 96, half=False),
    Sizes(3, 241, 319, 110, 96),
    Sizes(2, 241, 319, 150, 128, half=False, nv12=True),
    Sizes(2, 480, 640, 200, 192, colour=Colour("bt709", full_range=True)),
    Sizes(2, 487, 643, 420, 96, half=False, nv12=True),
)
"""Small and odd pictures, every side of a crop that is in use, planar and NV12, halves and floats."""


@dataclass(frozen=True, slots=True)
class Check:
    """How far a kernel is from its definition.

    Attributes:
        worst: Largest difference, in levels of 255.
        allowed: What the arithmetic explains: float32 positions (0.15), halves (0.25), bytes and halves (0.7).
        why: What is wrong beside it, if anything is.
    """

    kernel: str
    case: str
    worst: float
    allowed: float
    why: str = ""

    @property
    def passed(self) -> bool:
        """Whether it does what it should."""
        return not self.why and self.worst <= self.allowed


def check_faces(device: Device, sizes: Sizes) -> Iterator[Check]:
    """Hold the kernels around a generator against their definitions on one scene."""
    scene = Scene(device, sizes)
    case = (
        f"{sizes.faces} faces, {sizes.width}x{sizes.height} {'NV12' if sizes.nv12 else 'I420'}, "
        f"crop {sizes.crop_px} {'half' if sizes.half else 'float'}, {sizes.colour.matrix}"
    )
    # A half in [0, 1] is off by 2^-12 at most.
    rounded = 255 / 4096 if sizes.half else 0.0
    try:
        for kernel, allowed, run in (
            ("crop_face", 0.15 + rounded, _crop),
            ("close_mouth", 0.15 + rounded, _close),
            ("draw_masks", 0.25, _masks),
            ("paste_face", 0.8, _paste),
        ):
            worst = run(scene)
            trespassed = scene.rooms.trespassed()
            why = f"{trespassed} bytes were written beside the results" if trespassed else ""
            yield Check(kernel, case, worst, allowed, why)
    finally:
        scene.close()


def _crop(scene: Scene) -> float:
    scene.crop()
    size, worst = scene.sizes.crop_px, 0.0
    for index in range(scene.sizes.faces):
        which = index % len(scene.planes)
        expected = crop_face_definition(scene.planes[which], scene.to_crops[which], size, scene.sizes.colour)
        whole, shown = _whole(scene, index), _shown(scene, index)
        worst = max(worst, *(_worst(each, expected) for each in (whole, shown[:3], shown[3:])))
    return worst


def _close(scene: Scene) -> float:
    scene.close_mouths()
    worst = 0.0
    for index in range(scene.sizes.faces):
        whole = _whole(scene, index).astype(np.float64).transpose(1, 2, 0) * 255
        expected = close_mouth_definition(whole, _points(scene, index))
        worst = max(worst, _worst(_shown(scene, index)[3:], expected))
    return worst


def _masks(scene: Scene) -> float:
    scene.draw_masks()
    size, worst = scene.sizes.crop_px, 0.0
    for index in range(scene.sizes.faces):
        points = _points(scene, index)
        for at, definition in ((scene.masks, mouth_mask_definition), (scene.resting, resting_mask_definition)):
            found = scene.rooms.read(at + index * 4 * size * size, (size, size), np.float32)
            worst = max(worst, _largest(found * 255.0, definition(points, size) * 255.0))
    return worst


def _paste(scene: Scene) -> float:
    size, sizes, worst = scene.sizes.crop_px, scene.sizes, 0.0
    generated = scene.generate()
    scene.paste()
    for index in range(sizes.faces):
        which = index % len(scene.planes)
        mask, resting = (
            scene.rooms.read(at + index * 4 * size * size, (size, size), np.float32)
            for at in (scene.masks, scene.resting)
        )
        drawn, original = (
            each.astype(np.float64).transpose(1, 2, 0) * 255 for each in (generated[index], _whole(scene, index))
        )
        expected = paste_face_definition(
            scene.packed_planes(index),
            np.clip(drawn, 0, 255),
            original,
            boxes.inside(scene.to_crops[which], scene.box[which]).astype(np.float32),
            mask,
            sizes.colour,
            resting=resting,
        )
        worst = max(worst, *(_largest(a, b) for a, b in zip(scene.read_planes(index), expected, strict=True)))
    return worst


def _whole(scene: Scene, index: int) -> NDArray[np.floating]:
    size = scene.sizes.crop_px
    return scene.rooms.read(scene.wholes + index * scene.picture_bytes, (3, size, size), scene.sizes.kind)


def _shown(scene: Scene, index: int) -> NDArray[np.floating]:
    size = scene.sizes.crop_px
    return scene.rooms.read(scene.inputs + 2 * index * scene.picture_bytes, (6, size, size), scene.sizes.kind)


def _points(scene: Scene, index: int) -> NDArray[np.float32]:
    which = index % len(scene.planes)
    return in_crop(scene.landmarks[which], scene.to_crops[which])


def _worst(planar: NDArray[np.floating], expected: NDArray[np.float64]) -> float:
    """Of planar [3, S, S] in [0, 1] against [S, S, 3] in levels."""
    return _largest(planar.astype(np.float64).transpose(1, 2, 0) * 255, expected)


def _largest(found: NDArray[np.generic], expected: NDArray[np.float64]) -> float:
    # What was not written is poison, or not a number.
    return float(np.nan_to_num(np.abs(found.astype(np.float64) - expected), nan=1e9).max())


def all_checks(device: Device) -> Iterator[Check]:
    """Every kernel on every scene."""
    for sizes in SIZES:
        yield from check_faces(device, sizes)


Say = Callable[[str], None]


def run(device: Device, say: Say) -> list[dict[str, object]]:
    """Do all checks, tell each, and return them as rows."""
    found = []
    for check in all_checks(device):
        verdict = "ok" if check.passed else f"WRONG {check.why}"
        say(f"{check.kernel:16} {check.worst:8.3f} of {check.allowed:.2f} levels  {verdict:6} {check.case}")
        found.append(
            {
                "kernel": check.kernel,
                "case": check.case,
                "worst_levels": round(check.worst, 4),
                "allowed_levels": check.allowed,
                "passed": check.passed,
                "why": check.why,
            }
        )
    return found
