"""What a card is asked for, held against a stand-in that runs the same kernels on the host."""

import ast
import ctypes
import inspect
import json
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from kernels.cuda import fatbin, pycuda_device
from kernels.cuda.device import DeviceError, DeviceMemoryFull, open_device
from kernels.cuda.jobs import CropJob, PlaneAt, crop_job, entries_of, packed_planes
from tests.kernels.cuda.fake_card import FakeCard, FakeError
from tests.kernels.cuda.host import crop_faces, packed_at

pytestmark = pytest.mark.unit

SIZE = 32
TO_CROP = entries_of(np.array([[0.4, 0.05, 3.0], [-0.05, 0.4, 4.0]], np.float32))


def noise_planes(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    half = (height + 1) // 2, (width + 1) // 2
    return tuple(random.integers(0, 256, shape, np.uint8) for shape in ((height, width), half, half))


def test_a_kernel_reads_what_was_uploaded_and_its_result_comes_down(monkeypatch: pytest.MonkeyPatch) -> None:
    card = FakeCard()
    device = card.open(monkeypatch)
    planes = noise_planes(71, 93)
    rooms = [device.allocate(plane.nbytes) for plane in planes]
    at = [PlaneAt(room, *plane.shape, plane.shape[1]) for room, plane in zip(rooms, planes, strict=True)]
    job = np.frombuffer(crop_job(packed_planes(at), TO_CROP, SIZE), np.uint8)
    made, whole = np.empty((6, SIZE, SIZE), np.float32), np.empty((3, SIZE, SIZE), np.float32)
    jobs, input_room, whole_room = (device.allocate(each.nbytes) for each in (job, made, whole))
    pointers = np.array([0, input_room, whole_room], np.uint64)
    tables = device.allocate(pointers.nbytes)
    for room, array in [*zip(rooms, planes, strict=True), (jobs, job), (tables, pointers)]:
        device.to_device(room, array)
    addresses = [ctypes.c_void_p(jobs), *(ctypes.c_void_p(tables + 8 * index) for index in range(3))]
    device.launch("crop_faces_float", (1, 4, 1), (32, 8, 1), *addresses, ctypes.c_int(SIZE))
    device.to_host(made, input_room)
    device.to_host(whole, whole_room)
    device.synchronise()
    (expected,), (whole_expected,) = crop_faces([crop_job(packed_at(planes), TO_CROP, SIZE)], SIZE, np.float32)
    np.testing.assert_array_equal(made, expected)
    np.testing.assert_array_equal(whole, whole_expected)
    assert len(bytes(CropJob())) == job.nbytes
    device.close()
    assert card.used == 0


def test_a_recorded_graph_runs_again_on_what_lies_there_then(monkeypatch: pytest.MonkeyPatch) -> None:
    card = FakeCard()
    device = card.open(monkeypatch)
    room = device.allocate(4)
    source, found = np.arange(4, dtype=np.uint8), np.zeros(4, np.uint8)
    graph = device.capture(lambda: (device.to_device(room, source), device.to_host(found, room)))
    device.synchronise()
    assert found.tolist() == [0, 0, 0, 0]
    for first in (0, 10):
        source[:] = np.arange(first, first + 4)
        graph.launch()
        device.synchronise()
        assert found.tolist() == source.tolist()
    graph.close()
    graph.close()


def test_work_that_fails_while_it_is_recorded_leaves_a_stream_that_takes_work(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeCard().open(monkeypatch)
    with pytest.raises(ZeroDivisionError):
        device.capture(lambda: 1 / 0)
    room, found = device.allocate(1), np.zeros(1, np.uint8)
    device.to_device(room, np.ones(1, np.uint8))
    device.to_host(found, room)
    device.synchronise()
    assert found[0] == 1


def test_work_is_timed_by_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeCard().open(monkeypatch)
    room = device.allocate(4)
    found = np.zeros(4, np.uint8)
    assert device.timed(lambda: (device.to_device(room, np.arange(4, dtype=np.uint8)), device.to_host(found, room))) > 0
    assert found.tolist() == [0, 1, 2, 3]


def test_any_thread_may_use_it_and_none_is_left_with_a_context(monkeypatch: pytest.MonkeyPatch) -> None:
    card = FakeCard()
    device = card.open(monkeypatch)
    depths = []

    def elsewhere() -> None:
        room = device.allocate(4)
        device.to_device(room, np.arange(4, dtype=np.uint8))
        device.capture(lambda: device.to_device(room, np.zeros(4, np.uint8))).launch()
        device.synchronise()
        device.free(room)
        depths.append(card.depth)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    device.close()
    assert [*depths, card.depth] == [0, 0]


def test_no_room_left_is_told_from_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    card = FakeCard(room=1000)
    device = card.open(monkeypatch)
    device.allocate(800)
    with pytest.raises(DeviceMemoryFull, match=r"no room left.*sessions_at_most"):
        device.allocate(300)
    assert device.memory() == (200, 1000)
    card.sticky = FakeError("an illegal memory access was encountered")
    with pytest.raises(DeviceError, match=r"illegal memory access.*gpu-check"):
        device.synchronise()


def test_after_a_failure_the_context_is_thrown_away_and_the_card_opens_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    card = FakeCard()
    device = card.open(monkeypatch)
    device.allocate(100)
    card.sticky = FakeError("an illegal memory access was encountered")
    with pytest.raises(DeviceError):
        device.synchronise()
    device.close()
    assert (card.resets, card.used) == (1, 0)
    again = card.open(monkeypatch)
    again.synchronise()
    again.close()
    assert card.resets == 1


def test_a_closed_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeCard().open(monkeypatch)
    device.close()
    device.close()
    with pytest.raises(DeviceError, match="was closed"):
        device.allocate(1)


def test_an_unknown_kernel_and_a_wrong_count_of_arguments_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeCard().open(monkeypatch)
    with pytest.raises(DeviceError, match="no kernel crop_bananas"):
        device.launch("crop_bananas", (1, 1, 1), (1, 1, 1))
    nothing = [ctypes.c_void_p(0)] * 4
    device.launch("crop_faces_float", (1, 1, 1), (1, 1, 1), *nothing, ctypes.c_int(0))
    with pytest.raises(DeviceError, match="takes 5 arguments, found 1"):
        device.launch("crop_faces_float", (1, 1, 1), (1, 1, 1), ctypes.c_int(0))


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (FakeCard(driver_version=12080), r"knows CUDA 12\.8, the kernels need 13\.0\. Update the driver to 580"),
        (FakeCard(cards=0), "no card 0: 0 found"),
    ],
)
def test_what_a_machine_lacks_is_said_in_one_line(card: FakeCard, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match=said) as caught:
        card.open(monkeypatch)
    assert "\n" not in str(caught.value)


