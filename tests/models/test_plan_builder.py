"""From a shipped checkpoint to a plan that the catalogue opens: on a stand-in for the card, whose networks are real.

A plan of the stand-in is the ONNX that it was built from, and ONNX Runtime draws.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from kernels.cuda.device import Device
from kernels.mel import LIPGAN_WINDOW
from models import plan_builder, tensorrt_card
from models.catalogue import WEIGHTS, load_engine
from models.engine import EngineError
from models.gate import ExportError, measure_parity
from models.graphs import Samples
from models.manifest import load_manifest
from models.plan_builder import PlanJob, build_plans
from models.tensorrt_plan import PlanRecord, plans_folder, read_plan
from models.tensorrt_runtime import Runtime
from stream.bundled import bundled_samples
from tests.models.fake_trt import FakeDevice, FakeTrt, Network, fake_runtime
from tests.models.onnx_engine import OnnxEngine

pytestmark = pytest.mark.unit

NAME = "lipgan_quarter"
MANIFEST = load_manifest(WEIGHTS / NAME, "")


def network_of(plan: bytes) -> Network | None:
    if len(plan) < 100_000:
        return None
    engine = OnnxEngine(plan, "")
    return lambda face, mel: engine.infer({"face": face, "mel": mel})["picture"]


@dataclass
class Machine:
    """A card, its runtime, and what was built on them."""

    trt: FakeTrt
    runtime: Runtime
    card: Device
    cache: Path
    samples: tuple[Samples, Samples]
    records: tuple[PlanRecord, ...] = ()

    @property
    def folder(self) -> Path:
        return plans_folder(self.cache)

    def build(self, *precisions: str) -> tuple[PlanRecord, ...]:
        job = PlanJob(weights=WEIGHTS / NAME, manifest=MANIFEST, precisions=precisions, folder=self.folder)
        calibration, gate = self.samples
        return tuple(build_plans(job, self.runtime, self.card, calibration=calibration, gate=gate))


def machine(cache: Path, samples: tuple[Samples, Samples]) -> Machine:
    trt = FakeTrt(FakeDevice(64 << 20, (8, 9)), inputs=MANIFEST.inputs, outputs=MANIFEST.outputs, networks=network_of)
    return Machine(trt, fake_runtime(trt), trt._device, cache, samples)


@pytest.fixture(scope="module")
def samples() -> tuple[Samples, Samples]:
    return bundled_samples(LIPGAN_WINDOW, every=20)


@pytest.fixture(scope="module")
def built(samples: tuple[Samples, Samples], tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine on which both precisions were built; read only."""
    made = machine(tmp_path_factory.mktemp("cache"), samples)
    made.records = made.build("fp16", "int8")
    return made


