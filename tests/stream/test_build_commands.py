"""`visavis engines build` and `--backend tensorrt`: what is missing is one line, before any work is done."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from kernels.cuda import pycuda_device
from kernels.cuda.device import DeviceError
from models import plan_builder, tensorrt_card
from models.engine import EngineError
from models.tensorrt_card import find_card
from models.tensorrt_plan import PlanRecord
from models.tensorrt_runtime import Runtime, load_trt
from stream import build_commands
from stream.cli import main
from tests.models.fake_trt import FakeDevice
from tests.models.test_tensorrt_engine import record

pytestmark = pytest.mark.unit

ASSETS = Path(build_commands.__file__).parent / "assets"
RUNTIME = Runtime(None, "tensorrt", "11.4.0.106")
Printed = Callable[[], str]


@pytest.fixture
def line(capsys: pytest.CaptureFixture[str]) -> Printed:
    """The one line of complaint."""

    def printed() -> str:
        found = capsys.readouterr().err
        assert found.count("\n") == 1, found
        return found.strip()

    return printed


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a card, whatever this one has."""
    monkeypatch.setattr(pycuda_device, "_LIBRARY", "libnone.so")


@pytest.fixture
def no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)


COMMANDS: dict[str, Sequence[str]] = {
    "build": ("engines", "build"),
    "run": ("run", "--backend", "tensorrt", "--port", "0"),
    "dub": (
        *("dub", str(ASSETS / "sample.mp4"), "--voice", str(ASSETS / "voice.wav"), "-o", "out.mp4"),
        *("--backend", "tensorrt"),
    ),
    "demo": ("demo", "--backend", "tensorrt", "--engine", "lipgan"),
}


@pytest.mark.usefixtures("no_driver")
@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_card_every_command_says_so_in_one_line(
    command: str, line: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(COMMANDS[command]) == 2
    assert line() == (
        "visavis: TensorRT needs an NVIDIA card: there is no NVIDIA driver on this machine (libnone.so cannot be "
        "loaded). Install 580 or newer, or take the CPU's engine: --backend openvino"
    )
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("no_runtime")
@pytest.mark.parametrize("command", COMMANDS)
def test_without_tensorrt_every_command_names_what_to_install(
    command: str, line: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(COMMANDS[command]) == 2
    assert line() == (
        "visavis: TensorRT is not installed. Install it: pip install 'visavis[tensorrt]' (needs the internet), or for "
        "RTX cards 'visavis[rtx]'"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nobody"], "no network nobody, there is: lipgan, lipgan_lite, lipgan_quarter"),
        (["--precision", "fp4"], "--precision is 'fp4', expected some of fp16, int8, fp8"),
        (["--backend", "openvino"], "only tensorrt builds for a card"),
        (["--presicion", "fp16"], "did you mean --precision?"),
    ],
)
def test_what_cannot_be_built_is_refused_before_a_card_is_looked_for(
    arguments: list[str], complaint: str, line: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_commands, "find_card", lambda: pytest.fail("looked for a card"))
    assert main(["engines", "build", *arguments]) == 2
    assert complaint in line()


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a card of 8.6."""
    monkeypatch.setattr(build_commands, "load_trt", lambda: RUNTIME)
    monkeypatch.setattr(build_commands, "find_card", FakeDevice)


@pytest.mark.usefixtures("card")
def test_fp8_is_for_cards_that_have_it(line: Printed) -> None:
    assert main(["engines", "build", "--precision", "fp8", "fp16"]) == 2
    assert line() == "visavis: fp8 needs compute capability 8.9 or newer, this card has 8.6: leave it out"


@pytest.mark.usefixtures("card")
def test_what_exporting_needs_is_named(line: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        build_commands, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=lambda _name: None))
    )
    assert main(["engines", "build"]) == 2
    assert line().startswith("visavis: building needs torch, which serving does without.")


@pytest.mark.usefixtures("card")
def test_every_network_is_built_in_fp16_and_int8_and_each_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked: list[tuple[str, tuple[str, ...], int]] = []

    def build(job: plan_builder.PlanJob, *_where: object, calibration: object, gate: object) -> list[PlanRecord]:
        assert calibration is not gate
        assert job.folder == tmp_path / "cache" / "visavis" / "engines" / "tensorrt"
        asked.append((job.manifest.name, tuple(job.precisions), job.manifest.crop.size_px))
        return [replace(record(), precision=each, plan_bytes=12_345_678) for each in job.precisions]

    monkeypatch.setattr(plan_builder, "build_plans", build)
    monkeypatch.setattr(build_commands, "bundled_samples", lambda *_arguments, **_more: ("one", "another"))
    assert main(["engines", "build"]) == 0
    both = ("fp16", "int8")
    assert asked == [("lipgan", both, 96), ("lipgan_lite", both, 192), ("lipgan_quarter", both, 96)]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "TensorRT 11.4.0.106, compute capability 8.6"
    assert printed[2] == ("lipgan int8: 0.0 dB of torch, 12 MB, for compute capability 8.6 with TensorRT 11.4.0.106")
    assert printed[-1] == "Use them: visavis run --backend tensorrt, visavis dub --backend tensorrt"


def test_what_a_card_lacks_is_the_drivers_own_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_old() -> None:
        raise DeviceError("the NVIDIA driver knows CUDA 12.4, expected 13.0 or newer; install 580 or newer")

    monkeypatch.setattr(tensorrt_card, "open_device", too_old)
    with pytest.raises(EngineError, match=r"^TensorRT needs an NVIDIA card: the NVIDIA driver knows CUDA 12.4, .*$"):
        find_card()


def test_the_runtime_of_the_tests_is_rtx() -> None:
    assert load_trt(("tensorrt_rtx",)).title.startswith("TensorRT-RTX 1.7.1")
