"""Faces in pictures on a card, each kernel's launch over them, and how many bytes it cannot do without."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pictures import open_face, smooth_planes
from kernels.crop import crop_transform, in_crop
from kernels.cuda import boxes
from kernels.cuda.device import Device
from kernels.cuda.jobs import PlaneAt, crop_faces, crop_job, entries_of, packed_planes
from kernels.cuda.mouth_jobs import (
    MOUTH_POINTS,
    blur_sums,
    close_mouths,
    closing_bytes,
    draw_masks,
    masks_bytes,
    mouth_table,
    write_mouth_jobs,
)
from kernels.cuda.paste_jobs import DrawnFace, in_wave, in_waves, paste_faces, paste_job, paste_table, scratch_bytes
from kernels.yuv import BT601_LIMITED, Colour, Planes, Region

GUARD = 1024
_POISON = 0xCB
_WIDTH_IN_EYES = 2.36


class Rooms:
    """Room on a card that is poisoned, and lies between guards that must stay as they were."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._rooms: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        """The address of so many bytes."""
        room = self._device.allocate(size + 2 * GUARD)
        self._device.to_device(room, np.full(size + 2 * GUARD, _POISON, np.uint8))
        self._device.synchronise()
        self._rooms.append((room, size))
        return room + GUARD

    def holding(self, array: NDArray[Any] | bytes) -> int:
        """The address of a copy of it."""
        flat = np.frombuffer(array, np.uint8) if isinstance(array, bytes) else np.ascontiguousarray(array)
        address = self.take(flat.nbytes)
        self._device.to_device(address, flat)
        self._device.synchronise()
        return address

    def read(self, address: int, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
        """What lies there."""
        found: NDArray[Any] = np.empty(shape, dtype)
        self._device.to_host(found, address)
        self._device.synchronise()
        return found

    def trespassed(self) -> int:
        """Bytes of guards that were written."""
        edges = (start for room, size in self._rooms for start in (room, room + GUARD + size))
        return sum(int((self.read(start, (GUARD,), np.uint8) != _POISON).sum()) for start in edges)

    def close(self) -> None:
        """Give all of it back."""
        for room, _ in self._rooms:
            self._device.free(room)
        self._rooms.clear()


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a scene is made of.

    Attributes:
        faces: How many, one in each picture.
        height: Rows of a picture.
        width: Its columns.
        face_px: Width of a face, ear to ear.
        crop_px: Side of a crop.
        half: Pictures of the generator are halves, or else floats.
        nv12: Chroma is interleaved.
    """

    faces: int
    height: int = 1080
    width: int = 1920
    face_px: int = 300
    crop_px: int = 192
    half: bool = True
    nv12: bool = False
    colour: Colour = BT601_LIMITED

    @property
    def kind(self) -> type[np.float16 | np.float32]:
        """What the generator's pictures consist of."""
        return np.float16 if self.half else np.float32


