"""What every recipe's loop has in common: processes and devices, the learning rate's course, averaged weights, log."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision, Precision
from numpy.typing import NDArray
from torch import Tensor, nn

from training.checkpoint import CHECKPOINT_FILE
from training.config import ConfigError

LOG_FILE = "log.jsonl"


class Bfloat16(MixedPrecision):
    """Autocast to bfloat16 that leaves inputs alone.

    Fabric's own "bf16-mixed" rounds them as well, and a generator that moves pixels would be shown rounded ones.
    """

    def __init__(self, device: str) -> None:
        super().__init__("bf16-mixed", device)

    def convert_input(self, data: Any) -> Any:  # noqa: ANN401 - the base class's signature
        """Nothing."""
        return data


def launched(*, bf16: bool, devices: int = 1, accelerator: str = "auto") -> Fabric:
    """The processes of a run; with several, this starts the others, which run the same command.

    Args:
        bf16: Autocast to bfloat16, otherwise float32 throughout.
        devices: Processes, one for each GPU, or so many on the CPU; they average their gradients (DDP).
        accelerator: "cuda", "cpu", or "auto": CUDA where there is a card.

    Raises:
        ConfigError: More GPUs are asked for than there are.
    """
    cards = torch.cuda.device_count()
    if accelerator == "auto":
        accelerator = "cuda" if cards else "cpu"
    if accelerator == "cuda" and cards < devices:
        raise ConfigError(f"--devices {devices} on cuda, but this machine has {cards} GPUs; ask for fewer, or for cpu")
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        plugins=[Bfloat16(accelerator) if bf16 else Precision()],
    )
    fabric.launch()
    return fabric


def begun(run: Path, threads: int, *, resume: bool) -> Path:
    """Make a run's folder and say how this process calculates.

    Returns:
        Where the run's checkpoint goes.

    Raises:
        ConfigError: There is one, and it is not to be resumed.
    """
    checkpoint = run / CHECKPOINT_FILE
    if checkpoint.exists() and not resume:
        raise ConfigError(f"{run} holds a run already; pass --resume, or another --run folder")
    run.mkdir(parents=True, exist_ok=True)
    calculate_with(threads)
    return checkpoint


def calculate_with(threads: int) -> None:
    """Torch's threads; denormal gradients, which cost a fifth of a step, become 0."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def onto(fabric: Fabric, *arrays: NDArray[np.float32]) -> tuple[Tensor, ...]:
    """Arrays as tensors on this process's device."""
    return tuple(torch.from_numpy(each).to(fabric.device) for each in arrays)


class Course(Protocol):
    """How the learning rate goes; run configs have these fields."""

    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def learning_rate(self) -> float: ...  # noqa: D102
    @property
    def final_learning_rate(self) -> float: ...  # noqa: D102
    @property
    def warm_up_steps(self) -> int: ...  # noqa: D102
    @property
    def decay_from_step(self) -> int: ...  # noqa: D102


def learning_rate_at(step: int, course: Course) -> float:
    """Linear warm-up, constant, cosine to the final rate."""
    ramp = min(1.0, (step + 1) / max(course.warm_up_steps, 1))
    decay = max(0, step - course.decay_from_step) / max(course.steps - course.decay_from_step, 1)
    span = course.learning_rate - course.final_learning_rate
    return ramp * (course.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * min(decay, 1.0))))


def set_learning_rate(adam: torch.optim.Adam, rate: float) -> None:
    """From the next step on."""
    for group in adam.param_groups:
        group["lr"] = rate


@torch.no_grad()
def channels_last(*networks: nn.Module) -> None:
    """Lay weights of convolutions out as a processor learns fastest with them; transposed ones stay as they are.

    A step of Pix2Pix's U-Net-128 took 0.40 s of a core with AVX-512 in place of 0.53 where those were laid out as well.
    """
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


def average(averaged: nn.Module, current: nn.Module, step: int, decay: float) -> None:
    """Move averaged weights (and batch-norm statistics) towards the current ones; faster at the start."""
    keep = min(decay, (1 + step) / (10 + step))
    for kept, new in zip(averaged.state_dict().values(), current.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - keep)
        else:
            kept.copy_(new)


class RunLog:
    """Rows of numbers, one JSON line each; for TensorBoard too where the `tensorboard` package is installed.

    The JSON lines are the truth: a resumed run appends to them, and nothing is read back from TensorBoard.

    Args:
        run: The run's folder.
        silent: Write nothing; for all processes of a run but one.
    """

    def __init__(self, run: Path, *, silent: bool = False) -> None:
        self._path = run / LOG_FILE
        self._silent = silent
        self._board = None if silent else _board(run)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board is not None:
            self._board.close()

    def write(self, row: dict[str, float]) -> None:
        """Append one row; its first entry is the step, under the name that says whose."""
        if self._silent:
            return
        rounded = {key: round(value, 5) for key, value in row.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rounded) + "\n")
        if self._board is not None:
            step, *values = row.items()
            for key, value in values:
                self._board.add_scalar(key, value, int(step[1]))


def _board(run: Path) -> Any:  # noqa: ANN401 - the class exists only where tensorboard does
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run / "tensorboard"))
