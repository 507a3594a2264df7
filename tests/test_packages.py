"""The packages are ours, import anywhere, and keep to their layers."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[1]
PACKAGES = ["stream", "kernels", "models", "training", "benchmarks"]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_ours_and_not_another_project_of_that_name(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__file__ is not None
    assert Path(module.__file__).parents[1] == ROOT


def _loaded_by(statement: str) -> set[str]:
    shown = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print('\\n'.join(sys.modules))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(shown.stdout.split())


def test_the_live_side_loads_neither_torch_nor_the_reference_landmarks() -> None:
    loaded = _loaded_by(
        "import stream.cli, stream.server, stream.session, stream.faces, stream.render, stream.import_commands"
    )
    assert loaded & {"torch", "mediapipe", "nncf", "onnx"} == set()


def test_kernels_load_no_media_library_and_no_engine() -> None:
    loaded = _loaded_by("import kernels.crop, kernels.paste, kernels.mel, kernels.yuv")
    assert loaded & {"av", "aiortc", "openvino", "torch"} == set()


def test_pins_carry_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if "://" in line or " @ " in line] == []
    assert all("==" in line for line in lines if line and not line.startswith("#"))


def test_shipped_weights_stay_within_their_size() -> None:
    sizes = {p: p.stat().st_size for p in (ROOT / "models" / "weights").rglob("*") if p.is_file()}
    assert sizes
    assert {p.name: size for p, size in sizes.items() if size > 16 << 20} == {}
    assert sum(sizes.values()) <= 80 << 20
