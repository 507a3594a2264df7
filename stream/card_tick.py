"""What lies on a card while the faces of one tick are drawn, at addresses that never change, and the launches over it.

A tick's tables and boxes lie behind one another in one area, on the host and on the card, so that all of it goes up in
one copy; only the boxes come back.
"""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from kernels.cuda import boxes
from kernels.cuda.device import Device, DeviceMemoryFull
from kernels.cuda.jobs import CropJob, crop_faces, crop_job
from kernels.cuda.mouth_jobs import (
    MouthTable,
    blur_sums,
    close_mouths,
    closing_bytes,
    draw_masks,
    masks_bytes,
    mouth_table,
    write_mouth_job,
)
from kernels.cuda.paste_jobs import DrawnFace, PasteJob, in_waves, paste_faces, paste_job, paste_table, scratch_bytes
from kernels.yuv import Region
from models.card_engine import picture_bytes
from models.device_engine import DeviceEngine
from models.engine import EngineError
from models.manifest import CropInput
from stream.painter import Shot

# Room for boxes grows in these steps, by doubling.
_BOX_BYTES = 1 << 20
_ALIGNED = 256

Job = TypeVar("Job", bound=ctypes.Structure)


class Slot:
    """Where the picture of a face lies; its room is another's when nobody holds it any more."""

    __slots__ = ("__weakref__", "_pool", "address")

    def __init__(self, address: int, pool: list[int]) -> None:
        self.address = address
        self._pool = pool

    def __del__(self) -> None:
        # What the card still reads is read before it is written again: all is in the order of one stream.
        self._pool.append(self.address)


class Slots:
    """Room for pictures of one size, which outlive the tick that they were cut out in.

    Args:
        device: Where.
        size: Bytes of a picture.
        most: Bytes of all of them at most.
    """

    _TOGETHER = 16

    def __init__(self, device: Device, size: int, most: int) -> None:
        self._device = device
        self._size = size
        self._most = most
        self._free: list[int] = []
        self._rooms: list[int] = []

    @property
    def bytes(self) -> int:
        """What was allocated so far."""
        return len(self._rooms) * self._TOGETHER * self._size

    def take(self) -> Slot:
        """Room for one picture.

        Raises:
            DeviceMemoryFull: The card has none, or all that may be taken is.
        """
        if not self._free:
            if (wanted := self.bytes + self._TOGETHER * self._size) > self._most:
                raise DeviceMemoryFull(
                    f"pictures of faces would take {wanted >> 20} MB of the card, the limit is {self._most >> 20}. "
                    "End another session, or raise [engine] card_pictures_mb"
                )
            room = self._device.allocate(self._TOGETHER * self._size)
            self._rooms.append(room)
            self._free.extend(room + index * self._size for index in range(self._TOGETHER))
        return Slot(self._free.pop(), self._free)

    def close(self) -> None:
        """Give all of it back."""
        for room in self._rooms:
            self._device.free(room)
        self._rooms.clear()
        self._free = []


class Cut(NamedTuple):
    """A face that is to be cut out.

    Attributes:
        points: float32 [478, 2], its landmarks in the crop.
        own: Where its crop will lie.
        identity: The picture that tells who speaks; `own` where nothing else does.
    """

    shot: Shot
    points: NDArray[np.float32]
    own: Slot
    identity: Slot


class Face(NamedTuple):
    """A face with its place in what goes up; see `Cut`.

    Attributes:
        box: The part of its picture that goes up; faces of one picture may share one.
        offset: Where the box begins behind the tables.
    """

    shot: Shot
    points: NDArray[np.float32]
    own: Slot
    identity: Slot
    box: Region
    offset: int


class Step(NamedTuple):
    """Launches that follow one another.

    Attributes:
        work: Enqueues them.
        recordable: Whether they may be part of a graph of ours.
    """

    work: Callable[[], None]
    recordable: bool


