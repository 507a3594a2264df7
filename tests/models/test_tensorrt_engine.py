"""The engine on a card, run against a stand-in that has only names which every version of TensorRT has."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.card_engine import CardEngine
from models.engine import DeviceMemoryError, EngineError, TensorSpec
from models.manifest import Parity
from models.tensorrt_build import BUCKETS, Profile
from models.tensorrt_engine import TensorRtEngine
from models.tensorrt_plan import SCHEMA, PlanRecord
from tests.models.fake_trt import INPUTS, OUTPUTS, SCRATCH_BYTES, FakeDevice, FakeTrt, drawn, fake_runtime, whole_plan

pytestmark = pytest.mark.unit

EACH = (Profile(1, 1, 1), Profile(2, 4, 4), Profile(5, 8, 8), Profile(9, 16, 16), Profile(17, 32, 32))
ALL = (Profile(1, 8, 32),)
NO_PARITY = Parity(0, 0.0, 0.0, 0.0, 0.0)


def record(profiles: tuple[Profile, ...] = EACH) -> PlanRecord:
    return PlanRecord(
        schema=SCHEMA,
        network="net",
        precision="fp16",
        runtime="tensorrt",
        version="11.4.0.106",
        capabilities=("8.6",),
        checkpoint_sha256="c",
        onnx_sha256="o",
        plan="net-fp16.plan",
        plan_bytes=5,
        plan_sha256="p",
        profiles=profiles,
        buckets=BUCKETS,
        parity=NO_PARITY,
    )


def network_on(trt: FakeTrt, folder: Path, profiles: tuple[Profile, ...] = EACH) -> TensorRtEngine:
    return TensorRtEngine(
        whole_plan(folder),
        record(profiles),
        runtime=fake_runtime(trt),
        device=trt._device,
        inputs=INPUTS,
        outputs=OUTPUTS,
    )


def opened_on(trt: FakeTrt, folder: Path, profiles: tuple[Profile, ...] = EACH) -> CardEngine:
    return CardEngine(network_on(trt, folder, profiles), trt._device, keeps_device=True)


def feed(batch: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return {spec.name: rng.random((batch, *spec.shape[1:]), np.float32) for spec in INPUTS}  # type: ignore[arg-type]


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def trt(device: FakeDevice) -> FakeTrt:
    return FakeTrt(device)


@pytest.fixture
def engine(trt: FakeTrt, tmp_path: Path) -> Iterator[CardEngine]:
    opened = opened_on(trt, tmp_path)
    yield opened
    opened.close()


# One, a bucket, one more than a bucket, the largest, one more, and two pieces and a bit.
@pytest.mark.parametrize("batch", [1, 3, 4, 5, 32, 33, 70])
@pytest.mark.parametrize("profiles", [EACH, ALL])
def test_a_batch_of_any_size_is_drawn_picture_by_picture(
    trt: FakeTrt, tmp_path: Path, batch: int, profiles: tuple[Profile, ...]
) -> None:
    engine = opened_on(trt, tmp_path, profiles)
    for seed in range(2):
        given = feed(batch, seed)
        found = engine.infer(given)["picture"]
        np.testing.assert_array_equal(found, drawn(given["face"], given["mel"]))


def test_calls_come_in_the_order_that_a_stream_needs(engine: CardEngine, device: FakeDevice) -> None:
    engine.infer(feed(3))
    face, mel, picture = "(3, 6, 4, 4)", "(3, 1, 3, 2)", "(3, 3, 4, 4)"
    assert device.calls == [
        "allocate 1536",
        "allocate 96",
        "allocate 768",
        f"to_device {face}",
        f"to_device {mel}",
        "profile 1",
        f"allocate {SCRATCH_BYTES}",
        "execute 4 in profile 1",
        f"to_host {picture}",
        "synchronise",
    ]


def test_each_bucket_has_a_context_that_stays_good_when_others_run(engine: CardEngine, device: FakeDevice) -> None:
    for batch in (2, 30, 7, 3, 1, 32, 12, 8):
        given = feed(batch, batch)
        np.testing.assert_array_equal(engine.infer(given)["picture"], drawn(given["face"], given["mel"]))
    assert len([call for call in device.calls if call.startswith("profile")]) == len(BUCKETS)


def test_warming_up_leaves_nothing_to_allocate(engine: CardEngine, device: FakeDevice) -> None:
    engine.warm_up()
    device.calls.clear()
    for batch in (1, 5, 32):
        engine.infer(feed(batch))
    assert not [call for call in device.calls if call.startswith(("allocate", "profile"))]


def test_a_renderer_runs_it_on_its_own_addresses(engine: CardEngine, device: FakeDevice) -> None:
    given = feed(8)
    addresses = placed(device, given, 8)
    device.calls.clear()
    engine.network.enqueue(8, addresses, device.stream)
    assert not [call for call in device.calls if call.startswith(("to_", "sync"))], "nothing is copied or waited for"
    expected = drawn(given["face"], given["mel"])
    np.testing.assert_array_equal(device.read(addresses["picture"], expected.shape), expected)


def placed(device: FakeDevice, given: dict[str, NDArray[np.float32]], batch: int) -> dict[str, int]:
    addresses = {name: device.allocate(array.nbytes) for name, array in given.items()}
    addresses["picture"] = device.allocate(batch * 3 * 16 * 4)
    for name, array in given.items():
        device.to_device(addresses[name], array)
    return addresses


def test_a_renderer_records_it_inside_a_graph_of_its_own(engine: CardEngine, device: FakeDevice) -> None:
    given = feed(4)
    addresses = placed(device, given, 4)
    engine.network.enqueue(4, addresses, device.stream)
    graph = device.capture(lambda: engine.network.enqueue(4, addresses, device.stream))
    # The same bucket runs on other buffers in between.
    other = feed(4, 5)
    np.testing.assert_array_equal(engine.infer(other)["picture"], drawn(other["face"], other["mel"]))
    again = feed(4, 6)
    for name, array in again.items():
        device.to_device(addresses[name], array)
    graph.launch()
    expected = drawn(again["face"], again["mel"])
    np.testing.assert_array_equal(device.read(addresses["picture"], expected.shape), expected)


def test_what_is_no_bucket_or_no_address_is_refused(engine: CardEngine) -> None:
    with pytest.raises(EngineError, match=r"none of the buckets \[1, 4, 8, 16, 32\]"):
        engine.network.enqueue(3, {"face": 1, "mel": 2, "picture": 3}, 77)
    with pytest.raises(EngineError, match=r"addresses of \['face', 'mel', 'picture'\], found \['face'\]"):
        engine.network.enqueue(4, {"face": 1}, 77)


def test_a_feed_that_does_not_fit_is_refused_before_anything_is_copied(engine: CardEngine, device: FakeDevice) -> None:
    with pytest.raises(EngineError, match=r"float32"):
        engine.infer({name: array.astype(np.float64) for name, array in feed(1).items()})
    with pytest.raises(EngineError, match=r"same batch"):
        engine.infer({"face": feed(2)["face"], "mel": feed(1)["mel"]})
    assert device.calls == []


def test_closing_gives_all_memory_back_and_twice_is_harmless(engine: CardEngine, device: FakeDevice) -> None:
    engine.warm_up()
    assert device.memory
    for _ in range(2):
        engine.close()
    assert device.memory == {}
    addresses = {"face": 1, "mel": 2, "picture": 3}
    for use in (lambda: engine.infer(feed(1)), lambda: engine.network.enqueue(1, addresses, 77)):
        with pytest.raises(EngineError, match=r"closed; load it again"):
            use()


def test_a_card_that_is_lost_is_one_error_and_can_be_closed(engine: CardEngine, device: FakeDevice) -> None:
    engine.infer(feed(1))
    device.lost = True
    with pytest.raises(EngineError, match=r"the card is lost"):
        engine.infer(feed(1))
    engine.close()
    assert device.memory == {}


# Room for nothing, for the face alone, for the buffers without the scratch.
@pytest.mark.parametrize("room", [0, 12_288 + 100, 12_288 + 768 + 6_144 + 100])
def test_out_of_memory_is_an_error_at_the_start_and_leaves_nothing_behind(tmp_path: Path, room: int) -> None:
    device = FakeDevice(room)
    engine = opened_on(FakeTrt(device), tmp_path)
    with pytest.raises(DeviceMemoryError, match=r"out of memory"):
        engine.warm_up()
    engine.close()
    assert device.memory == {}


def test_a_plan_that_the_runtime_does_not_read_ends_with_the_rebuild_command(trt: FakeTrt, tmp_path: Path) -> None:
    path = tmp_path / "net-fp16.plan"
    path.write_bytes(b"who")
    with pytest.raises(EngineError) as raised:
        TensorRtEngine(
            path,
            record(),
            runtime=fake_runtime(trt),
            device=trt._device,
            inputs=INPUTS,
            outputs=OUTPUTS,
        )
    assert str(raised.value) == (
        f"TensorRT 11.4.0.106 cannot load {path}: Serialization assertion magicTagRead == kMAGIC_TAG failed.. "
        "Rebuild it: visavis engines build net"
    )


@pytest.mark.parametrize(
    "outputs",
    [
        (TensorSpec("picture", (None, 3, 4, 5)),),
        (TensorSpec("picture", (None, 3, 4, 4), "float16"),),
        (TensorSpec("image", (None, 3, 4, 4)),),
        (*OUTPUTS, TensorSpec("mask", (None, 1))),
        (),
    ],
)
def test_a_plan_with_other_tensors_than_its_manifest_is_refused(
    device: FakeDevice, tmp_path: Path, outputs: tuple[TensorSpec, ...]
) -> None:
    with pytest.raises(EngineError, match=r"its manifest says .*Rebuild it: visavis engines build net"):
        opened_on(FakeTrt(device, outputs=outputs), tmp_path)


def test_what_the_runtime_refuses_is_said_in_its_words(engine: CardEngine, trt: FakeTrt) -> None:
    trt._no_context = True
    with pytest.raises(
        EngineError, match=r"refuses a context for a batch of 1 of net in fp16: no memory for a context"
    ):
        engine.infer(feed(1))
    trt._no_context = False
    trt._refuses = True
    with pytest.raises(EngineError, match=r"refuses a batch of 1 of net in fp16: enqueue failed. Rebuild it"):
        engine.infer(feed(1))


def test_a_plan_without_a_profile_for_a_bucket_says_so(trt: FakeTrt, tmp_path: Path) -> None:
    engine = opened_on(trt, tmp_path, EACH[:-1])
    with pytest.raises(EngineError, match=r"no profile for a batch of 32. Rebuild it: visavis engines build net"):
        engine.infer(feed(32))
