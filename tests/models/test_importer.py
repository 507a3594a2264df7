"""An imported engine keeps our contract, draws what the published network draws, and is there whole or not at all."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from kernels.crop import generator_input
from kernels.mel import MelWindow
from models import importer
from models.catalogue import load_engine, mel_window, names, terms_of
from models.engine import EngineError
from models.gate import measure_parity
from models.importer import ImportJob, import_checkpoint, published_pictures, read_published
from models.manifest import Licence, load_manifest
from models.published import FORMATS
from tests.models.published_files import inputs, keras_layers, wav2lip, write_keras

pytestmark = pytest.mark.unit

LICENCE = Licence("made up", ("random numbers",))
Rgb = NDArray[np.uint8]


def _job(source: Path, format_: str, folder: Path, **changed: Any) -> ImportJob:
    job = ImportJob(
        source=source,
        format=format_,
        folder=folder,
        name=format_,
        window=FORMATS[format_].window,
        identity="same_frame",
        precisions=("fp32",),
        licence=LICENCE,
    )
    return replace(job, **changed)


@pytest.fixture(scope="module")
def wav2lip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "wav2lip.pth"
    torch.save({"state_dict": {f"module.{name}": each for name, each in wav2lip().state_dict().items()}}, path)
    return path


@pytest.fixture(scope="module")
def lipgan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keras(tmp_path_factory.mktemp("published") / "lipgan.h5", keras_layers("basic"))


@pytest.fixture(scope="module")
def imported(wav2lip_file: Path, lipgan_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both; read only."""
    folder = tmp_path_factory.mktemp("home") / "engines"
    for source, format_ in ((wav2lip_file, "wav2lip"), (lipgan_file, "lipgan")):
        columns = FORMATS[format_].window.columns
        given = inputs(2, columns, seed=1)
        import_checkpoint(_job(source, format_, folder), calibration=given, gate=given)
    return folder


def _faces(seed: int) -> tuple[Rgb, Rgb]:
    """Identity and target, uint8 RGB [96, 96, 3], no two channels or halves alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (2, 6, 6, 3), np.uint8)
    identity, target = np.kron(coarse, np.ones((1, 16, 16, 1), np.uint8))
    return identity, target


def _as_wav2lip_infers(identity: Rgb, target: Rgb) -> torch.Tensor:
    """`datagen` of Wav2Lip's `inference.py`: BGR pictures, masked first, channels last, then turned."""
    bgr, masked = identity[..., ::-1], target[..., ::-1].copy()
    masked[48:] = 0
    return torch.FloatTensor(np.transpose(np.concatenate((masked, bgr), axis=2) / 255.0, (2, 0, 1)))[None]


def _as_lipgan_infers(identity: Rgb, target: Rgb) -> torch.Tensor:
    """`datagen` of LipGAN's `batch_inference.py`: BGR pictures, identity first."""
    bgr, masked = identity[..., ::-1], target[..., ::-1].copy()
    masked[48:] = 0
    return torch.FloatTensor(np.transpose(np.concatenate((bgr, masked), axis=2) / 255.0, (2, 0, 1)))[None]


@pytest.mark.parametrize(("format_", "stacked"), [("wav2lip", _as_wav2lip_infers), ("lipgan", _as_lipgan_infers)])
def test_the_engine_on_our_input_draws_what_the_published_network_draws_on_its_own(
    imported: Path,
    wav2lip_file: Path,
    lipgan_file: Path,
    format_: str,
    stacked: Callable[[Rgb, Rgb], torch.Tensor],
) -> None:
    source = {"wav2lip": wav2lip_file, "lipgan": lipgan_file}[format_]
    published, _ = read_published(_job(source, format_, imported))
    engine = load_engine(format_, weights_folder=imported)
    mel = inputs(1, FORMATS[format_].window.columns, seed=9).mel
    identity, target = _faces(3)
    with torch.inference_mode():
        expected_bgr = published(stacked(identity, target), torch.from_numpy(mel)).numpy()
    found = engine.infer({"face": generator_input(identity, target)[None], "mel": mel})["picture"]
    engine.close()
    assert measure_parity(expected_bgr[:, ::-1], found, 0).psnr_db > 80
    # The two faces, and the colours, are told apart by these weights: another order would be another picture.
    assert measure_parity(expected_bgr, found, 0).psnr_db < 40
    with torch.inference_mode():
        exchanged = published(stacked(target, identity), torch.from_numpy(mel)).numpy()
    assert measure_parity(exchanged[:, ::-1], found, 0).psnr_db < 40


@pytest.mark.parametrize(("name", "window"), [("wav2lip", MelWindow(16, 11)), ("lipgan", MelWindow(27, 0))])
def test_the_manifest_says_what_serving_must_do(imported: Path, name: str, window: MelWindow) -> None:
    manifest = load_manifest(imported / name, "")
    assert (manifest.mel.columns, manifest.mel.look_ahead) == (window.columns, window.look_ahead)
    assert manifest.crop.channels == "identity rgb, target rgb"
    assert manifest.licence == LICENCE
    assert manifest.network["imported"]["format"] == name
    assert manifest.network["imported"]["trained_crop"] == FORMATS[name].trained_crop
    assert manifest.network["imported"]["psnr_db"] >= 80
    engine = load_engine(name, weights_folder=imported)
    assert mel_window(engine) == window
    assert engine.inputs["mel"].shape == (None, 1, 80, window.columns)
    assert terms_of(engine) == f"the engine {name} was imported; its weights: made up"
    engine.close()


