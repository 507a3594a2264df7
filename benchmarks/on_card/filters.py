"""A whole-frame filter on the card: frame to tensor, the published U-Net, tensor to frame; by torch in half precision.

Its weights are fresh: what they are changes no time.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.harness import percentiles
from benchmarks.on_card.scene import Rooms, upload
from benchmarks.pictures import smooth_planes
from kernels.cuda.device import Device
from kernels.cuda.frame_jobs import (
    frame_to_tensor_job,
    launch_frames_to_tensors,
    launch_tensors_to_frames,
    tensor_to_frame_job,
)
from models.device_engine import DeviceEngine
from models.engine import TensorSpec

SIDE = 256
FRAMES = (1, 8, 32)
_HEIGHT, _WIDTH = 720, 1280


def unet_on_card(device: str = "cuda", precision: str = "fp16", channels: int = 64) -> DeviceEngine:
    """Pix2Pix's U-Net-256.

    Raises:
        EngineError: There is no card.
    """
    from models.pix2pix import UNetConfig, UNetGenerator
    from models.torch_cuda_engine import TorchCudaEngine

    network = UNetGenerator(UNetConfig(channels=channels)).eval()
    shape = (None, 3, SIDE, SIDE)
    halved = network.half() if precision == "fp16" else network
    inputs = (TensorSpec("frame", shape),)
    return TorchCudaEngine(halved, inputs, TensorSpec("drawn", shape), precision=precision, device=device)


def run(
    device: Device, network: DeviceEngine, *, frames: Sequence[int] = FRAMES, repeats: int = 100
) -> list[dict[str, Any]]:
    """Time all of it, and the network alone, for so many frames of 1280x720 at once."""
    return [row for count in frames for row in _of(device, network, count, repeats)]


def _of(device: Device, network: DeviceEngine, count: int, repeats: int) -> list[dict[str, Any]]:
    rooms = Rooms(device)
    half = network.inputs["frame"].dtype == "float16"
    size = SIDE, SIDE
    tensor_bytes = 3 * SIDE * SIDE * (2 if half else 4)
    try:
        planes = smooth_planes(_HEIGHT, _WIDTH)
        at = [upload(rooms, planes)[0] for _ in range(count)]
        addresses = {name: rooms.take(count * tensor_bytes) for name in ("frame", "drawn")}
        steps = tensor_bytes * np.arange(count, dtype=np.uint64)
        tables = {name: rooms.holding(address + steps) for name, address in addresses.items()}
        into = rooms.holding(b"".join(bytes(frame_to_tensor_job(each, size)) for each in at))
        back = rooms.holding(b"".join(bytes(tensor_to_frame_job(each, size)) for each in at))

        def alone() -> None:
            network.enqueue(count, addresses, device.stream)

        def whole() -> None:
            launch_frames_to_tensors(device, into, tables["frame"], count, size, half=half)
            alone()
            launch_tensors_to_frames(device, back, tables["drawn"], count, size, (_HEIGHT, _WIDTH), half=half)

        rows = []
        for name, work in (("the network alone", alone), ("frame to frame", whole)):
            for _ in range(3):
                work()
            device.synchronise()
            ms = percentiles([device.timed(work) for _ in range(repeats)])
            rows.append({"filter": "U-Net-256", "what": name, "frames": count, "ms": asdict(ms)})
        return rows
    finally:
        rooms.close()