class Scene:
    """Faces whose pictures lie on a card, box by box, as serving lays them.

    Args:
        device: The card.
        sizes: What to make.
        different: How many pictures differ; the others repeat them.
    """

    def __init__(self, device: Device, sizes: Sizes, *, different: int = 4) -> None:
        self.device, self.sizes, self.rooms = device, sizes, Rooms(device)
        size, faces = sizes.crop_px, sizes.faces
        count = min(different, faces)
        self.planes = [smooth_planes(sizes.height, sizes.width, seed) for seed in range(count)]
        eyes = sizes.face_px / _WIDTH_IN_EYES
        self.landmarks = [
            open_face(sizes.width / 2 + 3.7 * seed, sizes.height / 2 - 2.3 * seed, eyes * (1 + 0.05 * seed), 0.2 * eyes)
            for seed in range(count)
        ]
        self.to_crops = [crop_transform(each, size) for each in self.landmarks]
        self.box = [boxes.face_box([entries_of(each)], size, sizes.height, sizes.width) for each in self.to_crops]
        pixel = np.dtype(sizes.kind).itemsize
        self.picture_bytes = 3 * size * size * pixel
        self._mask_bytes = 4 * size * size
        take = self.rooms.take
        self.wholes, self.generated = take(faces * self.picture_bytes), take(faces * self.picture_bytes)
        self.inputs = take(2 * faces * self.picture_bytes)
        self.masks, self.resting = take(faces * self._mask_bytes), take(faces * self._mask_bytes)
        self._scratch = take(faces * scratch_bytes(size))
        self._mouth_scratch = take(max(closing_bytes(faces, size), masks_bytes(faces, size)))
        self.at = [self._uploaded(index) for index in range(faces)]
        self._tables()

    def _uploaded(self, index: int) -> list[PlaneAt]:
        which = index % len(self.planes)
        return upload(self.rooms, self.planes[which], self.box[which], nv12=self.sizes.nv12)[0]

    def _tables(self) -> None:
        sizes, size = self.sizes, self.sizes.crop_px
        crops, pastes, mouths = b"", [], mouth_table(sizes.faces)
        for index in range(sizes.faces):
            which = index % len(self.planes)
            box, planes = self.box[which], packed_planes(self.at[index])
            to_crop = boxes.inside(entries_of(self.to_crops[which]), box)
            crops += crop_job(planes, to_crop, size, sizes.colour, mask_row=size)
            points = in_crop(self.landmarks[which][MOUTH_POINTS], self.to_crops[which])
            write_mouth_jobs(mouths[index : index + 1], points[None])
            drawn = DrawnFace(
                self.generated + index * self.picture_bytes,
                self.wholes + index * self.picture_bytes,
                self.masks + index * self._mask_bytes,
                self.resting + index * self._mask_bytes,
                self._scratch + index * scratch_bytes(size),
            )
            pastes.append(paste_job(planes, box.height, box.width, to_crop, size, drawn, sizes.colour))
        self.regions = [Region(top, left, bottom, right) for _, (left, top, right, bottom) in pastes]
        waves = in_waves([planes[0].address for planes in self.at], [each.region for each in pastes])
        self.waves = max(waves) + 1
        jobs = [in_wave(each.job, wave) for each, wave in zip(pastes, waves, strict=True)]
        hold = self.rooms.holding
        self._crops, self._pastes = hold(crops), hold(b"".join(jobs))
        self._mouths, self._sums, self._weights = hold(mouths), hold(blur_sums(size)), hold(paste_table(size))
        steps = np.arange(sizes.faces, dtype=np.uint64)
        identities, inputs = np.zeros_like(steps), self.inputs + 2 * self.picture_bytes * steps
        self._pointers = hold(np.stack([identities, inputs, self.wholes + self.picture_bytes * steps]))

    # -- launches ----------------------------------------------------------------------------------

    def crop(self) -> None:
        """Cut all faces out."""
        sizes = self.sizes
        tables = self._pointers, self._pointers + 8 * sizes.faces, self._pointers + 16 * sizes.faces
        crop_faces(self.device, self._crops, tables, faces=sizes.faces, size=sizes.crop_px, half=sizes.half)

    def close_mouths(self) -> None:
        """Shut all mouths."""
        sizes = self.sizes
        pictures = self._pointers + 16 * sizes.faces, self._pointers + 8 * sizes.faces
        scratch = self._mouth_scratch
        close_mouths(
            self.device, self._mouths, pictures, scratch, faces=sizes.faces, size=sizes.crop_px, half=sizes.half
        )

    def draw_masks(self) -> None:
        """Draw both masks of all faces."""
        sizes, masks = self.sizes, (self.masks, self.resting)
        draw_masks(
            self.device, self._mouths, masks, self._sums, self._mouth_scratch, faces=sizes.faces, size=sizes.crop_px
        )

    def paste(self) -> None:
        """Paste what lies in `generated` into all pictures."""
        sizes = self.sizes
        paste_faces(
            self.device, self._pastes, self._weights, sizes.faces, sizes.crop_px, half=sizes.half, waves=self.waves
        )

    def everything(self) -> None:
        """All of them, in the order of serving."""
        self.crop()
        self.close_mouths()
        self.draw_masks()
        self.paste()

    def generate(self) -> list[NDArray[np.floating[Any]]]:
        """Put pictures that a generator could have drawn onto the card; return them, [3, S, S] each."""
        size = self.sizes.crop_px
        made: list[NDArray[np.floating[Any]]] = []
        for index in range(self.sizes.faces):
            waves = np.stack([plane[:size, :size] for plane in (smooth_planes(2 * size, 2 * size, 20 + index)[:1] * 3)])
            made.append((0.2 + 0.6 * waves / 255).astype(self.sizes.kind))
            self.device.to_device(self.generated + index * self.picture_bytes, made[-1])
            self.device.synchronise()
        return made

    # -- what it takes -----------------------------------------------------------------------------

    @cached_property
    def least_bytes(self) -> dict[str, int]:
        """Bytes that each operation has to read and write once, whatever it does between."""
        sizes = self.sizes
        plane = sizes.crop_px**2
        pixel = np.dtype(sizes.kind).itemsize
        of_box = sum(boxes.box_bytes(self.box[i % len(self.box)]) for i in range(sizes.faces))
        of_region = sum(int(1.5 * (r.bottom - r.top) * (r.right - r.left)) for r in self.regions)
        return {
            # Seen of the box; out go the whole crop and six channels of the input.
            "crop_face": of_box + sizes.faces * 9 * plane * pixel,
            # The whole crop in, three channels out.
            "close_mouth": sizes.faces * 6 * plane * pixel,
            # Two masks out.
            "draw_masks": sizes.faces * 2 * plane * 4,
            # The lower halves of two pictures and of both masks in, the region in and out.
            "paste_face": sizes.faces * plane // 2 * (6 * pixel + 8) + 2 * of_region,
        }

    def read_planes(self, index: int) -> Planes:
        """A picture's box as it lies on the card now."""
        return read_planes(self.rooms, self.at[index])

    def packed_planes(self, index: int) -> Planes:
        """A picture's box as it was sent."""
        which = index % len(self.planes)
        box, planes = self.box[which], self.planes[which]
        return box.of(planes[0]).copy(), box.of_chroma(planes[1]).copy(), box.of_chroma(planes[2]).copy()

    def operations(self) -> dict[str, Callable[[], None]]:
        """Each by the name of its source."""
        return {
            "crop_face": self.crop,
            "close_mouth": self.close_mouths,
            "draw_masks": self.draw_masks,
            "paste_face": self.paste,
        }

    def close(self) -> None:
        """Give the memory back."""
        self.rooms.close()


