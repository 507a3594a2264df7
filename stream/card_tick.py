"""What lies on a card while the faces of one tick are drawn, at addresses that never change, and the launches over it.

A tick's tables and boxes lie behind one another in one area, on the host and on the card, so that all of it goes up in
one copy; only the boxes come back. A picture that is on the card already has none: its faces are drawn where they lie.
"""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.cuda import boxes
from kernels.cuda.device import Device, DeviceMemoryFull
from kernels.cuda.jobs import CropJob, Entries, crop_faces, crop_job, packed_i420, packed_window
from kernels.cuda.mouth_jobs import (
    MOUTH_POINTS,
    MouthTable,
    blur_sums,
    close_mouths,
    closing_bytes,
    draw_masks,
    masks_bytes,
    mouth_table,
    write_mouth_jobs,
)
from kernels.cuda.paste_jobs import (
    DrawnFace,
    PasteJob,
    Pasting,
    Sides,
    in_wave,
    in_waves,
    paste_faces,
    paste_job,
    paste_table,
    scratch_bytes,
)
from kernels.yuv import Region
from models.card_engine import picture_bytes
from models.device_engine import DeviceEngine
from models.engine import EngineError
from models.manifest import CropInput
from stream.painter import Shot

# Room for boxes grows in these steps, by doubling.
_BOX_BYTES = 1 << 20
_ALIGNED = 256

