"""What the rest of the code knows of a card: memory by address, and one stream on which everything is queued."""

from typing import Any, Protocol

from numpy.typing import NDArray


class DeviceError(Exception):
    """The card, its driver or its memory is not to be had; the message says which."""


class Device(Protocol):
    """One card, as the thread that opened it sees it."""

    @property
    def stream(self) -> int:
        """Handle of the stream that copies and kernels are queued on."""

    def allocate(self, size: int) -> int:
        """Address of `size` new bytes.

        Raises:
            DeviceError: There is no room.
        """

    def free(self, address: int) -> None:
        """Give back what `allocate` gave."""

    def to_device(self, address: int, array: NDArray[Any]) -> None:
        """Queue a copy of a C-contiguous array to an address."""

    def to_host(self, array: NDArray[Any], address: int) -> None:
        """Queue a copy from an address into a C-contiguous array; it is there after `synchronise`."""

    def synchronise(self) -> None:
        """Wait for all that was queued."""


def open_device() -> Device:
    """The card of this machine.

    Raises:
        DeviceError: There is none.
    """
    raise DeviceError("this version of visavis opens no card")