def upload(
    rooms: Rooms, planes: Planes, box: Region | None = None, *, nv12: bool = False
) -> tuple[list[PlaneAt], Region]:
    """Lay a picture's box, or all of it, onto the card; say where its planes are."""
    box = box or Region(0, 0, *planes[0].shape)
    packed = np.empty(boxes.box_bytes(box), np.uint8)
    boxes.pack(planes, box, packed)
    at = boxes.planes_in(box, 0)
    if nv12:
        luma, chroma = packed[: box.height * box.width], packed[box.height * box.width :].reshape(2, -1)
        packed = np.concatenate([luma, chroma.T.ravel()])
        at = boxes.interleaved_in(box, 0)
    address = rooms.holding(packed)
    return [PlaneAt(address + p.address, p.height, p.width, p.stride, p.step) for p in at], box


def read_planes(rooms: Rooms, at: Sequence[PlaneAt]) -> Planes:
    """A picture as it lies on the card now."""
    planes = []
    for plane in at:
        span = (plane.height - 1) * plane.stride + (plane.width - 1) * plane.step + 1
        flat = rooms.read(plane.address, (span,), np.uint8)
        strides = (plane.stride, plane.step)
        planes.append(np.lib.stride_tricks.as_strided(flat, (plane.height, plane.width), strides).copy())
    return planes[0], planes[1], planes[2]
