"""Every kernel compiles for every card, without a GPU. No compiler is a failure here, not a skip."""

import sys
from pathlib import Path

import pytest

from kernels.cuda import build

pytestmark = pytest.mark.unit


def test_there_is_something_to_compile() -> None:
    assert "crop_face.cu" in [source.name for source in build.sources()]


@pytest.mark.parametrize("source", build.sources(), ids=lambda source: source.stem)
def test_every_kernel_compiles_for_every_card_without_spills(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "made.fatbin"
    usages = build.compile_source(source, output)
    kernels = {each.kernel for each in usages}
    assert kernels
    assert {(each.kernel, each.architecture) for each in usages} == {
        (kernel, architecture) for kernel in kernels for architecture in build.ARCHITECTURES
    }
    assert [each for each in usages if each.spilled or each.stack] == []
    # 256 threads a block and three blocks a multiprocessor of 65,536 registers.
    assert max(each.registers for each in usages) <= 80
    assert output.read_bytes()[:4] == b"\x50\xed\x55\xba"


def test_what_does_not_compile_says_why(tmp_path: Path) -> None:
    source = tmp_path / "wrong.cu"
    source.write_text("__global__ void wrong() { nothing_like_this(); }")
    with pytest.raises(RuntimeError, match=r"wrong\.cu does not compile(.|\n)*nothing_like_this"):
        build.compile_source(source, tmp_path / "made.fatbin", [90])


def test_a_spill_is_seen() -> None:
    said = """
ptxas info    : Compiling entry function 'crowded' for 'sm_90'
ptxas info    : Function properties for crowded
    24 bytes stack frame, 20 bytes spill stores, 28 bytes spill loads
ptxas info    : Used 40 registers, used 0 barriers, 24 bytes cumulative stack size
"""
    assert build.read_usage(said) == [build.Usage("crowded", 90, 40, 24, 48)]


def test_a_missing_compiler_names_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NVCC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(FileNotFoundError, match="cuda-build"):
        build.find_nvcc()