def test_a_driver_that_does_not_start_names_what_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    card = FakeCard()

    def fail() -> None:
        raise RuntimeError("cuInit failed: no CUDA-capable device is detected")

    card.driver.init = fail
    with pytest.raises(DeviceError, match=r"no CUDA-capable device.*nvidia-smi"):
        card.open(monkeypatch)


def test_without_a_driver_nobody_is_told_to_install_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pycuda_device, "_LIBRARY", "libno-such-driver.so.1")
    with pytest.raises(DeviceError, match=r"no NVIDIA driver on this machine.*580 or newer.*--backend openvino"):
        open_device()


def test_without_pycuda_its_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pycuda_device, "_LIBRARY", None)
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(DeviceError, match=r"pycuda is not installed.*visavis\[cuda\]"):
        open_device()


def test_the_stand_in_has_no_name_that_pycuda_lacks() -> None:
    # pycuda 2026.1, `dir(pycuda.driver)`: it builds only where CUDA is, so its names are kept.
    known = set(json.loads((Path(__file__).parent / "pycuda_names.json").read_text()))
    assert set(vars(FakeCard().driver)) <= known
    asked = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(pycuda_device)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "_driver"
    }
    assert asked
    assert asked <= known


def test_the_stand_in_has_no_name_that_cuda_bindings_lacks() -> None:
    from cuda.bindings import driver

    assert [name for name in vars(FakeCard().bindings) if not hasattr(driver, name)] == []
    assert hasattr(driver.CUstreamCaptureMode, "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL")
    assert hasattr(driver.CUresult, "CUDA_ERROR_OUT_OF_MEMORY")


class TestFatBinary:
    def test_it_belongs_to_the_sources_beside_it(self) -> None:
        record = json.loads(fatbin.RECORD.read_text())
        assert record["sources_sha256"] == fatbin.source_hash(), "compile them: make kernels"
        assert record["kernels"] == sorted(name for source in fatbin.sources() for name in fatbin.kernel_names(source))
        assert fatbin.load_fatbin()

    def test_one_of_other_sources_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fatbin, "source_hash", lambda: "0" * 64)
        with pytest.raises(DeviceError, match=r"made from other sources.*kernels\.cuda\.build"):
            fatbin.load_fatbin()

    @pytest.mark.parametrize("cut", [0, 100])
    def test_a_truncated_one_is_refused(self, cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        part = tmp_path / "kernels.fatbin"
        part.write_bytes(fatbin.FATBIN.read_bytes()[:cut])
        monkeypatch.setattr(fatbin, "FATBIN", part)
        with pytest.raises(DeviceError, match="damaged"):
            fatbin.load_fatbin()

    def test_a_missing_one_says_how_it_is_made(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fatbin, "FATBIN", tmp_path / "kernels.fatbin")
        with pytest.raises(DeviceError, match=r"is not there.*python -m kernels\.cuda\.build"):
            fatbin.load_fatbin()
