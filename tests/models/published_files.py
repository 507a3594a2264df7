"""Checkpoints in the published formats, with weights made up here: the published ones may not be passed on."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from models.graphs import Samples
from models.lipgan import DECODER, FACE_EMBEDDING, FACE_ENCODER, SOUND_ENCODER, FrontEnd, Variant
from models.wav2lip import Wav2LipGenerator
from tests.models.tiny import samples

Array = NDArray[np.float32]
Layer = tuple[str, dict[str, Array]]


def inputs(count: int, columns: int, *, seed: int) -> Samples:
    """Smooth pictures with a hidden lower half, and mel windows of any length."""
    face = samples(count, seed=seed).face
    rng = np.random.default_rng(seed)
    return Samples(face, rng.uniform(-4, 4, (count, 1, 80, columns)).astype(np.float32))


def wav2lip(seed: int = 0) -> Wav2LipGenerator:
    """Random weights whose batch norms have seen something, so that pictures vary."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    generator = Wav2LipGenerator()
    norms = [layer for layer in generator.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    given = inputs(2, 16, seed=seed)
    with torch.no_grad():
        generator(torch.from_numpy(given.face), torch.from_numpy(given.mel))
        for norm in norms:
            # Off their starting values, so that a forgotten or exchanged statistic shows.
            norm.weight.uniform_(0.8, 1.2)
            norm.bias.uniform_(-0.1, 0.1)
        # Keeps the sigmoid off its ends, where every difference would vanish.
        last = generator.output_block[-2]
        assert isinstance(last, torch.nn.Conv2d)
        last.weight.mul_(0.1)
    return generator.eval()


def keras_layers(variant: Variant, front_end: FrontEnd = "mel", *, seed: int = 0) -> list[Layer]:
    """Layers with weights by Keras' names, in the order in which the published code makes them."""
    return list(_Made(variant, front_end, seed).layers())


class _Made:
    def __init__(self, variant: Variant, front_end: FrontEnd, seed: int) -> None:
        self._variant, self._front_end = variant, front_end
        self._rng = np.random.default_rng(seed)
        self._counts = {"conv2d": 0, "conv2d_transpose": 0, "batch_normalization": 0}

    def layers(self) -> Iterator[Layer]:
        variant, channels, skips = self._variant, 6, []
        for row in FACE_ENCODER[variant]:
            yield from self._row(channels, row)
            channels = row.channels
            skips.append(channels)
        for row in FACE_EMBEDDING[variant]:
            yield from self._row(channels, row)
            channels = row.channels
        heard = 1
        for row in SOUND_ENCODER[variant, self._front_end]:
            yield from self._row(heard, row)
            heard = row.channels
        if variant == "basic":
            # A convolution of the embedding that nothing reads: Keras counts it and does not save it.
            self._counts["conv2d"] += 1
            self._counts["batch_normalization"] += 1
        channels += heard
        for out, _, residual in DECODER:
            yield from self._block("conv2d_transpose", (3, 3, out, channels))
            for _ in range(residual if variant == "residual" else 0):
                yield from self._residual(out)
            channels = out + skips.pop()
        yield from self._block("conv2d", (3, 3, channels, 16))
        yield from self._block("conv2d", (3, 3, 16, 16))
        # Deep residual sums are large: less of them keeps the sigmoid off its ends.
        yield self._conv("conv2d", (1, 1, 16, 3), 0.5 if variant == "basic" else 0.05)

    def _row(self, channels: int, row: object) -> Iterator[Layer]:
        kernel = row.kernel if isinstance(row.kernel, tuple) else (row.kernel, row.kernel)  # type: ignore[attr-defined]
        yield from self._block("conv2d", (*kernel, channels, row.channels))  # type: ignore[attr-defined]
        for _ in range(row.plain):  # type: ignore[attr-defined]
            yield from self._block("conv2d", (3, 3, row.channels, row.channels))  # type: ignore[attr-defined]
        for _ in range(row.residual):  # type: ignore[attr-defined]
            yield from self._residual(row.channels)  # type: ignore[attr-defined]

    def _residual(self, channels: int) -> Iterator[Layer]:
        yield from self._block("conv2d", (3, 3, channels, channels))
        yield from self._block("conv2d", (3, 3, channels, channels), 0.3)

    def _block(self, kind: str, shape: tuple[int, ...], scale: float = 1.0) -> Iterator[Layer]:
        yield self._conv(kind, shape, 1.0)
        channels = shape[2] if kind == "conv2d_transpose" else shape[3]
        yield (
            self._name("batch_normalization"),
            {
                "gamma": scale * self._spread(channels, 0.8, 1.2),
                "beta": self._spread(channels, -0.1, 0.1),
                "moving_mean": self._spread(channels, -0.1, 0.1),
                "moving_variance": self._spread(channels, 0.8, 1.2),
            },
        )

    def _conv(self, kind: str, shape: tuple[int, ...], scale: float) -> Layer:
        taken = shape[3] if kind == "conv2d_transpose" else shape[0] * shape[1] * shape[2]
        out = shape[2] if kind == "conv2d_transpose" else shape[3]
        deviation = scale * (2 / taken) ** 0.5
        # Uniform numbers of that deviation: their stream is the same in every version of NumPy.
        reach = deviation * 3**0.5
        name = self._name(kind)
        return name, {"kernel": self._spread(shape, -reach, reach), "bias": self._spread(out, -0.1, 0.1)}

    def _name(self, kind: str) -> str:
        self._counts[kind] += 1
        return f"{kind}_{self._counts[kind]}"

    def _spread(self, shape: int | tuple[int, ...], low: float, high: float) -> Array:
        unit = self._rng.random(shape, dtype=np.float32)
        return np.float32(low) + np.float32(high - low) * unit


def write_keras(path: Path, layers: list[Layer], *, whole_model: bool = True) -> Path:
    """Write as `model.save` of Keras 2.2.4 does, or as `model.save_weights`.

    Keras lists the layers by their depth in the graph, which interleaves face and sound: here they are shuffled.
    """
    order = np.random.default_rng(0).permutation(len(layers))
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        names = ["input_face", *(layers[i][0] for i in order), "prediction"]
        root.attrs["layer_names"] = np.array([name.encode() for name in names])
        root.attrs["backend"], root.attrs["keras_version"] = b"tensorflow", b"2.2.4"
        for name in ("input_face", "prediction"):
            root.create_group(name).attrs["weight_names"] = np.array([], dtype="S1")
        for i in order:
            name, weights = layers[i]
            group = root.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/{key}:0".encode() for key in weights])
            for key, array in weights.items():
                group.create_dataset(f"{name}/{key}:0", data=array)
    return path
