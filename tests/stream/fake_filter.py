"""Filters without a network: each paints the picture in one grey, or negates it, and does what a test asks of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.engine import EngineError, TensorSpec, check_feed
from stream.clock import Clock
from stream.filters import FilterShelf

SIDE = 32


@dataclass(eq=False)
class FakeFilter:
    """An engine with "frame" in and out.

    Attributes:
        name: Of the filter.
        level: What every pixel becomes, in [-1, 1]; None negates the picture.
        region: What it is for.
        source: What it is shown.
        classes: Of a layout.
        remembers: It has a state, which counts pictures and brightens them.
        follows: It would look for what moved.
        noisy: It takes noise, and shows its mean.
        fails: It raises.
        act: Called with each run, for instance to take time.
        runs: How often it ran.
        hurries: How often it was told to hurry.
    """

    name: str = "grey"
    level: float | None = 0.0
    region: str = "frame"
    source: str = "picture"
    classes: tuple[str, ...] = ()
    remembers: bool = False
    follows: bool = False
    noisy: bool = False
    fails: bool = False
    act: Callable[[], None] = lambda: None
    runs: int = 0
    hurries: int = 0
    closed: bool = False
    size: tuple[int, int] = (SIDE, SIDE)
    backend: str = "fake"
    precision: str = "fp32"
    inputs: dict[str, TensorSpec] = field(default_factory=dict)
    outputs: dict[str, TensorSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.manifest = SimpleNamespace(
            name=self.name, title=f"All {self.name}", region=self.region, source=self.source, classes=self.classes
        )
        for specs in (self.inputs, self.outputs):
            channels = len(self.classes) or 3 if specs is self.inputs else 3
            specs["frame"] = TensorSpec("frame", (1, channels, *self.size))
            if self.source == "planes":
                height, width = self.size
                specs["frame"] = TensorSpec("frame", (1, height // 4, width // 4, 24), "uint8")
            if self.remembers:
                specs["state"] = TensorSpec("state", (1, 1, 2, 2))
        if self.noisy:
            self.inputs["z"] = TensorSpec("z", (1, 8))

    @property
    def size_px(self) -> tuple[int, int]:
        return self.size

    def start(self) -> dict[str, NDArray[Any]]:
        shapes = {name: spec.shape for name, spec in self.inputs.items() if name != "frame"}
        return {name: np.full([size or 1 for size in shape], name == "z", np.float32) for name, shape in shapes.items()}

    def draw(
        self, frame: NDArray[Any], beside: Mapping[str, NDArray[Any]], *, hurried: bool = False
    ) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        self.hurries += hurried
        drawn = self.infer({"frame": frame, **beside})
        return drawn.pop("frame"), {**beside, **drawn}

    def infer(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        check_feed(self.inputs, feed)
        self.runs += 1
        self.act()
        if self.fails:
            raise EngineError("the fake was told to fail")
        if self.source == "planes":
            return {"frame": 255 - feed["frame"] if self.level is None else self._grey_cells(feed["frame"])}
        shown = feed["frame"][:, :3]
        frame = -shown if self.level is None else np.full_like(shown, self.level)
        if self.noisy:
            frame = frame + 0.01 * feed["z"].mean()
        if not self.remembers:
            return {"frame": frame}
        return {"frame": frame + 0.1 * feed["state"].mean(), "state": feed["state"] + 1}

    def _grey_cells(self, cells: NDArray[Any]) -> NDArray[Any]:
        assert self.level is not None
        grey = np.full_like(cells, 128)
        grey[..., :16] = round(16 + 219 * (self.level + 1) / 2)
        return grey

    def close(self) -> None:
        self.closed = True


class Fakes:
    """A shelf's filters, how often each was opened, and which of them is for covered mouths."""

    def __init__(self, *filters: FakeFilter, when_covered: str = "") -> None:
        self.when_covered = when_covered
        self.by_name = {each.name: each for each in filters}
        self.opened: list[str] = []

    def open(self, name: str) -> FakeFilter:
        self.opened.append(name)
        if name not in self.by_name:
            raise EngineError(f"no file of the filter {name}. Fetch it again")
        return self.by_name[name]

    def shelf(self, clock: Clock) -> FilterShelf:
        return FilterShelf(list(self.by_name), self.open, clock, when_covered=self.when_covered)