def test_torch_serves_an_imported_engine_too(imported: Path) -> None:
    given = inputs(1, 16, seed=5).feeds()[0]
    engines = [load_engine("wav2lip", each, "fp32", weights_folder=imported) for each in ("openvino", "torch")]
    ours, reference = (engine.infer(given)["picture"] for engine in engines)
    assert measure_parity(reference, ours, 0).psnr_db > 80


def test_only_whole_folders_are_left(imported: Path) -> None:
    assert sorted(path.name for path in imported.iterdir()) == ["lipgan", "wav2lip"]
    assert sorted(path.name for path in (imported / "wav2lip").iterdir()) == [
        "generator.bin",
        "generator.safetensors",
        "generator.xml",
        "manifest.json",
    ]


# -- checks that must fail -------------------------------------------------------------------------


def _refused(source: Path, folder: Path, message: str, **changed: Any) -> None:
    given = inputs(2, 16, seed=1)
    with pytest.raises(EngineError, match=message) as refusal:
        import_checkpoint(_job(source, "wav2lip", folder, **changed), calibration=given, gate=given)
    assert "\n" not in str(refusal.value)
    assert not folder.exists() or list(folder.iterdir()) == []


def _faces_not_exchanged(generator: Any) -> None:
    first = generator.face_encoder_blocks[0][0].conv_block[0]
    with torch.no_grad():
        first.weight.copy_(first.weight[:, [2, 1, 0, 5, 4, 3]])


def _nothing(_generator: Any) -> None:
    pass


@pytest.mark.parametrize("permute", [_faces_not_exchanged, _nothing])
def test_a_wrong_channel_order_is_refused(
    wav2lip_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, permute: Callable[[Any], None]
) -> None:
    monkeypatch.setattr(importer, "permute", permute)
    _refused(wav2lip_file, tmp_path / "engines", "in our channel order it draws other pictures than in its own")


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    state = wav2lip().state_dict()
    state["output_block.1.bias"][0] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    _refused(tmp_path / "nan.pth", tmp_path / "engines", "nan.pth is refused: .* may not be finite")


def test_an_engine_that_differs_is_refused_and_leaves_nothing(
    wav2lip_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importer.write_graphs

    def broken(generator: Any, *arguments: Any, **options: Any) -> None:
        with torch.no_grad():
            last = [each for each in generator.modules() if isinstance(each, nn.Conv2d)][-1]
            assert last.bias is not None
            last.bias.add_(0.5)
        real(generator, *arguments, **options)

    monkeypatch.setattr(importer, "write_graphs", broken)
    _refused(wav2lip_file, tmp_path / "engines", r"fp32 is refused: .* dB against torch on 2 real inputs")


def test_a_full_or_locked_disk_is_one_line_and_leaves_nothing(
    wav2lip_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("a file")
    given = inputs(2, 16, seed=1)
    job = _job(wav2lip_file, "wav2lip", tmp_path / "taken")
    with pytest.raises(EngineError, match=r"taken cannot be written \(.*\): choose another --into"):
        import_checkpoint(job, calibration=given, gate=given)

    monkeypatch.setattr(importer.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=100 << 20))
    _refused(wav2lip_file, tmp_path / "engines", r"engines has 100 MiB free, the engine needs 319: free some")


WRONG_JOBS = [
    ({"name": "../up"}, r"--name is '../up', expected small letters"),
    ({"precisions": ("fp32", "int4")}, r"--precisions is 'fp32,int4', expected some of fp32,bf16,int8"),
    ({"window": MelWindow(27, 0)}, r"the window has 27 columns, wav2lip takes 16"),
]


@pytest.mark.parametrize(("changed", "message"), WRONG_JOBS)
def test_a_job_that_cannot_be_is_refused_before_the_file_is_opened(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    _refused(tmp_path / "none.pth", tmp_path / "engines", message, **changed)


def test_a_precision_that_cannot_be_checked_here_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "supports", lambda precision: precision != "bf16")
    _refused(tmp_path / "none.pth", tmp_path / "engines", "cannot check bf16", precisions=("fp32", "bf16"))


def test_a_name_that_is_taken_stays_as_it_is(imported: Path, wav2lip_file: Path, tmp_path: Path) -> None:
    shutil.copytree(imported / "wav2lip", tmp_path / "wav2lip")
    shutil.copytree(imported / "wav2lip", tmp_path / ".unfinished")
    assert names(tmp_path) == ["wav2lip"]
    before = json.loads((tmp_path / "wav2lip" / "manifest.json").read_text())
    given = inputs(2, 16, seed=1)
    with pytest.raises(EngineError, match=r"wav2lip is there already: give another --name"):
        import_checkpoint(_job(wav2lip_file, "wav2lip", tmp_path), calibration=given, gate=given)
    assert json.loads((tmp_path / "wav2lip" / "manifest.json").read_text()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".unfinished", "wav2lip"]


def test_published_pictures_come_back_in_rgb(lipgan_file: Path, tmp_path: Path) -> None:
    published, _ = read_published(_job(lipgan_file, "lipgan", tmp_path))
    given = inputs(1, 27, seed=2)
    own_order = torch.from_numpy(given.face[:, [2, 1, 0, 5, 4, 3]])
    with torch.inference_mode():
        expected_bgr = published(own_order, torch.from_numpy(given.mel)).numpy()
    np.testing.assert_array_equal(published_pictures(published, "lipgan", given), expected_bgr[:, ::-1])
