"""The lite generator as an engine: exported, opened, and served with its own crop and its own mel window."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.pictures import open_face
from kernels.crop import crop_face, crop_transform
from kernels.mel import SILENCE, MelWindow
from kernels.mouth import close_mouth
from models.catalogue import LoadedEngine, load_engine
from models.checkpoint import save_generator
from models.gate import measure_parity
from models.generators import generator_inputs, generator_output
from models.graphs import Samples, fold_batch_norm
from models.lipgan import parameter_count
from models.lipgan_lite import LipGanLite, LipGanLiteConfig
from models.openvino_engine import supports
from models.torch_engine import TorchEngine
from stream.frames import FaceCrop, SyncedFrame, VideoFrame
from stream.painter import CpuPainter
from stream.render import RenderOptions, RenderStage
from stream.voice import VoiceTrack
from tests.models.tiny import LICENCE, PRECISIONS, settle
from tests.stream.fake_faces import face as fake_face
from training.export import export

pytestmark = pytest.mark.unit

CROP_PX = 64
CONFIG = LipGanLiteConfig(size="s", crop_px=CROP_PX, look_ahead_ms=80, width=0.25)


def _samples(count: int, seed: int) -> Samples:
    """Smooth random pictures and random mel windows."""
    rng = np.random.default_rng(seed)
    face = np.kron(rng.random((count, 6, 8, 8), dtype=np.float32), np.ones((1, 1, 8, 8), np.float32))
    return Samples(face, rng.uniform(-4, 4, (count, 1, 80, 27)).astype(np.float32))


@pytest.fixture(scope="module")
def generator() -> LipGanLite:
    """Random weights; batch norm statistics of real activations make the pictures vary."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = LipGanLite(CONFIG)
    inputs = _samples(8, seed=0)
    settle(network, torch.from_numpy(inputs.face), torch.from_numpy(inputs.mel))
    with torch.no_grad():
        # Random weights answer rounding far more wildly than trained ones (which keep 66 dB in bf16, 44 in int8).
        network.draw.weight.mul_(0.3)
    return network.eval()