class Tick:
    """The memory of a tick.

    Args:
        device: The card.
        network: The generator on it.
        crop: What it is shown.
        faces: Most faces of a tick.

    Raises:
        EngineError: The generator takes pictures of one type and gives another.
        DeviceMemoryFull: The card has no room.
    """

    def __init__(self, device: Device, network: DeviceEngine, crop: CropInput, faces: int) -> None:
        self._device, self._network, self._crop = device, network, crop
        self._size = crop.size_px
        self._half = _halves(network)
        self.mel_shape = tuple(size or 1 for size in network.inputs["mel"].shape[-2:])
        size, addresses = self._size, {}
        specs = {**network.inputs, **network.outputs}
        for name, spec in specs.items():
            addresses[name] = device.allocate(faces * picture_bytes(spec))
        self._network_at: Mapping[str, int] = addresses
        self._fixed_bytes = sum(faces * picture_bytes(spec) for spec in specs.values())
        self.picture_bytes = picture_bytes(network.outputs["picture"])
        self._input_bytes = picture_bytes(network.inputs["face"])
        self._mask_bytes = 4 * size * size
        self._paste_bytes = scratch_bytes(size)
        self._masks = device.allocate(2 * faces * self._mask_bytes)
        self._resting = self._masks + faces * self._mask_bytes
        self._scratch = device.allocate(
            faces * self._paste_bytes + max(masks_bytes(faces, size), closing_bytes(faces, size))
        )
        self._other_scratch = self._scratch + faces * self._paste_bytes
        self._fixed_bytes += 2 * faces * self._mask_bytes + faces * self._paste_bytes
        self._fixed_bytes += max(masks_bytes(faces, size), closing_bytes(faces, size))
        self._sums, self._weights = (_uploaded(device, table) for table in (blur_sums(size), paste_table(size)))
        self._mel = device.pinned((faces, *self.mel_shape), network.inputs["mel"].dtype)
        self._mel[...] = 0
        self._layout = _Layout(faces)
        self._open_area(_BOX_BYTES)
        device.synchronise()

    @property
    def bytes(self) -> int:
        """What it takes of the card."""
        return self._fixed_bytes + self._layout.bytes + self._boxes_bytes

    def _open_area(self, boxes_bytes: int) -> None:
        layout, size = self._layout, self._layout.bytes + boxes_bytes
        self._area_at = self._device.allocate(size)
        self._boxes_bytes = boxes_bytes
        self._area: NDArray[np.uint8] = self._device.pinned(size, np.uint8)
        self._area[:] = 0
        self._crops = _jobs(CropJob, self._area, layout.crops, layout.faces)
        self._pastes = _jobs(PasteJob, self._area, layout.pastes, layout.faces)
        pointers = self._area[layout.pointers : layout.mouths].view(np.uint64)
        self._identities, self._inputs, self._wholes = pointers[: 3 * layout.faces].reshape(3, layout.faces)
        mouths = mouth_table(layout.faces)
        self._mouths: MouthTable = (
            self._area[layout.mouths : layout.mouths + mouths.nbytes].view(np.float32).reshape(mouths.shape)
        )
        face_at = self._network_at["face"]
        self._inputs[:] = [face_at + index * self._input_bytes for index in range(layout.faces)]

    def make_room(self, faces: Sequence[Face]) -> bool:
        """See to it that the boxes fit; say whether addresses changed, so that what was recorded is of no use."""
        if (wanted := _end(faces)) <= self._boxes_bytes:
            return False
        size = self._boxes_bytes
        while size < wanted:
            size *= 2
        before = self._area_at
        # First, as there may be no room: what is there stays of use then.
        self._open_area(size)
        self._device.free(before)
        return True

    def fill(self, faces: Sequence[Face], bucket: int, spare: Slot) -> tuple[list[Region], int]:
        """Write the tables of a tick, and the boxes behind them.

        Args:
            faces: At most `bucket`.
            bucket: Rows that will be launched over; those beyond the faces repeat the first one and change no picture.
            spare: Where the crops of those go.

        Returns:
            The region of each picture that will have changed, and how many waves the pastes take.
        """
        for index, face in enumerate(faces):
            self._fill_row(index, face)
        regions = [self._region(index, face) for index, face in enumerate(faces)]
        waves = in_waves([self._pastes[index] for index in range(len(faces))])
        packed = set()
        for face in faces:
            if face.offset not in packed:
                packed.add(face.offset)
                boxes.pack(face.shot.frame.planes, face.box, self._box(face))
        for index in range(len(faces), bucket):
            self._crops[index] = self._crops[0]
            self._mouths[index] = self._mouths[0]
            self._identities[index], self._wholes[index] = 0, spare.address
            self._pastes[index] = PasteJob()
        return regions, waves

    def _fill_row(self, index: int, face: Face) -> None:
        shot = face.shot
        planes = boxes.planes_in(face.box, self._area_at + self._layout.bytes + face.offset)
        to_crop = boxes.inside(shot.face.to_crop, face.box)
        colour = shot.frame.colour
        self._crops[index] = crop_job(planes, to_crop, self._size, colour, self._crop.mask_row)
        # Its own picture it finds in its crop.
        self._identities[index] = 0 if face.identity is face.own else face.identity.address
        self._wholes[index] = face.own.address
        write_mouth_job(self._mouths[index], face.points)
        drawn = DrawnFace(
            generated=self._network_at["picture"] + index * self.picture_bytes,
            original=face.own.address,
            mask=self._masks + index * self._mask_bytes,
            resting=self._resting + index * self._mask_bytes,
            scratch=self._scratch + index * self._paste_bytes,
        )
        self._pastes[index] = paste_job(planes, to_crop, self._size, drawn, colour, alpha=shot.alpha)
        self._mel[index] = shot.mel

    def _region(self, index: int, face: Face) -> Region:
        job, box = self._pastes[index], face.box
        return Region(job.top + box.top, job.left + box.left, job.bottom + box.top, job.right + box.left)

    def _box(self, face: Face) -> NDArray[np.uint8]:
        first = self._layout.bytes + face.offset
        return self._area[first : first + boxes.box_bytes(face.box)]

    def fill_with_nothing(self, bucket: int, spare: Slot) -> None:
        """Write tables that change no picture: a grey square without a mouth, for every row."""
        size = self._size
        box = Region(0, 0, size, size)
        self.area_of_boxes()[: boxes.box_bytes(box)] = 128
        planes = boxes.planes_in(box, self._area_at + self._layout.bytes)
        job = crop_job(planes, np.eye(2, 3), size, mask_row=self._crop.mask_row)
        for index in range(bucket):
            self._crops[index], self._pastes[index] = job, PasteJob()
            self._identities[index], self._wholes[index] = 0, spare.address
            write_mouth_job(self._mouths[index], np.full((478, 2), size / 2, np.float32))
        self._device.to_device(self._area_at, self._area[: self._layout.bytes + boxes.box_bytes(box)])
        self._device.to_device(self._network_at["mel"], self._mel[:bucket])

    def area_of_boxes(self) -> NDArray[np.uint8]:
        """What lies behind the tables."""
        return self._area[self._layout.bytes :]

    def up(self, faces: Sequence[Face], bucket: int) -> None:
        """Enqueue the copy of what was filled in."""
        self._device.to_device(self._area_at, self._area[: self._layout.bytes + _end(faces)])
        self._device.to_device(self._network_at["mel"], self._mel[:bucket])

    def down(self, faces: Sequence[Face]) -> None:
        """Enqueue the copy of the boxes back."""
        self._device.to_host(self.area_of_boxes()[: _end(faces)], self._area_at + self._layout.bytes)

    def give_back(self, face: Face, region: Region) -> None:
        """Write what came down into the picture."""
        boxes.unpack(self._box(face), face.box, face.shot.frame.planes, region)

    def steps(self, bucket: int, waves: int) -> list[Step]:
        """The launches of a tick."""

        def all_of_it() -> None:
            self._before(bucket)
            self._draw(bucket)
            self._after(bucket, waves)

        if self._network.capturable:
            return [Step(all_of_it, recordable=True)]
        return [
            Step(lambda: self._before(bucket), recordable=True),
            Step(lambda: self._draw(bucket), recordable=False),
            Step(lambda: self._after(bucket, waves), recordable=True),
        ]

    def _before(self, bucket: int) -> None:
        """Crop, shut mouths, draw masks."""
        layout, size = self._layout, self._size
        identities = self._area_at + layout.pointers
        inputs, wholes = (identities + 8 * layout.faces * index for index in (1, 2))
        crops = self._area_at + layout.crops
        crop_faces(self._device, crops, (identities, inputs, wholes), faces=bucket, size=size, half=self._half)
        mouths = self._area_at + layout.mouths
        if self._crop.mask_row == size:
            # From a generator whose mask hides nothing the picture's own mouth has to be hidden otherwise.
            pictures = wholes, inputs
            close_mouths(self._device, mouths, pictures, self._other_scratch, faces=bucket, size=size, half=self._half)
        masks = self._masks, self._resting
        draw_masks(self._device, mouths, masks, self._sums, self._other_scratch, faces=bucket, size=size)

    def _draw(self, bucket: int) -> None:
        self._network.enqueue(bucket, self._network_at, self._device.stream)

    def _after(self, bucket: int, waves: int) -> None:
        pastes = self._area_at + self._layout.pastes
        paste_faces(self._device, pastes, self._weights, bucket, self._size, half=self._half, waves=waves)

    def close(self) -> None:
        """Give the memory back."""
        for address in (
            *self._network_at.values(),
            self._masks,
            self._scratch,
            self._sums,
            self._weights,
            self._area_at,
        ):
            self._device.free(address)


