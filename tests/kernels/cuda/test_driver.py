"""The driver's library is asked as CUDA defines it: a library that stands in for it checks what it is given."""

import ctypes
import subprocess
from pathlib import Path

import pytest

from kernels.cuda.device import DeviceError
from kernels.cuda.driver import Driver

pytestmark = pytest.mark.unit

STREAM = 0x7DDD12345678


def library(folder: Path, *, version: int = 13000, init: int = 0, capture: int = 0) -> str:
    made = folder / "libcuda.so"
    values = [f"-DVERSION={version}", f"-DINIT={init}", f"-DCAPTURE={capture}"]
    source = Path(__file__).parent / "cuda_library.cpp"
    subprocess.run(["g++", "-shared", "-fPIC", *values, "-o", str(made), str(source)], check=True)
    return str(made)


def test_a_driver_says_its_version_and_its_card(tmp_path: Path) -> None:
    driver = Driver(library(tmp_path, version=13010))
    assert driver.version == (13, 1)
    assert driver.compute_capability() == "12.1"
    with pytest.raises(DeviceError, match=r"CUDA_ERROR_NO_DEVICE .101. to cuDeviceGet"):
        driver.compute_capability(1)


def test_no_driver_is_one_line_with_the_remedy() -> None:
    with pytest.raises(DeviceError, match=r"no NVIDIA driver on this machine .libnone.so.* install 580 or newer"):
        Driver("libnone.so")


def test_a_driver_that_is_too_old_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"knows CUDA 12.4, expected 13.0 or newer; install 580 or newer"):
        Driver(library(tmp_path, version=12040))


def test_a_driver_without_a_card_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"says CUDA_ERROR_NO_DEVICE .100. to cuInit"):
        Driver(library(tmp_path, init=100))


def test_work_is_recorded_launched_and_given_back(tmp_path: Path) -> None:
    path = library(tmp_path)
    driver, seen = Driver(path), ctypes.CDLL(path).seen
    during: list[int] = []
    graph = driver.capture(STREAM, lambda: during.append(seen()))
    assert (during, seen()) == ([1], 12)
    graph.launch(STREAM)
    graph.launch(STREAM)
    assert seen() == 212
    for _ in range(2):
        graph.close()
    assert seen() == 1212
    with pytest.raises(DeviceError, match=r"after it was closed"):
        graph.launch(STREAM)


def test_recording_ends_when_the_work_fails(tmp_path: Path) -> None:
    path = library(tmp_path)
    driver = Driver(path)

    def work() -> None:
        raise ValueError("not this one")

    with pytest.raises(ValueError, match=r"not this one"):
        driver.capture(STREAM, work)
    assert ctypes.CDLL(path).seen() == 12, "the stream records no more, and the graph is gone"


def test_work_that_cannot_be_recorded_is_an_error(tmp_path: Path) -> None:
    driver = Driver(library(tmp_path, capture=901))
    with pytest.raises(DeviceError, match=r"could not be recorded as a CUDA graph .901."):
        driver.capture(STREAM, lambda: None)
