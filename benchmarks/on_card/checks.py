"""Every kernel on the card against its NumPy definition: poisoned outputs, guards around them, odd sizes, NV12."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.on_card.scene import Rooms, Scene, Sizes, read_planes, upload
from benchmarks.pictures import smooth_planes
from kernels.crop import crop_face_definition, in_crop
from kernels.cuda import boxes
from kernels.cuda.device import Device
from kernels.cuda.frame_jobs import (
    frame_to_tensor_job,
    launch_frames_to_tensors,
    launch_tensors_to_frames,
    tensor_to_frame_job,
)
from kernels.cuda.jobs import entries_of
from kernels.cuda.streaming_mels import StreamingMels
from kernels.frame_tensor import frame_to_tensor_definition, tensor_to_frame_definition
from kernels.mel import Mel, Samples, mel_spectrogram_definition
from kernels.mouth import close_mouth_definition
from kernels.paste import mouth_mask_definition, paste_face_definition, resting_mask_definition
from kernels.yuv import Colour, Region

# Samples of each session, and of each piece.
_SOUNDS = {"one": 5000, "two": 1234, "three": 3210, "four": 199}
_PIECE = 640

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
        worst: Largest difference, in levels of 255; for mel in its own unit.
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
            yield Check(kernel, case, worst, allowed, _beside(scene.rooms))
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
    # Not a number, as halves and as floats: the crop has written there already.
    nothing = np.full(2 * scene.sizes.faces * scene.picture_bytes, 0xFF, np.uint8)
    scene.device.to_device(scene.inputs, nothing)
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
            np.array(boxes.inside(entries_of(scene.to_crops[which]), scene.box[which]), np.float32).reshape(2, 3),
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


def check_frames(device: Device, height: int, width: int, size: tuple[int, int], *, half: bool) -> Iterator[Check]:
    """Hold a whole frame's way to a tensor and back against its definitions, NV12 one way and I420 the other."""
    case = f"{width}x{height}, tensor {size[1]}x{size[0]} {'half' if half else 'float'}"
    rooms, kind = Rooms(device), np.float16 if half else np.float32
    colour = Colour("bt709")
    planes = smooth_planes(height, width, 3)
    # A half in [-1, 1] is off by 2^-12 of its 127.5 levels.
    rounded = 127.5 / 2048 if half else 0.0
    try:
        at, _ = upload(rooms, planes, nv12=True)
        tensor = rooms.take(3 * size[0] * size[1] * np.dtype(kind).itemsize)
        table = rooms.holding(np.array([tensor], np.uint64))
        job = rooms.holding(bytes(frame_to_tensor_job(at, size, colour)))
        launch_frames_to_tensors(device, job, table, 1, size, half=half)
        found = rooms.read(tensor, (3, *size), kind).astype(np.float64)
        expected = frame_to_tensor_definition(planes, size, colour)
        yield Check("frame_to_tensor", case, 127.5 * _largest(found, expected), 0.05 + rounded, _beside(rooms))
        at, _ = upload(rooms, planes)
        drawn = np.clip(expected[:, ::-1], -1, 1).astype(kind)
        region, strength = Region(3, 5, height - 4, width + 7), 0.6
        table = rooms.holding(np.array([rooms.holding(drawn)], np.uint64))
        job = rooms.holding(bytes(tensor_to_frame_job(at, size, region, strength, colour, wipe_column=width // 3)))
        launch_tensors_to_frames(device, job, table, 1, size, (height, width), half=half)
        floats = tensor_to_frame_definition(
            drawn.astype(np.float32), planes, region, strength, colour, wipe_column=width // 3
        )
        worst = max(_largest(a, b) for a, b in zip(read_planes(rooms, at), floats, strict=True))
        yield Check("tensor_to_frame", case, worst, 0.55, _beside(rooms))
    finally:
        rooms.close()


def check_mel(device: Device) -> Check:
    """Hold the streamed columns of sessions that come and go against the definition."""
    mels, random = StreamingMels(device, sessions=3), np.random.default_rng(0)
    sounds = {name: (0.3 * random.standard_normal(count)).astype(np.float32) for name, count in _SOUNDS.items()}
    made: dict[Hashable, list[Mel]] = {name: [] for name in sounds}
    for first in range(0, max(_SOUNDS.values()), _PIECE):
        pieces: dict[Hashable, Samples] = {
            name: sound[first : first + _PIECE] for name, sound in sounds.items() if first < len(sound)
        }
        for name, columns in mels.push(pieces).items():
            made[name].append(columns)
    for name, columns in mels.flush(sounds).items():
        made[name].append(columns)
    mels.close()
    worst = max(
        _largest(np.concatenate(made[name], axis=1), mel_spectrogram_definition(sound))
        for name, sound in sounds.items()
    )
    # In the columns' own unit, of which there are 8 from silence to the loudest.
    return Check("mel", f"{len(sounds)} sessions, pieces of {_PIECE}", worst, 1e-4)


def _beside(rooms: Rooms) -> str:
    trespassed = rooms.trespassed()
    return f"{trespassed} bytes were written beside the results" if trespassed else ""


def all_checks(device: Device) -> Iterator[Check]:
    """Every kernel on every scene."""
    for sizes in SIZES:
        yield from check_faces(device, sizes)
    yield from check_frames(device, 241, 319, (96, 128), half=False)
    yield from check_frames(device, 240, 320, (256, 256), half=True)
    yield check_mel(device)


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