class _Layout:
    """Where each table begins in the area; the boxes follow at `bytes`."""

    def __init__(self, faces: int) -> None:
        self.faces = faces
        self.crops = 0
        self.pastes = _aligned(faces * ctypes.sizeof(CropJob))
        self.pointers = self.pastes + _aligned(faces * ctypes.sizeof(PasteJob))
        self.mouths = self.pointers + _aligned(3 * 8 * faces)
        self.bytes = self.mouths + _aligned(mouth_table(faces).nbytes)


def place(faces: Sequence[Cut], size: int) -> list[Face]:
    """Give every face a box; faces of one picture whose boxes meet share one.

    Only in a common box does the second of two mouths that overlap see the first one.
    """
    placed: list[Face] = []
    end = 0
    for cuts, box in _groups(faces, size):
        placed += [Face(*cut, box, end) for cut in cuts]
        end += _aligned(boxes.box_bytes(box))
    return placed


def _groups(faces: Sequence[Cut], size: int) -> list[tuple[list[Cut], Region]]:
    groups: list[tuple[list[Cut], Region]] = []
    for cut in faces:
        together, box = [cut], _box_of([cut], size)
        for group in [
            each for each in groups if each[0][0].shot.frame is cut.shot.frame and not box.common(each[1]).is_empty
        ]:
            groups.remove(group)
            together = [*group[0], *together]
            box = _box_of(together, size)
        groups.append((together, box))
    return groups


def _box_of(cuts: Sequence[Cut], size: int) -> Region:
    height, width = cuts[0].shot.frame.planes[0].shape
    return boxes.face_box([cut.shot.face.to_crop for cut in cuts], size, height, width)


def _end(faces: Sequence[Face]) -> int:
    """Bytes of all boxes."""
    return max(face.offset + boxes.box_bytes(face.box) for face in faces)


def _jobs(kind: type[Job], area: NDArray[np.uint8], offset: int, count: int) -> "ctypes.Array[Job]":
    return (kind * count).from_buffer(area.data, offset)


def _uploaded(device: Device, table: NDArray[np.float32]) -> int:
    address = device.allocate(table.nbytes)
    device.to_device(address, table)
    device.synchronise()
    return address


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _halves(network: DeviceEngine) -> bool:
    kinds = {network.inputs["face"].dtype, network.outputs["picture"].dtype}
    if kinds not in ({"float16"}, {"float32"}):
        raise EngineError(
            f"the generator takes {network.inputs['face'].dtype} and gives {network.outputs['picture'].dtype}; the "
            "kernels around it need one type for both. Build it again: visavis engines build"
        )
    return kinds == {"float16"}