# `Tick.bytes` hides the type where it is written.
Packed = bytes
_NO_PASTE = bytes(PasteJob())


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
        to_crop: The map from its picture's pixels to its crop's.
        mouth: float32 [63, 2], its `MOUTH_POINTS` in the crop.
        own: Where its crop will lie.
        identity: The picture that tells who speaks; `own` where nothing else does.
    """

    shot: Shot
    to_crop: Entries
    mouth: NDArray[np.float32]
    own: Slot
    identity: Slot


class Face(NamedTuple):
    """A face with its place in what goes up.

    Attributes:
        box: The part of its picture that is looked at; faces of one picture may share one.
        offset: Where the box begins behind the tables; below 0, another number for each box, where it stays in a
            picture on the card.
    """

    cut: Cut
    box: Region
    offset: int

    @property
    def travels(self) -> bool:
        """Whether the box goes up and comes down."""
        return self.offset >= 0


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
        # Where a row's pictures are but its crop: what was generated, both masks, the scratch.
        self._rooms = [
            (
                addresses["picture"] + row * self.picture_bytes,
                self._masks + row * self._mask_bytes,
                self._resting + row * self._mask_bytes,
                self._scratch + row * self._paste_bytes,
            )
            for row in range(faces)
        ]
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
        self._memory = self._area.data
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

    def fill(self, faces: Sequence[Face], bucket: int, spare: Slot) -> tuple[list[Sides], int]:
        """Write the tables of a tick, and the boxes behind them.

        Args:
            faces: At most `bucket`.
            bucket: Rows that will be launched over; those beyond the faces repeat the first one and change no picture.
            spare: Where the crops of those go.

        Returns:
            What of each box will have changed, and how many waves the pastes take.
        """
        crops, pasting = [], list[Pasting]()
        for index, face in enumerate(faces):
            cut, box, _ = face
            planes = _planes(face, self._boxes_at)
            to_crop = boxes.inside(cut.to_crop, box)
            colour, original = cut.shot.frame.colour, cut.own.address
            crops.append(crop_job(planes, to_crop, self._size, colour, self._crop.mask_row))
            generated, mask, resting, scratch = self._rooms[index]
            drawn = DrawnFace(generated, original, mask, resting, scratch)
            pasting.append(
                paste_job(planes, box.height, box.width, to_crop, self._size, drawn, colour, alpha=cut.shot.alpha)
            )
        count = len(faces)
        write_mouth_jobs(self._mouths[:count], np.stack([face.cut.mouth for face in faces]))
        np.stack([face.cut.shot.mel for face in faces], out=self._mel[:count], casting="same_kind")
        regions = [each.region for each in pasting]
        waves = self._waves(faces, regions)
        pastes = [in_wave(each.job, wave) if wave else each.job for each, wave in zip(pasting, waves, strict=True)]
        more = bucket - count
        self._write(0, b"".join(crops + more * crops[:1]))
        self._write(self._layout.pastes, b"".join(pastes + more * [_NO_PASTE]))
        self._mouths[count:bucket] = self._mouths[0]
        # Its own picture a face finds in its crop.
        identities = [0 if cut.identity is cut.own else cut.identity.address for cut, _, _ in faces]
        self._point(identities + more * [0], [cut.own.address for cut, _, _ in faces] + more * [spare.address])
        self._pack(faces)
        return regions, max(waves) + 1

    def _waves(self, faces: Sequence[Face], regions: Sequence[Sides]) -> list[int]:
        offsets = [face.offset for face in faces]
        # Hardly ever do faces share a box, and only those can meet.
        return in_waves(offsets, regions) if len(set(offsets)) < len(offsets) else [0] * len(faces)

    def _write(self, first: int, table: Packed) -> None:
        self._memory[first : first + len(table)] = table

    def _point(self, identities: Sequence[int], wholes: Sequence[int]) -> None:
        self._identities[: len(identities)], self._wholes[: len(wholes)] = identities, wholes

    def _pack(self, faces: Sequence[Face]) -> None:
        packed: set[int] = set()
        for face in faces:
            cut, box, offset = face
            if face.travels and offset not in packed:
                packed.add(offset)
                boxes.pack(cut.shot.frame.planes, box, self._area[self._layout.bytes + offset :])

    def fill_with_nothing(self, bucket: int, spare: Slot) -> None:
        """Write tables that change no picture: a grey square without a mouth, for every row."""
        size = self._size
        box = Region(0, 0, size, size)
        self.area_of_boxes()[: boxes.box_bytes(box)] = 128
        planes = packed_i420(self._boxes_at, size, size)
        crop = crop_job(planes, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), size, mask_row=self._crop.mask_row)
        self._write(0, bucket * crop)
        self._write(self._layout.pastes, bucket * _NO_PASTE)
        self._point(bucket * [0], bucket * [spare.address])
        write_mouth_jobs(self._mouths[:bucket], np.full((bucket, len(MOUTH_POINTS), 2), size / 2, np.float32))
        self._device.to_device(self._area_at, self._area[: self._layout.bytes + boxes.box_bytes(box)])
        self._device.to_device(self._network_at["mel"], self._mel[:bucket])

    @property
    def _boxes_at(self) -> int:
        return self._area_at + self._layout.bytes

    def area_of_boxes(self) -> NDArray[np.uint8]:
        """What lies behind the tables."""
        return self._area[self._layout.bytes :]

    def up(self, faces: Sequence[Face], bucket: int) -> None:
        """Enqueue the copy of what was filled in."""
        self._device.to_device(self._area_at, self._area[: self._layout.bytes + _end(faces)])
        self._device.to_device(self._network_at["mel"], self._mel[:bucket])

    def down(self, faces: Sequence[Face]) -> None:
        """Enqueue the copy of the boxes back."""
        if end := _end(faces):
            self._device.to_host(self.area_of_boxes()[:end], self._boxes_at)

    def give_back(self, faces: Sequence[Face], regions: Sequence[Sides]) -> None:
        """Write what came down into the pictures; those on the card are told what was drawn in them."""
        for face, region in zip(faces, regions, strict=True):
            (cut, box, offset), card = face, face.cut.shot.frame.on_card
            if face.travels:
                boxes.unpack(self._area[self._layout.bytes + offset :], box, cut.shot.frame.planes, region)
            elif card is not None:
                left, top, right, bottom = region
                card.changed(Region(box.top + top, box.left + left, box.top + bottom, box.left + right))

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


def place(cuts: Sequence[Cut], size: int) -> list[Face]:
    """Give every face a box; faces of one picture whose boxes meet share one.

    Only in a common box does the second of two mouths that overlap see the first one.
    """
    placed: list[Face] = []
    end, staying = 0, 0
    for together, box in _groups(cuts, size):
        if together[0].shot.frame.on_card is not None:
            staying -= 1
            placed += [Face(cut, box, staying) for cut in together]
        else:
            placed += [Face(cut, box, end) for cut in together]
            end += _aligned(boxes.box_bytes(box))
    return placed


def _planes(face: Face, boxes_at: int) -> bytes:
    """Where a face's box lies: among those that went up, or in its picture."""
    card, box = face.cut.shot.frame.on_card, face.box
    if card is not None and not face.travels:
        return packed_window(card.at, box)
    return packed_i420(boxes_at + face.offset, box.height, box.width)


def _groups(cuts: Sequence[Cut], size: int) -> list[tuple[list[Cut], Region]]:
    by_picture: dict[int, list[tuple[list[Cut], Region]]] = {}
    for cut in cuts:
        groups = by_picture.setdefault(id(cut.shot.frame), [])
        together, box = [cut], _box_of([cut], size)
        while meeting := [group for group in groups if not box.common(group[1]).is_empty]:
            for group in meeting:
                groups.remove(group)
                together = [*group[0], *together]
            box = _box_of(together, size)
        groups.append((together, box))
    return [group for groups in by_picture.values() for group in groups]


def _box_of(cuts: Sequence[Cut], size: int) -> Region:
    height, width = cuts[0].shot.frame.height, cuts[0].shot.frame.width
    return boxes.face_box([cut.to_crop for cut in cuts], size, height, width)


def _end(faces: Sequence[Face]) -> int:
    """Bytes of all boxes that travel; the last of them lies behind the others."""
    for _, box, offset in reversed(faces):
        if offset >= 0:
            return offset + boxes.box_bytes(box)
    return 0


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
