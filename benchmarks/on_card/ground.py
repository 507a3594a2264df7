"""What the card itself can do: copy bandwidth, the bus, half-precision arithmetic. Floors are counted from it."""

from typing import Any

import numpy as np

from benchmarks.harness import percentiles
from kernels.cuda.device import Device

_COPY_BYTES = 1 << 30
_BUS_BYTES = 64 << 20
_SIDE = 8192
_REPEATS = 20


def run(device: Device) -> dict[str, Any]:
    """Measure all of it; what cannot be measured says why."""
    free, total = device.memory()
    found: dict[str, Any] = {
        "name": device.name,
        "compute_capability": f"{device.capability[0]}.{device.capability[1]}",
        "memory_bytes": {"free": free, "total": total},
        "bus": _bus(device, min(_BUS_BYTES, free // 4)),
    }
    return found | _by_torch(min(_COPY_BYTES, free // 4))


def _bus(device: Device, size: int) -> dict[str, Any]:
    pinned, room = device.pinned(size, np.uint8), device.allocate(size)
    pinned[:] = 1
    try:
        ways = {"up": lambda: device.to_device(room, pinned), "down": lambda: device.to_host(pinned, room)}
        rates = {name: [size / device.timed(way) / 1e6 for _ in range(_REPEATS)] for name, way in ways.items()}
    finally:
        device.free(room)
    return {f"{name}_gb_s": percentiles(values).p50 for name, values in rates.items()} | {"bytes": size}


def _by_torch(size: int) -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        return {"torch": f"not measured: torch {torch.__version__} sees no card"}
    source = torch.ones(size, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    one = torch.randn(_SIDE, _SIDE, dtype=torch.float16, device="cuda")
    copies = [_timed(torch, lambda: target.copy_(source)) for _ in range(_REPEATS)]
    products = [_timed(torch, lambda: one @ one) for _ in range(_REPEATS)]
    return {
        "torch": torch.__version__,
        "copy_gb_s": 2 * size / percentiles(copies).p50 / 1e6,
        "fp16_tflop_s": 2 * _SIDE**3 / percentiles(products).p50 / 1e9,
    }


def _timed(torch: Any, work: Any) -> float:  # noqa: ANN401 - the module, and a function of its tensors
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    work()
    first.record()
    work()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last))
