"""Every name of TensorRT that our source uses is there in 10.16, in 11.4 and in TensorRT-RTX 1.7."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import models
from tests.models.fake_trt import FAKES
from tests.models.tensorrt_names import FOLDER, Names, recorded

pytestmark = pytest.mark.unit

SOURCES = sorted(Path(models.__file__).parent.glob("tensorrt_*.py"))

# What our sources call the objects of TensorRT, and their classes.
RECEIVERS = {
    "builder": ("Builder",),
    "network": ("INetworkDefinition",),
    "given": ("ITensor",),
    "parser": ("OnnxParser",),
    "config": ("IBuilderConfig", "IRuntimeConfig"),
    "made": ("IOptimizationProfile",),
    "cache": ("ITimingCache",),
    "kept": ("ITimingCache",),
    "plan": ("IHostMemory",),
    "loader": ("Runtime",),
    "engine": ("ICudaEngine",),
    "self._engine": ("ICudaEngine",),
    "context": ("IExecutionContext",),
    "self._cache": ("IRuntimeCache",),
}

# Used behind a `hasattr`: TensorRT-RTX builds for cards that are not there, and keeps what it compiles at run time.
ONLY_RTX = {
    ("trt", "ComputeCapability"),
    ("config", "num_compute_capabilities"),
    ("config", "set_compute_capability"),
    ("config", "create_runtime_cache"),
    ("config", "set_runtime_cache"),
    ("self._cache", "deserialize"),
    ("self._cache", "serialize"),
}

Used = tuple[str, str]
"""A receiver and an attribute, as ("trt", "BuilderFlag"), ("trt.BuilderFlag", "FP16") or ("config", "set_flag")."""


def used_in(source: str) -> Iterator[Used]:
    """Every attribute of the module, of its names and of its objects."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute):
            continue
        receiver = ast.unparse(node.value).removeprefix("runtime.").removeprefix("self._runtime.")
        if receiver == "trt" or receiver.startswith("trt.") or receiver in RECEIVERS:
            yield receiver, node.attr


def missing_in(names: Names, used: Used) -> bool:
    receiver, attribute = used
    if receiver == "trt":
        return attribute not in names and attribute != "__version__"
    kinds = RECEIVERS.get(receiver, (receiver.removeprefix("trt."),))
    return not any(attribute in names.get(kind, ()) for kind in kinds)


def complaints(source: str) -> set[tuple[str, Used]]:
    """What of a source is missing where."""
    return {
        (version, used) for used in used_in(source) for version, names in recorded().items() if missing_in(names, used)
    }


def test_there_are_lists_of_three_versions() -> None:
    sizes = {version: len(names) for version, names in recorded().items()}
    assert sizes == {"tensorrt-10.16": 234, "tensorrt-11.4": 223, "tensorrt_rtx-1.7": 225}


def test_our_sources_use_what_all_versions_have() -> None:
    found = {each for path in SOURCES for each in complaints(path.read_text())}
    assert {(version, used) for version, used in found if used not in ONLY_RTX} == set()
    assert {used for version, used in found if version == "tensorrt_rtx-1.7"} == set()
    assert {used for _, used in found} == ONLY_RTX, "what is said to be RTX's alone is used, and is RTX's alone"


def test_the_scan_sees_what_our_sources_do() -> None:
    """A scan that sees nothing complains of nothing."""
    used = {each for path in SOURCES for each in used_in(path.read_text())}
    for each in (
        ("trt", "OnnxParser"),
        ("trt.NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
        ("builder", "build_serialized_network"),
        ("config", "add_optimization_profile"),
        ("context", "execute_async_v3"),
        ("loader", "deserialize_cuda_engine"),
        ("self._engine", "create_execution_context"),
    ):
        assert each in used


@pytest.mark.parametrize(
    ("line", "versions"),
    [
        ("config.set_flag(trt.BuilderFlag.FP16)", {"tensorrt-11.4", "tensorrt_rtx-1.7"}),
        ("config.int8_calibrator = None", {"tensorrt-11.4", "tensorrt_rtx-1.7"}),
        ("builder.platform_has_fast_fp16", {"tensorrt-11.4", "tensorrt_rtx-1.7"}),
        ("engine.get_binding_shape(0)", {"tensorrt-10.16", "tensorrt-11.4", "tensorrt_rtx-1.7"}),
        ("context.execute_async_v2([], 0)", {"tensorrt-10.16", "tensorrt-11.4", "tensorrt_rtx-1.7"}),
        ("context.execute_async_v3(0)", set()),
    ],
)
def test_what_old_tutorials_write_is_found(line: str, versions: set[str]) -> None:
    assert {version for version, _ in complaints(line)} == versions


def test_nothing_else_imports_tensorrt() -> None:
    root = Path(models.__file__).parents[1]
    said = [
        path.relative_to(root).as_posix()
        for folder in ("kernels", "models", "stream", "training", "benchmarks")
        for path in (root / folder).rglob("*.py")
        if any(name.partition(".")[0].startswith("tensorrt") for name in _imported(path.read_text()))
    ]
    assert said == [], "load_trt() is the one door"


def _imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_the_stand_in_of_the_tests_has_no_name_of_its_own() -> None:
    for version, names in recorded().items():
        for kind, fake in FAKES.items():
            own = {each for each in dir(fake) if not each.startswith("_")}
            assert own <= names[kind], f"{kind} in {version}"


def test_the_list_of_rtx_is_the_installed_packages() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "tests.models.tensorrt_names", "tensorrt_rtx"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(models.__file__).parents[1],
    )
    assert made.stdout == (FOLDER / "tensorrt_rtx-1.7.txt").read_text()
