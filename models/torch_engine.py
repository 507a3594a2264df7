"""Runs a generator with torch: the reference that exported engines are held against.

It is several times slower than the CPU runtime and exists for parity, not for serving.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from models.checkpoint import load_generator
from models.engine import Array, EngineError, TensorSpec, check_feed
from models.generators import OUTPUT_NAME, Generator, generator_inputs, generator_output


class TorchEngine:
    """A generator in eager torch on the CPU.

    Args:
        checkpoint: A safetensors file, or a generator that is already there.
        precision: "fp32", or "bf16" by autocast.
        threads: Threads of torch, which has one setting for the whole process.

    Raises:
        EngineError: The checkpoint is missing or does not fit, or there is no such precision in torch.
    """

    backend = "torch"

    def __init__(self, checkpoint: Path | Generator, *, precision: str = "fp32", threads: int = 1) -> None:
        if precision not in ("fp32", "bf16"):
            raise EngineError(f'torch runs "fp32" or "bf16", found precision {precision!r}. Ask for precision="fp32"')
        generator = load_generator(checkpoint) if isinstance(checkpoint, Path) else checkpoint
        torch.set_num_threads(threads)
        self.precision = precision
        self.threads = threads
        self.inputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in generator_inputs(generator)}
        self.outputs: Mapping[str, TensorSpec] = {OUTPUT_NAME: generator_output(generator)}
        generator.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._generator: Generator | None = generator

    def infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.infer`."""
        check_feed(self.inputs, feed)
        if self._generator is None:
            raise EngineError("the engine was closed; load it again")
        face, mel = (torch.from_numpy(np.require(feed[name], requirements="W")) for name in ("face", "mel"))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            picture = self._generator(face, mel)
        return {OUTPUT_NAME: np.ascontiguousarray(picture.float().numpy())}

    def close(self) -> None:
        """See `Engine.close`."""
        self._generator = None