@pytest.fixture(scope="module")
def weights(generator: LipGanLite, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder with the network "lite" in it."""
    folder = tmp_path_factory.mktemp("weights")
    save_generator(folder / "lite.safetensors", generator, storage="float32")
    given = {"calibration": _samples(16, seed=1), "gate": _samples(8, seed=2), "licence": LICENCE}
    export(folder / "lite.safetensors", folder / "lite", PRECISIONS, **given, name="lite")  # type: ignore[arg-type]
    return folder


def test_a_generator_says_what_it_takes_and_gives(generator: LipGanLite) -> None:
    shapes = [spec.shape for spec in (*generator_inputs(generator), generator_output(generator))]
    assert shapes == [(None, 6, CROP_PX, CROP_PX), (None, 1, 80, 27), (None, 3, CROP_PX, CROP_PX)]


def test_folding_batch_norm_changes_nothing(generator: LipGanLite) -> None:
    folded = fold_batch_norm(generator)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in folded.modules())
    feed = {"face": _samples(2, seed=3).face, "mel": _samples(2, seed=3).mel}
    whole = TorchEngine(generator).infer(feed)["picture"]
    # float32 products in another order.
    np.testing.assert_allclose(TorchEngine(folded).infer(feed)["picture"], whole, atol=5e-5)


# fp32: constants are stored in half precision. bf16: 8 bits of mantissa. int8: 8-bit activations.
@pytest.mark.parametrize(("precision", "least_db"), [("fp32", 60.0), ("bf16", 45.0), ("int8", 35.0)])
def test_openvino_agrees_with_torch(weights: Path, precision: str, least_db: float) -> None:
    if precision not in PRECISIONS:
        assert not supports(precision)
        pytest.skip(f"this processor has no {precision} arithmetic")
    samples = _samples(4, seed=4)
    feed = {"face": samples.face, "mel": samples.mel}
    expected = load_engine("lite", "torch", weights_folder=weights).infer(feed)["picture"]
    assert expected.std() > 0.05, "a network that always draws the same proves nothing"
    found = load_engine("lite", precision=precision, threads=1, weights_folder=weights).infer(feed)["picture"]
    assert measure_parity(expected, found, 0).psnr_db >= least_db


def test_an_ear_that_knows_speech_is_stored_small_and_computed_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = replace(CONFIG, look_ahead_ms=40, ear="speech")
    network = LipGanLite(config)
    columns = config.window.columns
    made = [replace(_samples(count, seed), mel=_mel(count, seed, columns)) for count, seed in ((8, 0), (8, 1), (8, 2))]
    settle(network, torch.from_numpy(made[0].face), torch.from_numpy(made[0].mel))
    with torch.no_grad():
        network.draw.weight.mul_(0.3)
    save_generator(tmp_path / "ear.safetensors", network.eval(), storage="float32")
    given = {"calibration": made[1], "gate": made[2], "licence": LICENCE}
    export(tmp_path / "ear.safetensors", tmp_path / "ear", ("int8",), **given, name="ear")  # type: ignore[arg-type]
    # A byte for each of its weights and little more, though nothing in it is computed in int8.
    assert (tmp_path / "ear" / "generator_int8.bin").stat().st_size < 1.1 * parameter_count(network)
    feed = {"face": made[2].face, "mel": made[2].mel}
    expected = load_engine("ear", "torch", weights_folder=tmp_path).infer(feed)["picture"]
    with_ear = load_engine("ear", precision="int8", threads=1, weights_folder=tmp_path)
    assert with_ear.mel_window == config.window == MelWindow(42, 1)
    found = with_ear.infer(feed)["picture"]
    assert measure_parity(expected, found, 0).psnr_db >= 35
    assert expected.std() > 0.05, "a network that always draws the same proves nothing"


def _mel(count: int, seed: int, columns: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-4, 4, (count, 1, 80, columns)).astype(np.float32)


@pytest.fixture(scope="module")
def engine(weights: Path) -> LoadedEngine:
    return load_engine("lite", precision="fp32", threads=1, weights_folder=weights)


def test_the_manifest_carries_crop_and_look_ahead(engine: LoadedEngine) -> None:
    manifest = engine.manifest
    assert manifest.network == {"family": "lipgan_lite", **CONFIG.as_dict()}
    assert (manifest.crop.size_px, manifest.crop.mask_row) == (64, 64)
    assert engine.mel_window == MelWindow(27, 4) == CONFIG.window
    assert engine.mel_window.look_ahead_ns == 75_000_000


def test_the_render_stage_draws_at_the_engines_own_crop(engine: LoadedEngine) -> None:
    random = np.random.default_rng(0)
    planes = tuple(random.integers(16, 236, size, np.uint8) for size in ((120, 160), (60, 80), (60, 80)))
    before = [plane.copy() for plane in planes]
    here = fake_face(0, centre=(80.0, 60.0), size=CROP_PX)
    silent = np.full((80, engine.mel_window.columns), SILENCE, np.float32)
    stage = RenderStage(CpuPainter(engine), RenderOptions(badge=""))
    frame = VideoFrame(0, 0, "yuv420p", planes)  # type: ignore[arg-type]
    drawn = stage.process(SyncedFrame(frame, (here,), silent))
    assert stage.made == 1
    assert (drawn.planes[0] != before[0]).any()


def test_the_generator_is_fed_an_unhidden_picture_with_its_mouth_shut(
    engine: LoadedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[np.ndarray] = []
    infer = engine.engine.infer

    def listening(feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        fed.append(feed["face"].copy())
        return infer(feed)

    monkeypatch.setattr(engine.engine, "infer", listening)
    random = np.random.default_rng(0)
    planes = tuple(random.integers(16, 236, size, np.uint8) for size in ((120, 160), (60, 80), (60, 80)))
    eyes_px = 24.0
    landmarks = [open_face(80.0, 60.0, eyes_px, gap_px) for gap_px in (0.0, 7.0)]
    silent = np.full((80, engine.mel_window.columns), SILENCE, np.float32)
    stage = RenderStage(CpuPainter(engine), RenderOptions(badge=""))
    for number, points in enumerate(landmarks):
        to_crop = crop_transform(points, CROP_PX)
        here = FaceCrop(0, number, to_crop, points, 1.0)
        frame = VideoFrame(number, number, "yuv420p", tuple(plane.copy() for plane in planes))  # type: ignore[arg-type]
        crop = crop_face(frame.planes, to_crop, CROP_PX)
        in_crop = (points @ to_crop[:, :2].T + to_crop[:, 2]).astype(np.float32)
        stage.process(SyncedFrame(frame, (here,), silent))
        wanted = close_mouth(crop, in_crop)
        np.testing.assert_allclose(fed[-1][0, 3:] * 255, wanted.transpose(2, 0, 1), atol=0.01)
        assert (wanted is crop) == (number == 0)


def test_a_voice_is_cut_as_the_engine_was_trained(engine: LoadedEngine) -> None:
    click = np.zeros(48_000, np.float32)
    click[24_000] = 1.0
    voice = VoiceTrack(click, engine.mel_window)
    heard = [ms for ms in range(300, 600, 5) if (voice.mel(ms * 1_000_000) > SILENCE).any()]
    # Pictures from 425 ms on hear the click at 500 ms, to half a column and the edge of the window.
    assert 415 <= heard[0] <= 435
