"""Every network that is shipped, in every precision: drawn as torch draws it, and built for the cards of consumers.

TensorRT-RTX parses and builds without a card; what it built is not run here. What the network draws is ONNX Runtime's
word.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from kernels.mel import MelWindow
from models.catalogue import WEIGHTS
from models.checkpoint import load_generator
from models.engine import Array
from models.gate import ExportError
from models.graphs import Samples
from models.manifest import EngineManifest, load_manifest
from models.onnx_export import OPSET, PRECISIONS, export_onnx, onnx_bytes
from models.plan_gate import pass_gate
from models.tensorrt_plan import LIMIT_DB
from models.torch_engine import TorchEngine
from stream.bundled import bundled_samples
from tests.models.onnx_engine import OnnxEngine
from tests.models.plans_of_rtx import plans_of

pytestmark = pytest.mark.unit

NETWORKS = ("lipgan", "lipgan_lite", "lipgan_quarter")
EVERY = 13
# Measured on these samples: fp16 81, 100, 82; int8 46, 50, 44; fp8 38, 60, 38.
EXPECTED_DB = {
    "lipgan": {"fp16": 75, "int8": 43, "fp8": 36},
    "lipgan_lite": {"fp16": 90, "int8": 46, "fp8": 52},
    "lipgan_quarter": {"fp16": 75, "int8": 42, "fp8": 36},
}


def manifest_of(name: str) -> EngineManifest:
    return load_manifest(WEIGHTS / name, "")


@pytest.fixture(scope="module")
def samples() -> dict[str, tuple[Samples, Samples]]:
    """Real inputs for calibration and for the gate; networks of one size and window share them."""
    made: dict[Any, tuple[Samples, Samples]] = {}
    for name in NETWORKS:
        manifest = manifest_of(name)
        crop, window = manifest.crop, MelWindow(manifest.mel.columns, manifest.mel.look_ahead)
        key = (window, crop.size_px, crop.mask_row < crop.size_px)
        if key not in made:
            made[key] = bundled_samples(window, crop.size_px, masked=key[2], every=EVERY)
        made[name] = made[key]
    return made


@pytest.fixture(scope="module")
def exported(samples: dict[str, tuple[Samples, Samples]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with NAME.PRECISION.onnx of every network."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("onnx")
    for name in NETWORKS:
        generator = load_generator(WEIGHTS / name / "generator.safetensors")
        for precision, model in export_onnx(generator, PRECISIONS, samples[name][0]).items():
            (folder / f"{name}.{precision}.onnx").write_bytes(onnx_bytes(model))
    return folder


@pytest.fixture(scope="module")
def built(exported: Path) -> dict[str, Any]:
    """What TensorRT-RTX made of them."""
    return plans_of(exported)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_passes_the_gate_of_its_precision(
    name: str, precision: str, exported: Path, samples: dict[str, tuple[Samples, Samples]]
) -> None:
    """The card's own gate: near torch alone and in a batch, mouths that follow the sound, numbers at the extremes."""
    engine = OnnxEngine((exported / f"{name}.{precision}.onnx").read_bytes(), precision)
    reference = TorchEngine(WEIGHTS / name / "generator.safetensors")
    parity = pass_gate(engine, reference, samples[name][1], manifest_of(name), LIMIT_DB[precision])  # type: ignore[arg-type]
    assert parity.psnr_db >= EXPECTED_DB[name][precision]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_built_for_the_cards_that_know_its_precision(
    name: str, precision: str, built: dict[str, Any]
) -> None:
    assert built["version"].startswith("1.7.1")
    assert built[f"{name}.{precision}"]["bytes"] > 1 << 20


def test_what_cannot_be_built_is_said_in_the_builders_words(built: dict[str, Any]) -> None:
    refused = built["refused"]
    assert set(refused) == {"fp8 on 8.0", "9.0", "nothing"}
    assert "Cannot compile for target(s) sm80" in refused["fp8 on 8.0"]
    assert refused["9.0"] == "TensorRT-RTX 1.7.1.116 does not know compute capability 9.0. Take a card that it knows"
    assert refused["nothing"].startswith("TensorRT-RTX 1.7.1.116 cannot read the network")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_in_onnx_is_typed_takes_any_batch_and_says_nothing_of_its_maker(name: str, exported: Path) -> None:
    path = exported / f"{name}.int8.onnx"
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [each.version for each in model.opset_import if not each.domain] == [OPSET]
    ports = [*model.graph.input, *model.graph.output]
    assert [port.name for port in ports] == ["face", "mel", "picture"]
    for port in ports:
        assert port.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert port.type.tensor_type.shape.dim[0].dim_param
    assert b".py" not in path.read_bytes()


@pytest.mark.parametrize(
    ("precision", "kind"), [("int8", onnx.TensorProto.INT8), ("fp8", onnx.TensorProto.FLOAT8E4M3FN)]
)
def test_ranges_are_symmetric_and_the_sounds_encoder_stays_whole(precision: str, kind: int, exported: Path) -> None:
    graph = onnx.load(exported / f"lipgan.{precision}.onnx").graph
    zeros = [each for each in graph.initializer if each.name.endswith(".zero")]
    assert {each.data_type for each in zeros} == {kind}
    assert all(not any(each.raw_data) for each in zeros)
    convs = [node for node in graph.node if node.op_type in ("Conv", "ConvTranspose")]
    whole = {node.input[1] for node in convs if not node.input[1].endswith(".read")}
    assert whole
    assert all(name.startswith("sound.") for name in whole)


class Spoiled:
    """An engine with a fault."""

    precision = "fp16"

    def __init__(self, engine: TorchEngine, fault: str) -> None:
        self._engine, self._fault = engine, fault

    def infer(self, feed: Mapping[str, NDArray[np.float32]]) -> dict[str, Array]:
        fault = self._fault
        given = dict(feed)
        if fault == "mixes a batch":
            given["mel"] = feed["mel"][::-1].copy()
        if fault == "hears nothing":
            given["mel"] = np.full_like(feed["mel"], -4)
        found = self._engine.infer(given)["picture"]
        if fault == "noise":
            found = found + np.random.default_rng(0).normal(0, 0.02, found.shape).astype(np.float32)
        if fault == "no number" and feed["mel"].min() == feed["mel"].max() == 4:
            found[:] = np.nan
        return {"picture": found}


@pytest.mark.parametrize(
    ("fault", "limit_db", "complaint"),
    [
        ("noise", 45.0, "34.* dB against torch"),
        ("mixes a batch", 45.0, "dB against torch"),
        ("hears nothing", 10.0, "likeness"),
        ("no number", 45.0, "no number at the ends"),
    ],
)
def test_an_engine_with_a_fault_does_not_pass(
    fault: str, limit_db: float, complaint: str, samples: dict[str, tuple[Samples, Samples]]
) -> None:
    reference = TorchEngine(WEIGHTS / "lipgan_quarter" / "generator.safetensors")
    manifest = manifest_of("lipgan_quarter")
    with pytest.raises(ExportError, match=f"lipgan_quarter in fp16 is refused: .*{complaint}"):
        pass_gate(Spoiled(reference, fault), reference, samples["lipgan_quarter"][1], manifest, limit_db)  # type: ignore[arg-type]
