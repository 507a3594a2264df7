"""Export: what is written equals torch, and nothing else gets a name."""

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch

from models import graphs
from models.catalogue import load_engine
from models.checkpoint import load_generator, save_generator
from models.gate import LIMIT_DB, ExportError, measure_parity, run_all
from models.lipgan import LipGanGenerator
from models.lipgan_lite import LipGanLite, LipGanLiteConfig
from models.torch_engine import TorchEngine
from tests.models.tiny import LICENCE, samples, tiny_generator
from training import export as export_module
from training.data.cache import CachedClip
from training.export import RECOGNISER, export, licence_of, main, samples_from

pytestmark = pytest.mark.unit

CALIBRATION, GATE = samples(8, seed=11), samples(8, seed=12)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_generator(tmp_path / "tiny.safetensors", tiny_generator())
    return tmp_path / "tiny.safetensors"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export in fp32 and int8 into a folder that held a card; read only."""
    base = tmp_path_factory.mktemp("good")
    (base / "weights" / "lipgan").mkdir(parents=True)
    (base / "weights" / "lipgan" / "card.md").write_text("# Card")
    save_generator(base / "tiny.safetensors", tiny_generator())
    _export(base / "tiny.safetensors", "fp32", "int8")
    return base / "weights" / "lipgan"


def _export(checkpoint: Path, *precisions: str) -> Any:
    out = checkpoint.parent / "weights" / "lipgan"
    return export(checkpoint, out, precisions, calibration=CALIBRATION, gate=GATE, licence=LICENCE)


def _files(checkpoint: Path) -> list[str]:
    folder = checkpoint.parent / "weights" / "lipgan"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_folding_batch_norm_changes_nothing() -> None:
    generator = tiny_generator()
    whole = run_all(TorchEngine(generator), GATE)
    folded = run_all(TorchEngine(graphs.fold_batch_norm(generator)), GATE)
    # float32 products in another order.
    np.testing.assert_allclose(whole, folded, atol=2e-5)
    assert any(isinstance(layer, torch.nn.BatchNorm2d) for layer in generator.modules())


def test_an_export_can_be_loaded_and_lists_its_files(good: Path) -> None:
    assert sorted(path.name for path in good.iterdir()) == [
        "card.md",
        "generator.bin",
        "generator.safetensors",
        "generator.xml",
        "generator_int8.bin",
        "generator_int8.xml",
        "manifest.json",
    ]
    engine = load_engine(precision="fp32", weights_folder=good.parent)
    feed = GATE.feeds()[0]
    expected = TorchEngine(load_generator(good / "generator.safetensors")).infer(feed)["picture"]
    # Constants are stored in half precision.
    assert measure_parity(expected, engine.infer(feed)["picture"], 0).psnr_db > 60


def test_the_fastest_precision_is_the_default(good: Path) -> None:
    assert load_engine(weights_folder=good.parent).precision == "int8"


def test_other_files_in_the_folder_stay(good: Path) -> None:
    assert (good / "card.md").read_text() == "# Card"


def test_the_graph_names_no_path_of_this_machine(good: Path) -> None:
    for xml in good.glob("*.xml"):
        assert str(Path.home()) not in xml.read_text()
        assert str(good.parent.parent) not in xml.read_text()


def _swap_colours(generator: LipGanGenerator) -> Any:
    with torch.no_grad():
        last = generator.last[-1]
        last.weight.copy_(last.weight.flip(0))
        last.bias.copy_(last.bias.flip(0))
    return generator


def _deafen(generator: LipGanGenerator) -> Any:
    with torch.no_grad():
        generator.sound[0].norm.weight.zero_()
        generator.sound[0].norm.bias.zero_()
    return generator


def _nothing_is_a_number(generator: LipGanGenerator) -> Any:
    with torch.no_grad():
        generator.last[-1].bias.fill_(float("nan"))
    return generator


@pytest.mark.parametrize("damage", [_swap_colours, _deafen, _nothing_is_a_number])
def test_the_gate_refuses_a_broken_engine_and_leaves_the_last_good_one(
    checkpoint: Path, good: Path, monkeypatch: pytest.MonkeyPatch, damage: Any
) -> None:
    shutil.copytree(good, checkpoint.parent / "weights" / "lipgan")
    before = {path.name: path.read_bytes() for path in good.iterdir()}
    real = graphs.fold_batch_norm
    monkeypatch.setattr(graphs, "fold_batch_norm", lambda generator: real(damage(copy.deepcopy(generator))))
    with pytest.raises(ExportError, match=r"fp32 is refused: .* dB against torch on 8 real inputs"):
        _export(checkpoint, "fp32")
    after = {path.name: path.read_bytes() for path in (checkpoint.parent / "weights" / "lipgan").iterdir()}
    assert after == before


def test_a_first_export_that_is_refused_leaves_nothing(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMIT_DB, "fp32", 121.0)
    with pytest.raises(ExportError, match="expected at least 121"):
        _export(checkpoint, "fp32")
    assert _files(checkpoint) == []


def test_a_bad_quantisation_is_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def saturated(graph: Any, *_given: Any) -> Any:
        return _clamp_inputs(graph)

    monkeypatch.setattr(graphs, "quantise", saturated)
    with pytest.raises(ExportError, match="int8 is refused"):
        _export(checkpoint, "int8")


def _clamp_inputs(graph: Any) -> Any:
    """Every activation behind the inputs cut to a tenth of its range, as a bad calibration would."""
    from openvino import opset13

    for parameter in graph.get_parameters():
        readers = list(parameter.output(0).get_target_inputs())
        clamped = opset13.clamp(parameter, 0.0, 0.1)
        for reader in readers:
            reader.replace_source_output(clamped.output(0))
    return openvino.Model(graph.get_results(), graph.get_parameters())


def test_too_few_samples_are_refused(checkpoint: Path) -> None:
    with pytest.raises(ExportError, match="8 calibration and 3 gate samples, expected at least 8"):
        export(
            checkpoint,
            checkpoint.parent / "out",
            calibration=CALIBRATION,
            gate=samples(3, seed=0),
            licence=LICENCE,
        )
    with pytest.raises(ExportError, match="precisions are"):
        _export(checkpoint, "int4")


def test_parity_is_in_decibels_and_notices_what_is_not_a_number() -> None:
    black, grey = np.zeros((2, 3, 4, 4), np.float32), np.full((2, 3, 4, 4), 0.1, np.float32)
    assert measure_parity(black, grey, 0).psnr_db == pytest.approx(20)
    assert measure_parity(black, black, 0).psnr_db == 120
    grey[0] = 0
    assert measure_parity(black, grey, 0).worst_psnr_db == pytest.approx(20)
    grey[:] = np.nan
    assert measure_parity(black, grey, 0).psnr_db == 0


def _clip(frames: int) -> CachedClip:
    rng = np.random.default_rng(0)
    return CachedClip(
        name="a",
        person="a",
        split="train",
        crops=rng.integers(0, 255, (frames, 112, 112, 3), np.uint8),
        pts_ns=np.arange(frames, dtype=np.int64) * 40_000_000,
        mel=rng.uniform(-4, 4, (80, frames * 4)).astype(np.float32),
        opening=np.zeros(frames, np.float32),
        width=np.zeros(frames, np.float32),
        landmarks=np.zeros((frames, 478, 2), np.float32),
    )


def test_samples_are_the_inputs_that_serving_makes() -> None:
    clip = _clip(20)
    taken = samples_from([clip], 5)
    assert (taken.face.shape, taken.mel.shape) == ((5, 6, 96, 96), (5, 1, 80, 27))
    first = clip.crops[0, 8:-8, 8:-8].transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_allclose(taken.face[0, :3], first, atol=1e-6)
    np.testing.assert_allclose(taken.face[0, 3:, :48], first[:, :48], atol=1e-6)
    assert (taken.face[:, 3:, 48:] == 0).all()


def test_a_recognisers_ear_is_named_in_the_licence() -> None:
    plain, hearing = (LipGanLite(LipGanLiteConfig(size="s", crop_px=96, ear=ear)) for ear in ("lipgan", "speech"))
    assert licence_of(plain) == export_module.LICENCE
    assert licence_of(hearing).data == (*export_module.LICENCE.data, RECOGNISER)


def test_the_command_exports_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = tiny_generator()
    run = tmp_path / "checkpoint.pt"
    config = {"network": {**generator.config.as_dict(), "discriminator_width": 0.25}}
    torch.save({"averaged": generator.state_dict(), "step": 5, "config": config}, run)
    monkeypatch.setattr(export_module, "load_clips", lambda _cache, _splits: [_clip(12)])
    said: list[str] = []
    out = tmp_path / "weights" / "lipgan"
    arguments = ["--checkpoint", str(run), "--cache", str(tmp_path), "--out", str(out), "--precisions", "fp32"]
    main(arguments, said.append)
    assert sorted(path.name for path in out.iterdir()) == [
        "generator.bin",
        "generator.safetensors",
        "generator.xml",
        "manifest.json",
    ]
    assert [line.split()[0] for line in said] == ["fp32:", "default"]
    assert load_engine(weights_folder=tmp_path / "weights").precision == "fp32"
