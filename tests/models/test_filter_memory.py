"""What goes in beside a frame: a state as it came back, or the frame before and its drawing, moved along."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.pictures import waves
from kernels.folded_planes import folded, unfolded
from models.engine import TensorSpec
from models.filter_memory import FilterMemory

pytestmark = pytest.mark.unit

HEIGHT, WIDTH = 96, 128
CELLS = (None, HEIGHT // 4, WIDTH // 4, 24)
PLANES = {
    "frame": TensorSpec("frame", CELLS, "uint8"),
    "state": TensorSpec("state", CELLS, "uint8"),
    "last": TensorSpec("last", CELLS),
}
RGB = {
    "frame": TensorSpec("frame", (None, 3, HEIGHT, WIDTH)),
    "state": TensorSpec("state", (None, 3, HEIGHT, WIDTH)),
    "last": TensorSpec("last", (None, 48, HEIGHT // 4, WIDTH // 4)),
}


def grey(shift: float = 0.0) -> NDArray[np.float32]:
    """[H, W], moved to the right."""
    return waves(HEIGHT, WIDTH, right_px=shift).astype(np.float32)


def cells(shift: float = 0.0) -> NDArray[np.uint8]:
    """Folded planes of grey waves, [1, H / 4, W / 4, 24]."""
    chroma = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    return np.asarray(folded((waves(HEIGHT, WIDTH, right_px=shift), chroma, chroma)), np.uint8)[None]


def rgb(shift: float = 0.0) -> NDArray[np.float32]:
    """Grey waves as RGB [1, 3, H, W] in [-1, 1]."""
    return np.repeat((grey(shift) / 127.5 - 1)[None, None], 3, 1)


def test_a_state_goes_in_as_it_came_back() -> None:
    specs = {"frame": TensorSpec("frame", (None, 3, 8, 8)), "state": TensorSpec("state", (None, 4, 2, 2))}
    memory = FilterMemory(specs)
    frame, state = np.ones((1, 3, 8, 8), np.float32), np.full((1, 4, 2, 2), 7, np.float32)
    assert list(memory.empty()) == ["state"]
    assert memory.empty()["state"].shape == (1, 4, 2, 2)
    kept = memory.kept(frame, {"frame": frame, "state": state})
    assert memory.feed(frame, kept)["state"] is state


def test_a_filter_without_memory_keeps_nothing() -> None:
    memory = FilterMemory({"frame": TensorSpec("frame", (None, 3, 8, 8))})
    frame = np.ones((1, 3, 8, 8), np.float32)
    assert not memory.follows
    assert memory.empty() == memory.feed(frame, {}) == memory.kept(frame, {"frame": frame}) == {}


def test_a_steady_filter_is_told_what_was_shown_and_drawn_where_nothing_moved() -> None:
    memory = FilterMemory(PLANES)
    assert memory.empty()["state"].dtype == np.uint8
    assert not any(each.any() for each in memory.feed(cells(), memory.empty()).values())
    shown, last = cells(), cells().astype(np.float32) + 0.25
    kept = memory.kept(shown, {"frame": shown, "last": last})
    told = memory.feed(cells(), kept)
    assert np.array_equal(told["state"], shown)
    assert told["last"] is last
    shown[:] = 0
    assert kept["state"].any()


def test_what_was_shown_and_drawn_moves_along_in_planes() -> None:
    memory = FilterMemory(PLANES)
    kept = memory.kept(cells(), {"frame": cells(), "last": cells().astype(np.float32) + 10})
    told = memory.feed(cells(4.0), kept)
    now = grey(4.0)[12:-12, 12:-12]
    assert np.abs(unfolded(told["state"][0])[0][12:-12, 12:-12] - now).mean() < 3
    assert np.abs(unfolded(told["last"][0])[0][12:-12, 12:-12] - 10 - now).mean() < 3
    assert np.abs(unfolded(kept["last"][0])[0][12:-12, 12:-12] - 10 - now).mean() > 12


def test_in_a_hurry_nothing_is_looked_for_and_the_next_picture_is_followed_again() -> None:
    memory = FilterMemory(PLANES)
    assert memory.follows
    kept = memory.kept(cells(), {"frame": cells(), "last": cells().astype(np.float32)})
    told = memory.feed(cells(4.0), kept, hurried=True)
    assert all(told[name] is kept[name] for name in told)
    kept = memory.kept(cells(4.0), {"frame": cells(4.0), "last": cells(4.0).astype(np.float32)})
    assert np.abs(unfolded(memory.feed(cells(8.0), kept)["last"][0])[0] - grey(8.0))[12:-12, 12:-12].mean() < 3


def test_what_was_shown_and_drawn_moves_along_in_rgb() -> None:
    memory = FilterMemory(RGB)
    drawn = (grey() + 10).reshape(HEIGHT // 4, 4, WIDTH // 4, 4).transpose(1, 3, 0, 2)
    last = np.ascontiguousarray(np.tile(drawn.reshape(1, 16, HEIGHT // 4, WIDTH // 4), (1, 3, 1, 1)))
    told = memory.feed(rgb(4.0), memory.kept(rgb(), {"frame": rgb(), "last": last}))
    assert told["last"].shape == last.shape
    now = grey(4.0)
    back = told["last"].reshape(3, 4, 4, HEIGHT // 4, WIDTH // 4).transpose(0, 3, 1, 4, 2).reshape(3, HEIGHT, WIDTH)
    for plane in back:
        assert np.abs(plane[12:-12, 12:-12] - 10 - now[12:-12, 12:-12]).mean() < 3
    for plane in (told["state"][0] + 1) * 127.5:
        assert np.abs(plane[12:-12, 12:-12] - now[12:-12, 12:-12]).mean() < 3