@pytest.fixture
def exported(built: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting once is enough for all tests."""
    made = {record.precision: onnx.load(built.folder / record.plan) for record in built.records}
    monkeypatch.setattr(plan_builder, "export_onnx", lambda *_arguments: made)


@pytest.fixture
def opening(built: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """The same machine, as the catalogue finds it."""
    monkeypatch.setattr(tensorrt_card, "load_trt", lambda: built.runtime)
    monkeypatch.setattr(tensorrt_card, "find_card", lambda: built.card)
    yield built
    assert built.trt._device.memory == {}, "what was opened was closed"


def test_plans_and_records_are_all_that_is_left_and_the_cards_memory_is_free(built: Machine) -> None:
    names = sorted(path.name for path in built.folder.iterdir())
    assert names == [
        f"{NAME}-fp16.json",
        f"{NAME}-fp16.plan",
        f"{NAME}-int8.json",
        f"{NAME}-int8.plan",
        "tensorrt-11.4.0.106-sm89.timing",
    ]
    assert built.trt._device.memory == {}


def test_a_record_says_how_near_the_plan_came(built: Machine) -> None:
    parities = {record.precision: record.parity for record in built.records}
    assert parities["fp16"].psnr_db >= 75
    assert parities["int8"].psnr_db >= 40
    assert {parity.samples for parity in parities.values()} == {4}
    for record in built.records:
        found = read_plan(built.folder, MANIFEST, record.precision, built.runtime, "8.9")
        assert found == (built.folder / record.plan, record)


def test_the_second_build_knows_what_the_first_one_measured(built: Machine) -> None:
    caches = [config.get_timing_cache() for config in built.trt._configs]
    assert [cache._content for cache in caches if cache is not None] == [b"", b"measured"]


def test_the_profiles_are_those_of_the_buckets(built: Machine) -> None:
    size = MANIFEST.crop.size_px
    shapes = [profile._shapes["face"] for profile in built.trt._configs[0]._profiles]
    assert shapes == [
        tuple((batch, 6, size, size) for batch in each)
        for each in ((1, 1, 1), (2, 4, 4), (5, 8, 8), (9, 16, 16), (17, 32, 32))
    ]


@pytest.mark.parametrize(("asked", "runs"), [(None, "fp16"), ("auto", "fp16"), ("int8", "int8")])
def test_the_catalogue_opens_what_was_built(opening: Machine, asked: str | None, runs: str) -> None:
    gate = opening.samples[1]
    reference = load_engine(NAME, "torch")
    engine = load_engine(NAME, "tensorrt", asked, cache_folder=opening.cache)
    assert (engine.backend, engine.precision) == ("tensorrt", runs)
    feed: dict[str, NDArray[np.float32]] = {"face": gate.face[:3], "mel": gate.mel[:3]}
    parity = measure_parity(reference.infer(feed)["picture"], engine.infer(feed)["picture"], 0)
    assert parity.psnr_db >= 40
    engine.close()


def test_a_precision_that_was_not_built_is_named_with_the_command(opening: Machine) -> None:
    with pytest.raises(EngineError, match=f"visavis engines build {NAME} --precision fp8$"):
        load_engine(NAME, "tensorrt", "fp8", cache_folder=opening.cache)


def test_another_network_was_not_built(opening: Machine) -> None:
    with pytest.raises(EngineError, match=r"visavis engines build lipgan --precision fp16$"):
        load_engine("lipgan", "tensorrt", cache_folder=opening.cache)


def test_without_a_cache_folder_there_is_nowhere_to_look() -> None:
    with pytest.raises(EngineError, match=r"Give load_engine a cache_folder"):
        load_engine(NAME, "tensorrt")


@pytest.mark.usefixtures("exported")
def test_a_plan_that_draws_otherwise_is_refused_and_the_old_one_stays(built: Machine, tmp_path: Path) -> None:
    made = machine(tmp_path, built.samples)
    made.folder.mkdir()
    for path in built.folder.iterdir():
        (made.folder / path.name).write_bytes(path.read_bytes())
    before = {path.name: path.read_bytes() for path in made.folder.glob("*fp16*")}
    wrong = FakeTrt(
        made.trt._device,
        inputs=MANIFEST.inputs,
        outputs=MANIFEST.outputs,
        networks=lambda _plan: lambda face, mel: face[:, 3:] * 0.5 + mel.mean(),
    )
    made.runtime, made.card = fake_runtime(wrong), wrong._device
    with pytest.raises(ExportError, match=f"{NAME} in fp16 is refused: .* dB against torch on 4 real inputs"):
        made.build("fp16")
    assert {path.name: path.read_bytes() for path in made.folder.glob("*fp16*")} == before
    assert not list(made.folder.glob(".*"))
    assert wrong._device.memory == {}


@pytest.mark.usefixtures("exported")
def test_what_the_builder_cannot_do_is_said_in_its_words(built: Machine, tmp_path: Path) -> None:
    made = machine(tmp_path, built.samples)
    made.trt._builds_nothing = True
    with pytest.raises(EngineError, match=r"11.4.0.106 cannot build the network: Could not find any implementation"):
        made.build("fp16")
    assert list(made.folder.iterdir()) == []


@pytest.mark.usefixtures("exported")
def test_a_folder_that_cannot_be_written_is_one_line(built: Machine, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    made = machine(tmp_path / "cache", built.samples)
    with pytest.raises(EngineError, match=r"cannot be written .* XDG_CACHE_HOME"):
        made.build("fp16")
