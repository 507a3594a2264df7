"""Filters on the pictures of a real clip: what each costs, and what a thousand switches between them cost.

`python -m benchmarks run filtering --size 640x480`. A picture is checked before anything is timed: it has changed, and
the same picture again gives the same bytes. A switch is a picture whose filter is another one than that of the picture
before; it is compared with pictures of the same filters that were not switched.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import clips
from benchmarks.harness import RESULTS, Measurement, percentiles, rows, table, write_result
from benchmarks.transport import parse_size
from kernels.folded_planes import cells_to_frame, frame_to_cells
from kernels.frame_tensor import frame_to_tensor, tensor_to_frame
from kernels.yuv import Planes, Region
from models.filter_catalogue import FILTERS, filter_names, load_filter
from stream.clock import MonotonicClock
from stream.filter_sources import SOURCES, View
from stream.filter_stage import FilterStage, FilterTask
from stream.filters import Chosen, Filter, FilterShelf
from stream.frames import NS_PER_S, VideoFrame

_CLIP = Path(__file__).parents[1] / "stream" / "assets" / "sample.mp4"
_FPS = 25
_WARMUP = 20
_PICTURES = 250
_SWITCHES = 1000


@dataclass(frozen=True, slots=True)
class Material:
    """Pictures of a clip, copied for each use, since filters work in place."""

    pictures: Sequence[Planes]

    def frame(self, number: int) -> VideoFrame:
        """Picture `number` of the clip, which begins anew at its end; time goes on."""
        y, u, v = (plane.copy() for plane in self.pictures[number % len(self.pictures)])
        return VideoFrame(number * NS_PER_S // _FPS, 0, "yuv420p", (y, u, v))


def material(clip: Path, width: int, height: int, count: int = 100) -> Material:
    """The first pictures of a clip at that size."""
    frames = itertools.islice(clips.clip_frames(clip, width, height, _FPS), count)
    return Material([_planes(frame, width, height) for frame in frames])


def _planes(yuv: NDArray[np.uint8], width: int, height: int) -> Planes:
    """The planes of an I420 picture [H * 3 / 2, W] as OpenCV lays it out; sides are even."""
    luma, chroma = yuv[:height], yuv[height:].reshape(2, height // 2, width // 2)
    return luma, chroma[0], chroma[1]


def check(made: Filter, shown: Material) -> None:
    """A filter changes a picture, and makes the same of the same one.

    Raises:
        RuntimeError: It does not.
    """
    results = []
    for _ in range(2):
        stage = FilterStage(MonotonicClock())
        frame = shown.frame(0)
        stage.process(FilterTask(frame, (), Chosen(made)))
        again = VideoFrame(frame.pts_ns + 1, 0, "yuv420p", shown.frame(0).planes)
        stage.process(FilterTask(again, (), Chosen(made)))
        results += [frame, again]
    first = results[0].planes
    same = all(np.array_equal(a, b) for each in results for a, b in zip(first, each.planes, strict=True))
    changed = any((a != b).any() for a, b in zip(first, shown.frame(0).planes, strict=True))
    if not same or not changed:
        raise RuntimeError(f"{made}: {'nothing changed' if same else 'the same picture came out differently'}")


def cost(made: Filter, shown: Material) -> list[Measurement]:
    """The whole stage, and its network alone."""
    stage, numbers = FilterStage(MonotonicClock()), itertools.count()
    chosen = Chosen(made)
    beside = made.start()
    frame = shown.frame(0)
    view = View(frame, Region(0, 0, frame.height, frame.width), made.size_px)
    tensor = SOURCES[made.manifest.source](view)[None]
    name, (height, width) = made.manifest.name, made.size_px
    return [
        _timed(f"{name}, a picture", lambda: FilterTask(shown.frame(next(numbers)), (), chosen), stage.process),
        _timed(f"{name}, its network ({width} x {height})", lambda: tensor, lambda given: made.draw(given, beside)),
    ]


def conversion(shown: Material, size: tuple[int, int]) -> list[Measurement]:
    """What is spent around a network of that size, on RGB and on planes."""
    tensor, numbers = frame_to_tensor(shown.frame(0).planes, size), itertools.count()
    cells = frame_to_cells(shown.frame(0).planes, size)
    return [
        _timed(
            f"to cells of {size[1]} x {size[0]}",
            lambda: shown.frame(next(numbers)),
            lambda frame: frame_to_cells(frame.planes, size),
        ),
        _timed(
            f"back from cells of {size[1]} x {size[0]}",
            lambda: shown.frame(next(numbers)),
            lambda frame: cells_to_frame(cells, frame.planes),
        ),
        _timed(
            f"to a tensor of {size[1]} x {size[0]}",
            lambda: shown.frame(next(numbers)),
            lambda frame: frame_to_tensor(frame.planes, size),
        ),
        _timed(
            f"back from {size[1]} x {size[0]}",
            lambda: shown.frame(next(numbers)),
            lambda frame: tensor_to_frame(tensor, frame.planes),
        ),
    ]


def _timed(name: str, prepare: Callable[[], Any], run: Callable[[Any], object]) -> Measurement:
    """Time `run` alone, on what was prepared for it."""
    durations_ms = []
    for number in range(_WARMUP + _PICTURES):
        given = prepare()
        begun_ns = time.perf_counter_ns()
        run(given)
        if number >= _WARMUP:
            durations_ms.append((time.perf_counter_ns() - begun_ns) / 1e6)
    return Measurement(name, percentiles(durations_ms), {"warmup": _WARMUP})


def of_whole_pictures(shelf: FilterShelf) -> list[Filter]:
    """The filters that need no face; the others are said to be left out."""
    found = {name: shelf.find(name) for name in shelf.names}
    for name, made in found.items():
        if made.manifest.region != "frame":
            print(f"left out: {name} is for a {made.manifest.region}, see the pipeline")
    return [made for made in found.values() if made.manifest.region == "frame"]


def switching(filters: Sequence[Filter], shown: Material) -> list[Measurement]:
    """A picture each for `_SWITCHES` filters in turn, and as many with every filter kept for a run of pictures."""
    runs = {"switched for every picture": 1, "kept for 50 pictures": 50}
    measured = []
    for name, kept in runs.items():
        stage, durations_ms = FilterStage(MonotonicClock()), []
        for number in range(_WARMUP + _SWITCHES):
            chosen = Chosen(filters[number // kept % len(filters)])
            task = FilterTask(shown.frame(number), (), chosen)
            begun_ns = time.perf_counter_ns()
            stage.process(task)
            if number >= _WARMUP:
                durations_ms.append((time.perf_counter_ns() - begun_ns) / 1e6)
        measured.append(Measurement(name, percentiles(durations_ms), {"filters": len(filters), "filtered": stage.made}))
    return measured


def main(argv: list[str]) -> int:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run filtering", description=__doc__)
    parser.add_argument("--size", type=parse_size, default=(640, 480), metavar="WxH")
    parser.add_argument("--folder", type=Path, default=FILTERS, help="of filters")
    parser.add_argument("--clip", type=Path, default=_CLIP)
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    asked = parser.parse_args(argv)
    names = filter_names([asked.folder])
    if not names:
        print(f"no filter in {asked.folder}")
        return 2
    width, height = asked.size
    shown = material(asked.clip, width, height)
    shelf = FilterShelf(names, lambda name: load_filter(name, folders=[asked.folder]), MonotonicClock(), required=True)
    measured: list[Measurement] = []
    filters = of_whole_pictures(shelf)
    for made in filters:
        check(made, shown)
        measured += cost(made, shown)
    for size in sorted({made.size_px for made in filters}):
        measured += conversion(shown, size)
    switches = switching(filters, shown) if len(filters) > 1 else []
    body = {"size": f"{width}x{height}", "costs": rows(measured), "switching": rows(switches)}
    path = write_result(f"filtering-{width}x{height}", body, asked.results)
    print(table([*measured, *switches]))
    print(path)
    shelf.close()
    return 0
