"""A decoded picture that has stayed on a card, and how much of the card such pictures may take.

It lies there as the decoder made it, in NV12, and comes into memory when somebody asks for its planes. Faces are drawn
in it where it lies, and an encoder on the same card takes it from there.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernels.cuda.device import Device
from kernels.cuda.jobs import PlaneAt
from kernels.yuv import Planes, Region


class CardRoom:
    """How much of a card the pictures of all sessions may take.

    Args:
        most: Bytes.

    Attributes:
        taken: Bytes of the pictures that are held now.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self.taken = 0

    def take(self, size: int) -> bool:
        """Room for one more picture; False where that would be too much."""
        with self._lock:
            if self.taken + size > self._most:
                return False
            self.taken += size
            return True

    def give_back(self, size: int) -> None:
        """Room that `take` gave."""
        with self._lock:
            self.taken -= size


def picture_bytes(at: Sequence[PlaneAt]) -> int:
    """What Y and pairs of U and V take of a card."""
    luma, blue, _ = at
    return luma.stride * luma.height + blue.stride * blue.height


class CardPicture:
    """A picture on a card; in the hands of one thread at a time.

    What its planes show in memory is never written: a change has to be seen by the encoder too. It is drawn in on the
    card (`changed`), or a part is sent there (`put`), or the card's picture is given up (`leave`, `into_memory`).

    Args:
        at: Where Y, U and V lie, both sides even.
        device: In whose context, and whose stream draws in it.
        source: What the decoder gave, which an encoder takes; the memory is its own as long as it is held.
        download: Brings the picture down, into planes that nobody else has.
        room: Where its `picture_bytes` were taken.
        decoder: Whose memory it is.
    """

    __slots__ = ("_as_decoded", "_as_drawn", "_download", "_drawn", "_room", "at", "decoder", "device", "source")

    def __init__(
        self,
        at: Sequence[PlaneAt],
        device: Device,
        source: Any,  # noqa: ANN401 - av's classes differ between stubs
        download: Callable[[], Planes],
        room: CardRoom,
        decoder: object = None,
    ) -> None:
        self.at = tuple(at)
        self.device = device
        self.source = source
        self.decoder = decoder
        self._download: Callable[[], Planes] | None = download
        self._room = room
        self._as_decoded: Planes | None = None
        self._as_drawn: Planes | None = None
        # What differs on the card from what was decoded.
        self._drawn: list[Region] = []

    @property
    def height(self) -> int:
        """Rows."""
        return self.at[0].height

    @property
    def width(self) -> int:
        """Columns."""
        return self.at[0].width

    def planes(self) -> Planes:
        """The picture as it is now, read-only; it comes down once for each time it has changed.

        Raises:
            Exception: What the decoder's library raises where the card has failed.
        """
        if not self._drawn:
            return self.decoded()
        self._as_drawn = self._as_drawn or self._brought()
        return self._as_drawn

    def decoded(self) -> Planes:
        """The picture as the decoder gave it; to be asked for before something is drawn in it, or never."""
        self._as_decoded = self._as_decoded or self._brought()
        return self._as_decoded

    def _brought(self) -> Planes:
        assert self._download is not None
        planes = self._download()
        for plane in planes:
            plane.flags.writeable = False
        return planes

    def changed(self, region: Region) -> None:
        """Note that something was drawn in it on the card."""
        self._drawn.append(region)
        self._as_drawn = None

    def part(self, region: Region) -> Planes:
        """A copy of a rectangle as it is now, both corners even; what was drawn elsewhere need not come down for it."""
        touched = any(not region.common(each).is_empty for each in self._drawn)
        luma, blue, red = self.planes() if touched else self.decoded()
        return region.of(luma).copy(), region.of_chroma(blue).copy(), region.of_chroma(red).copy()

    def put(self, region: Region, part: Planes) -> None:
        """Send a part up, and wait until it is there.

        Args:
            region: Where.
            part: From `part`, changed.

        Raises:
            DeviceError: The card has failed.
        """
        luma, blue, red = part
        pairs = np.ascontiguousarray(np.stack([blue, red], axis=-1)).reshape(len(blue), -1)
        y_at, uv_at, _ = self.at
        top, left = region.top, region.left
        self.device.to_device_rows(y_at.address + top * y_at.stride + left, y_at.stride, np.ascontiguousarray(luma))
        self.device.to_device_rows(uv_at.address + top // 2 * uv_at.stride + left, uv_at.stride, pairs)
        self.device.synchronise()
        self.changed(region)

    def leave(self) -> None:
        """Give the card's picture up: from now on it is what the decoder gave, in memory."""
        if self.source is None:
            return
        self.decoded()
        self._forget_drawn()
        self._release()

    def into_memory(self) -> Planes:
        """The picture as it is now, in planes that may be written; the card's is given up."""
        self._as_decoded = planes = self.planes()
        self._forget_drawn()
        self._release()
        for plane in planes:
            plane.flags.writeable = True
        return planes

    def _forget_drawn(self) -> None:
        self._drawn, self._as_drawn = [], None

    def _release(self) -> None:
        if self.source is not None:
            self.source = self._download = None
            self._room.give_back(picture_bytes(self.at))

    def __del__(self) -> None:
        self._release()
