"""NVIDIA's driver, asked directly: which version it is, which card there is, and work recorded as a CUDA graph.

Only the driver's own library is needed (libcuda.so.1), no toolkit and no package: it is loaded when it is asked for.

Source: CUDA Driver API 13.0, sections 6.2 (version), 6.5 (device), 6.18 (stream capture), 6.23 (graphs).
"""

import ctypes
from collections.abc import Callable
from typing import Any

from kernels.cuda.device import DeviceError

LIBRARY = "libcuda.so.1"
NEEDED = (13, 0)
"""The CUDA that the packages of the extras are built for; drivers from 580 on have it."""

_MAJOR, _MINOR = 75, 76
_THREAD_LOCAL = 1
_Handle = ctypes.c_void_p


class Driver:
    """The driver's library.

    Args:
        library: Its name, or its path.

    Raises:
        DeviceError: It is not there, it is too old, or it finds no card.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        try:
            self._cuda: Any = ctypes.CDLL(library)
        except OSError:
            raise DeviceError(
                f"there is no NVIDIA driver on this machine ({library} cannot be loaded); install 580 or newer"
            ) from None
        self._call("cuInit", ctypes.c_uint(0))
        self.version = self._version()
        if self.version < NEEDED:
            raise DeviceError(
                f"the NVIDIA driver knows CUDA {_dotted(self.version)}, expected {_dotted(NEEDED)} or newer; "
                "install 580 or newer"
            )

    def _call(self, name: str, *arguments: Any) -> None:  # noqa: ANN401 - C's own types
        status = getattr(self._cuda, name)(*arguments)
        if status:
            text = ctypes.c_char_p()
            self._cuda.cuGetErrorName(status, ctypes.byref(text))
            raise DeviceError(f"the NVIDIA driver says {(text.value or b'error').decode()} ({status}) to {name}")

    def _version(self) -> tuple[int, int]:
        found = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(found))
        return found.value // 1000, found.value % 1000 // 10

    def compute_capability(self, ordinal: int = 0) -> str:
        """Of a card, such as "8.6".

        Raises:
            DeviceError: There is no such card.
        """
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(ordinal))
        return f"{self._attribute(_MAJOR, device)}.{self._attribute(_MINOR, device)}"

    def _attribute(self, attribute: int, device: ctypes.c_int) -> int:
        found = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(found), ctypes.c_int(attribute), device)
        return found.value

    def capture(self, stream: int, work: Callable[[], None]) -> "Graph":
        """Record what `work` queues on a stream instead of running it.

        Args:
            stream: Not the default stream.
            work: Queues on `stream`; allocates nothing and waits for nothing.

        Raises:
            DeviceError: Something in it cannot be recorded.
        """
        # Other threads may allocate meanwhile.
        self._call("cuStreamBeginCapture_v2", _Handle(stream), ctypes.c_int(_THREAD_LOCAL))
        graph, ready = _Handle(), _Handle()
        try:
            try:
                work()
            finally:
                # Also after an exception: a stream left recording would refuse everything.
                status = self._cuda.cuStreamEndCapture(_Handle(stream), ctypes.byref(graph))
            if status or not graph:
                raise DeviceError(f"work on the card could not be recorded as a CUDA graph ({status})")
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(ready), graph, ctypes.c_ulonglong(0))
        finally:
            if graph:
                self._cuda.cuGraphDestroy(graph)
        return Graph(self, ready)


class Graph:
    """Recorded work, ready to be queued at once."""

    def __init__(self, driver: Driver, handle: ctypes.c_void_p) -> None:
        self._driver = driver
        self._handle: ctypes.c_void_p | None = handle

    def launch(self, stream: int) -> None:
        """Queue it.

        Raises:
            DeviceError: The card is lost, or the graph was closed.
        """
        if self._handle is None:
            raise DeviceError("a CUDA graph was used after it was closed")
        self._driver._call("cuGraphLaunch", self._handle, _Handle(stream))

    def close(self) -> None:
        """Give it back; calling it twice is harmless."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._driver._call("cuGraphExecDestroy", handle)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
