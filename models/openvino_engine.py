"""Runs a network with OpenVINO on the CPU.

Precision and thread count are always set and read back: left alone, OpenVINO picks bf16 by itself where
the processor has it. The graph is compiled for a batch of one; a larger batch runs it picture by picture. Measured
(basic mel, width 0.5, int8, two cores): two pictures cost 4.7 ms one after the other, 4.4 ms in a graph compiled for
two, 4.6 ms in a dynamic one, which also makes a single picture 15 % slower. So nothing is compiled when a second face
appears, and a face's picture does not depend on who stands beside it.
"""

import os
import threading
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.blob_cache import usable_folder, vouch
from models.engine import Array, EngineError, TensorSpec, check_feed

# The package is not typed; these say what is meant.
OpenVino = Any
Graph = Any
Compiled = Any

CAPABILITY = {"f32": "FP32", "bf16": "BF16"}
"""OpenVINO's name for the arithmetic behind each inference precision."""


def usable_threads() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def supports(inference_precision: str) -> bool:
    """Whether this processor has arithmetic for "f32" or "bf16"."""
    return CAPABILITY[inference_precision] in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _openvino() -> OpenVino:
    try:
        import openvino
    except ImportError as error:
        raise EngineError(f'OpenVINO is not installed ({error}). Install it: pip install "openvino>=2026.4"') from None
    return openvino


class OpenVinoEngine:
    """One OpenVINO graph, compiled for this machine.

    Args:
        xml: The graph; its constants lie beside it with the suffix .bin.
        inputs: What the network takes; the first axis is the batch.
        outputs: What it gives.
        precision: What the files are: "fp32", "bf16" or "int8".
        inference_precision: "f32" or "bf16": the type of everything that is not quantised.
        threads: How many threads work on one picture.
        cache_folder: Where compiled blobs are kept; None keeps none.

    Attributes:
        from_cache: Whether a compiled blob was used instead of compiling.

    Raises:
        EngineError: OpenVINO is missing, cannot read or compile the graph, or does not run it as asked.
    """

    backend = "openvino"

    def __init__(
        self,
        xml: Path,
        *,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        precision: str,
        inference_precision: str,
        threads: int,
        cache_folder: Path | None = None,
    ) -> None:
        self._openvino = _openvino()
        self.precision = precision
        self.threads = threads
        self.inputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in inputs}
        self.outputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in outputs}
        folder = None if cache_folder is None else usable_folder(cache_folder)
        self._ports = {name: port_name(name, self.inputs) for name in self.outputs}
        compiled = self._compile(xml, _settings(inference_precision, threads, folder))
        self._check_settings(xml, compiled, inference_precision)
        self.from_cache = bool(compiled.get_property("LOADED_FROM_CACHE"))
        if folder is not None:
            vouch(folder)
        self._request: Any = compiled.create_infer_request()
        self._lock = threading.Lock()

    def _compile(self, xml: Path, settings: dict[str, Any]) -> Compiled:
        try:
            core = self._openvino.Core()
            model = core.read_model(xml)
            self._check_names(xml, model)
            model.reshape({name: _batch_of_one(spec) for name, spec in self.inputs.items()})
            return core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            first_line = str(error).strip().splitlines()[-1]
            raise EngineError(f"OpenVINO cannot load {xml}: {first_line}. Export the engine again") from error

    def _check_names(self, xml: Path, model: Graph) -> None:
        named = (("inputs", model.inputs, list(self.inputs)), ("outputs", model.outputs, list(self._ports.values())))
        for kind, ports, names in named:
            found = {port.get_any_name() for port in ports}
            if found != set(names):
                raise EngineError(
                    f"{xml} has {kind} {sorted(found)}, its manifest says {sorted(names)}. Export the engine again"
                )

    def _check_settings(self, xml: Path, compiled: Compiled, inference_precision: str) -> None:
        hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if hint != inference_precision:
            raise EngineError(
                f"{xml} runs in {hint} here, {inference_precision} was asked for: this processor does not have it. "
                'Choose another precision, for example precision="fp32"'
            )

    def infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.infer`."""
        batch = check_feed(self.inputs, feed)
        results = {name: np.empty(_with_batch(spec, batch), spec.dtype) for name, spec in self.outputs.items()}
        with self._lock:
            if self._request is None:
                raise EngineError("the engine was closed; load it again")
            for index in range(batch):
                self._run_one({name: array[index : index + 1] for name, array in feed.items()}, results, index)
        return results

    def _run_one(self, feed: dict[str, Array], results: dict[str, Array], index: int) -> None:
        """Run one picture, reading from the caller's memory and writing into `results`."""
        tensor = self._openvino.Tensor
        for name, array in feed.items():
            self._request.set_tensor(name, tensor(array, shared_memory=array.flags.writeable))
        for name, array in results.items():
            self._request.set_tensor(self._ports[name], tensor(array[index : index + 1], shared_memory=True))
        self._request.infer(share_outputs=True)

    def close(self) -> None:
        """See `Engine.close`."""
        with self._lock:
            self._request = None


def port_name(output: str, inputs: Container[str]) -> str:
    """What an output is called in the graph, where no output may have an input's name."""
    return f"next_{output}" if output in inputs else output


def _settings(inference_precision: str, threads: int, cache_folder: Path | None) -> dict[str, Any]:
    settings = {
        "INFERENCE_PRECISION_HINT": inference_precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # A pinned thread waits for its own core while another is free: with encoders beside it, median 8.2 ms
        # pinned against 5.8 ms (int8, two threads, two busy cores).
        "ENABLE_CPU_PINNING": False,
    }
    return settings if cache_folder is None else {**settings, "CACHE_DIR": str(cache_folder)}


def _batch_of_one(spec: TensorSpec) -> list[int]:
    return [1 if size is None else size for size in spec.shape]


def _with_batch(spec: TensorSpec, batch: int) -> tuple[int, ...]:
    return tuple(batch if size is None else size for size in spec.shape)
