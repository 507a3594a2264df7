"""Runs a network with torch on an NVIDIA card: half precision, channels last, one CUDA graph for each batch.

The second engine for a card, where TensorRT is not to be had; it is taken by name. torch keeps a graph of its own for
each (batch, addresses), because its allocator must know of a capture: work that the caller records cannot hold it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.checkpoint import load_generator
from models.engine import DeviceMemoryError, EngineError, TensorSpec
from models.generators import Generator, generator_inputs, generator_output, in_half
from models.graphs import fold_batch_norm

BUCKETS = (1, 2, 4, 8, 16, 32, 64)
_TYPES = {"fp16": "float16", "fp32": "float32"}
_WARM_RUNS = 3


def generator_on_card(
    checkpoint: Path | Generator, *, precision: str = "fp16", device: str = "cuda"
) -> "TorchCudaEngine":
    """A generator on the card.

    Args:
        checkpoint: A safetensors file, or a generator that is already there.
        precision: "fp16" or "fp32".
        device: See `TorchCudaEngine`.

    Raises:
        EngineError: There is no card, or no such precision.
    """
    _check(precision, device)
    generator = load_generator(checkpoint) if isinstance(checkpoint, Path) else checkpoint
    folded = fold_batch_norm(generator)
    if precision == "fp16":
        folded = in_half(folded)
    return TorchCudaEngine(
        folded,
        generator_inputs(generator),
        generator_output(generator),
        precision=precision,
        device=device,
    )


class TorchCudaEngine:
    """See `DeviceEngine`.

    Args:
        network: Takes the inputs in their order; in half precision already where that is asked for.
        inputs: What it takes, the first a picture, which has the type of the precision. The others are floats: turned
            into halves on the host, a window of mel costs more there than all else of a face.
        output: What it gives, in the type of the precision.
        precision: "fp16" or "fp32".
        device: "cuda"; "cpu" runs the same code on host memory, without graphs, for the tests.

    Raises:
        EngineError: There is no card, or no such precision.
    """

    backend = "torch-cuda"
    capturable = False
    buckets = BUCKETS

    def __init__(
        self,
        network: nn.Module,
        inputs: Sequence[TensorSpec],
        output: TensorSpec,
        *,
        precision: str = "fp16",
        device: str = "cuda",
    ) -> None:
        _check(precision, device)
        kind = _TYPES[precision]
        self.precision = precision
        self.inputs: Mapping[str, TensorSpec] = {
            spec.name: TensorSpec(spec.name, spec.shape, "float32" if index else kind)
            for index, spec in enumerate(inputs)
        }
        self._kind = torch.float16 if precision == "fp16" else torch.float32
        self.outputs: Mapping[str, TensorSpec] = {output.name: TensorSpec(output.name, output.shape, kind)}
        self._device = torch.device(device)
        moved = network.eval().to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network: nn.Module | None = moved
        self._graphs: dict[tuple[int, ...], torch.cuda.CUDAGraph] = {}

    def enqueue(self, batch: int, addresses: Mapping[str, int], stream: int) -> None:
        """See `DeviceEngine`."""
        if self._network is None:
            raise EngineError("the engine was closed; load it again")
        specs = {**self.inputs, **self.outputs}
        if addresses.keys() != specs.keys():
            raise EngineError(f"the engine takes addresses of {sorted(specs)}, found {sorted(addresses)}")
        if batch not in BUCKETS:
            raise EngineError(f"a batch of {batch} was asked for, expected one of {BUCKETS}: fill it up")
        if self._device.type == "cpu":
            self._run(self._views(batch, addresses, specs))
            return
        key = (batch, *(addresses[name] for name in specs))
        graph = self._graphs.get(key)
        with torch.cuda.stream(torch.cuda.ExternalStream(stream)):  # type: ignore[no-untyped-call]
            if graph is None:
                graph = self._graphs[key] = self._captured(self._views(batch, addresses, specs))
            graph.replay()

    def _captured(self, views: dict[str, Tensor]) -> torch.cuda.CUDAGraph:
        """Record the network on the current stream, after runs in which libraries choose and allocate."""
        for _ in range(_WARM_RUNS):
            self._run(views)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
            self._run(views)
        return graph

    def _run(self, views: dict[str, Tensor]) -> None:
        assert self._network is not None
        picture, *others = (views[name] for name in self.inputs)
        (output,) = (views[name] for name in self.outputs)
        try:
            with torch.inference_mode():
                shown = picture.contiguous(memory_format=torch.channels_last)
                output.copy_(self._network(shown, *(each.to(self._kind) for each in others)))
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceMemoryError(
                f"the card has no room left for a batch of {len(picture)}: {error}. End another session or process, or "
                "lower sessions_at_most"
            ) from error

    def _views(self, batch: int, addresses: Mapping[str, int], specs: Mapping[str, TensorSpec]) -> dict[str, Tensor]:
        """The memory at the addresses as tensors."""
        return {name: self._view(addresses[name], (batch, *spec.shape[1:]), spec) for name, spec in specs.items()}

    def _view(self, address: int, shape: tuple[int | None, ...], spec: TensorSpec) -> Tensor:
        lies = {"data": (address, False), "shape": shape, "typestr": np.dtype(spec.dtype).str, "version": 3}
        if self._device.type == "cpu":
            return torch.from_numpy(np.asarray(_Array(__array_interface__=lies)))
        return torch.as_tensor(_Array(__cuda_array_interface__=lies), device=self._device)

    def close(self) -> None:
        """See `DeviceEngine`."""
        self._network = None
        self._graphs.clear()


def _check(precision: str, device: str) -> None:
    if precision not in _TYPES:
        raise EngineError(f'torch on a card runs "fp16" or "fp32", found {precision!r}. Ask for precision="fp16"')
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError(
            f"torch {torch.__version__} sees no NVIDIA card. Check nvidia-smi and that torch was installed with CUDA, "
            "or take the CPU's engine: --backend openvino"
        )


class _Array:
    """Memory as NumPy and torch understand it."""

    def __init__(self, **interface: Any) -> None:  # noqa: ANN401 - a protocol's attribute
        vars(self).update(interface)
