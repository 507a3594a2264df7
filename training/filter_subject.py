"""What `evaluate-filter` measures: a run's averaged network in torch, or a filter as it is shipped, by one function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kernels.yuv import BT601_LUMA
from models.filter_graphs import AsTrained, FilterSamples, ServedFilter, as_served, pictures, shown_to
from models.filter_networks import config_of
from models.steady_filter import SteadyFilter
from training.config import ConfigError
from training.data.pair_batches import PairDataConfig, as_levels, as_units
from training.data.pair_makers import Rgb
from training.filter_glance import SIDE_MULTIPLE
from training.filter_network import Filter, drawn_run, has_memory
from training.pix2pix import filter_of_run

if TYPE_CHECKING:
    from models.filter_catalogue import LoadedFilter

Units = NDArray[np.float32]
"""float32 [T, 3, H, W] in [-1, 1]."""


@dataclass(frozen=True, slots=True)
class FilterSubject:
    """A filter to measure.

    Attributes:
        name: For the report.
        draw: The frames of one film, in order, to as many pictures; the film begins with an empty memory.
        notes: For the report.
        memory: Whether what is drawn depends on the frames before.
    """

    name: str
    draw: Callable[[Units], Units]
    notes: dict[str, Any]
    memory: bool = False

    def pictures(self, frames: list[Rgb]) -> list[Rgb]:
        """The same in levels."""
        return [as_levels(each) for each in self.draw(np.stack([as_units(each) for each in frames]))]

    def alone(self, frames: list[Rgb]) -> list[Rgb]:
        """The same without memory: each frame as the first of a film."""
        return [self.pictures([each])[0] for each in frames]


def run_subject(checkpoint: Path) -> tuple[FilterSubject, PairDataConfig]:
    """The averaged network of a run, drawing as it is exported, and how its pairs were cut.

    Raises:
        ConfigError: Missing or broken file.
    """
    network, config, step = filter_of_run(checkpoint)
    notes = {"step": step, "network": config_of(network), "seed": config.run.seed, "precision": "fp32 (torch)"}
    how = AsTrained()
    if config.run.batch == 1 and any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()):
        how = AsTrained(statistics="picture")
        notes["statistics"] = "of the picture that is drawn, as while training with a batch of one; dropout off"
    return FilterSubject(checkpoint.parent.name, torch_drawer(network, how), notes, has_memory(network)), config.pairs


def torch_drawer(network: Filter, how: AsTrained) -> Callable[[Units], Units]:
    """A network in eval mode as a function of a film; a steady one follows what moves, as where it is served."""
    if isinstance(network, SteadyFilter):
        return _steady_drawer(network, how)
    if how.statistics == "picture":
        network = cast("Filter", as_served(network, (SIDE_MULTIPLE, SIDE_MULTIPLE), how))
    network.eval()
    device = next(network.parameters()).device

    @torch.no_grad()
    def draw(frames: Units) -> Units:
        film = torch.from_numpy(frames)[None].to(device)
        return np.asarray(drawn_run(network, film, memory=has_memory(network))[0].float().cpu().numpy())

    return draw


def _steady_drawer(network: SteadyFilter, how: AsTrained) -> Callable[[Units], Units]:
    def draw(frames: Units) -> Units:
        size_px = frames.shape[2], frames.shape[3]
        served = as_served(network, size_px, how)
        film = FilterSamples(shown_to(served, frames), run=len(frames))
        return pictures(ServedFilter(served, size_px), film) * 2.0 - 1.0

    return draw


def shipped_subject(name: str, precision: str | None, folder: Path | None = None) -> FilterSubject:
    """A filter as it is served, at its own size: smaller pictures are laid in its middle, their surroundings mirrored.

    Of one that is shown grey, pictures are mirrored to its shape and resized, and keep their own luma, as live.

    Raises:
        EngineError: It is not there, or cannot be opened.
    """
    from models.filter_catalogue import FILTERS, load_filter
    from models.filter_graphs import in_cells, rgb_of

    loaded = load_filter(name, precision, folders=(folder or FILTERS,))
    height, width = loaded.size_px

    def draw(frames: Units) -> Units:
        if loaded.manifest.source == "grey":
            return np.stack([_coloured(each, loaded) for each in frames])
        tall, wide = frames.shape[2:]
        if tall > height or wide > width:
            raise ConfigError(f"{name} draws {width} x {height} px, a picture to measure has {wide} x {tall}")
        top, left = (height - tall) // 2, (width - wide) // 2
        around = ((0, 0), (top, height - tall - top), (left, width - wide - left))
        beside, drawn = loaded.start(), []
        for frame in frames:
            shown = np.pad(frame, around, mode="symmetric")[None]
            shown = in_cells(shown) if loaded.manifest.source == "planes" else shown
            picture, beside = loaded.draw(shown, beside)
            drawn.append(np.array(rgb_of(picture)[0, :, top : top + tall, left : left + wide]))
        return np.stack(drawn)

    manifest = loaded.manifest
    notes = {"network": manifest.network, "precision": loaded.precision, "size_px": list(manifest.size_px)}
    return FilterSubject(name, draw, notes, manifest.recurrent)


def _coloured(frame: Units, loaded: LoadedFilter) -> Units:
    """A grey picture [3, H, W] with the colours that a filter lays on it, and its own luma."""
    height, width = loaded.size_px
    tall, wide = frame.shape[1:]
    whole = max(tall, -(-wide * height // width)), max(wide, -(-tall * width // height))
    top, left = (whole[0] - tall) // 2, (whole[1] - wide) // 2
    around = ((0, 0), (top, whole[0] - tall - top), (left, whole[1] - wide - left))
    shown = np.pad(frame, around, mode="symmetric").transpose(1, 2, 0)
    small = cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
    picture, _ = loaded.draw(np.ascontiguousarray(small)[None], loaded.start())
    large = cv2.resize(picture[0].transpose(1, 2, 0), whole[::-1], interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
    drawn = large[:, top : top + tall, left : left + wide]
    missing = np.tensordot(np.array(BT601_LUMA, np.float32), frame - drawn, 1)
    return np.asarray(np.clip(drawn + missing, -1.0, 1.0), np.float32)
