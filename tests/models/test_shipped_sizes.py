"""What ships with the package stays small enough to be cloned: every file, and all of them together."""

from pathlib import Path

import pytest

import models

pytestmark = pytest.mark.unit

LARGEST_FILE, LARGEST_SUM = 16 * 2**20, 80 * 2**20
WEIGHTS = {".bin", ".onnx", ".safetensors", ".task"}
# Graphs without their weights; figures, cards and previews.
BESIDE_THEM = {".jpg", ".json", ".md", ".mp4", ".png", ".xml"}
LARGEST_BESIDE = 2 * 2**20


def test_weights_are_bounded_file_by_file_and_together() -> None:
    root = Path(models.__file__).parent
    sizes = {path: path.stat().st_size for folder in ("weights", "filters") for path in (root / folder).rglob("*.*")}
    assert {path.suffix for path in sizes} <= WEIGHTS | BESIDE_THEM
    assert [path.name for path, size in sizes.items() if size > LARGEST_FILE] == []
    assert [path.name for path, size in sizes.items() if path.suffix in BESIDE_THEM and size > LARGEST_BESIDE] == []
    assert 0 < sum(size for path, size in sizes.items() if path.suffix in WEIGHTS) <= LARGEST_SUM
