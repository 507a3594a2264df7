"""On a real card: a plan is built, passes its gate, is loaded, draws, and is refused when it is cut short."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from kernels.mel import LIPGAN_WINDOW
from models.card_engine import CardEngine, picture_bytes
from models.catalogue import WEIGHTS, LoadedEngine, load_engine
from models.engine import EngineError
from models.gate import measure_parity
from models.graphs import Samples
from models.manifest import load_manifest
from models.plan_builder import PlanJob, build_plans
from models.tensorrt_card import find_card
from models.tensorrt_plan import LIMIT_DB, PlanRecord, plans_folder
from models.tensorrt_runtime import load_trt
from stream.bundled import bundled_samples

pytestmark = pytest.mark.gpu

NAME = "lipgan_quarter"
PRECISIONS = ("fp16", "int8")


@pytest.fixture(scope="module")
def samples() -> tuple[Samples, Samples]:
    return bundled_samples(LIPGAN_WINDOW, every=13)


@pytest.fixture(scope="module")
def cache(samples: tuple[Samples, Samples], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder in which both precisions were built, each through its gate."""
    try:
        runtime, card = load_trt(), find_card()
    except EngineError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("cache")
    manifest = load_manifest(WEIGHTS / NAME, "")
    job = PlanJob(weights=WEIGHTS / NAME, manifest=manifest, precisions=PRECISIONS, folder=plans_folder(folder))
    records: list[PlanRecord] = list(build_plans(job, runtime, card, calibration=samples[0], gate=samples[1]))
    assert [record.parity.psnr_db >= LIMIT_DB[record.precision] for record in records] == [True, True]
    return folder


@pytest.fixture(params=PRECISIONS)
def engine(request: pytest.FixtureRequest, cache: Path) -> Iterator[LoadedEngine]:
    made = load_engine(NAME, "tensorrt", request.param, cache_folder=cache)
    yield made
    made.close()


@pytest.mark.parametrize("batch", [1, 3, 8, 40])
def test_a_batch_of_any_size_is_torchs(engine: LoadedEngine, samples: tuple[Samples, Samples], batch: int) -> None:
    chosen = np.arange(batch) % len(samples[1])
    feed = {"face": samples[1].face[chosen], "mel": samples[1].mel[chosen]}
    expected = load_engine(NAME, "torch").infer(feed)["picture"]
    parity = measure_parity(expected, engine.infer(feed)["picture"], 0)
    assert parity.psnr_db >= LIMIT_DB[engine.precision]


def test_every_bucket_can_be_recorded(engine: LoadedEngine, samples: tuple[Samples, Samples]) -> None:
    card = engine.engine
    assert isinstance(card, CardEngine)
    specs = {**card.network.inputs, **card.network.outputs}
    most = card.network.buckets[-1]
    rooms = {name: card.device.allocate(most * picture_bytes(spec)) for name, spec in specs.items()}
    for bucket in card.network.buckets:
        graph = card.device.capture(partial(card.network.enqueue, bucket, rooms, card.device.stream))
        graph.launch()
        card.device.synchronise()
        graph.close()


def test_a_plan_cut_short_is_refused_before_a_runtime_sees_it(cache: Path, tmp_path: Path) -> None:
    folder = plans_folder(tmp_path)
    folder.mkdir()
    for path in plans_folder(cache).glob(f"{NAME}-*"):
        (folder / path.name).write_bytes(path.read_bytes()[:1000] if path.suffix == ".plan" else path.read_bytes())
    with pytest.raises(EngineError, match=f"truncated. Rebuild it: visavis engines build {NAME}$"):
        load_engine(NAME, "tensorrt", cache_folder=tmp_path)
