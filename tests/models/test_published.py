"""Published checkpoints: what is read is what was written, and whatever else a file may be is said in one line."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.engine import EngineError
from models.lipgan import Variant, parameter_count
from models.published import FORMATS, LIPGAN_TRAINED_WINDOW, WAV2LIP_WINDOW
from models.published_keras import KerasLipGan, read_keras, to_generator
from models.published_torch import fill, read_state_dict
from models.wav2lip import Wav2LipGenerator
from tests.models.published_files import Layer, inputs, keras_layers, wav2lip, write_keras

pytestmark = pytest.mark.unit

State = dict[str, torch.Tensor]


def test_wav2lip_has_the_published_parameters() -> None:
    with torch.device("meta"):
        assert parameter_count(Wav2LipGenerator()) == 36_298_035


def test_wav2lip_has_the_published_names() -> None:
    with torch.device("meta"):
        names = list(Wav2LipGenerator().state_dict())
    assert names[0] == "face_encoder_blocks.0.0.conv_block.0.weight"
    assert "audio_encoder.12.conv_block.1.running_var" in names
    assert "face_decoder_blocks.6.2.conv_block.0.bias" in names
    assert names[-2:] == ["output_block.1.weight", "output_block.1.bias"]
    assert len(names) == 352


def test_wav2lips_blocks_add_their_input_before_the_one_relu() -> None:
    block = Wav2LipGenerator().eval().face_encoder_blocks[1][1]
    with torch.no_grad():
        block.conv_block[0].weight.zero_()
        block.conv_block[0].bias.fill_(-3.0)
        x = torch.full((1, 32, 4, 4), 5.0)
        # conv-BN gives -3 / sqrt(1 + eps); a ReLU before the sum would leave 5.
        torch.testing.assert_close(block(x), x - 3 / (1 + 1e-5) ** 0.5)


@pytest.mark.parametrize(("frames_back", "window"), [(1, WAV2LIP_WINDOW), (8, LIPGAN_TRAINED_WINDOW)])
def test_the_windows_begin_where_the_published_training_code_begins(frames_back: int, window: Any) -> None:
    """Published: picture k sees the columns from floor(80 (k - frames_back) / 25) on; ours begins `past` before it."""
    pictures = np.arange(10, 60)
    published_ms = 12.5 * np.floor(80 * (pictures - frames_back) / 25)
    ours_ms = 12.5 * (np.floor(3.2 * pictures + 0.5) - window.past)
    assert abs(float((ours_ms - published_ms).mean())) <= 6.25
    assert float(np.abs(ours_ms - published_ms).max()) <= 12.5


# -- torch ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state() -> State:
    return dict(wav2lip().state_dict())


def _bare(state: State) -> Any:
    return state


def _wrapped(state: State) -> Any:
    return {"state_dict": state, "optimizer": None, "global_step": 7, "global_epoch": 1}


def _parallel(state: State) -> Any:
    return {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}


@pytest.mark.parametrize("shape", [_bare, _wrapped, _parallel])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_published_pth_is_read_in_every_shape_it_comes_in(
    tmp_path: Path, state: State, shape: Callable[[State], Any], zipped: bool
) -> None:
    few = {name: state[name] for name in list(state)[:12]}
    torch.save(shape(few), tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = read_state_dict(tmp_path / "a.pth")
    assert found.keys() == few.keys()
    assert all(torch.equal(found[name], few[name]) for name in few)


def test_torchscript_is_read_for_its_tensors(tmp_path: Path) -> None:
    block = Wav2LipGenerator().face_encoder_blocks[0].eval()
    torch.jit.trace(block, torch.zeros(1, 6, 8, 8)).save(tmp_path / "a.pt")
    found = read_state_dict(tmp_path / "a.pt")
    assert list(found) == list(block.state_dict())
    assert torch.equal(found["0.conv_block.0.weight"], block.state_dict()["0.conv_block.0.weight"])
    (tmp_path / "cut.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:3000])
    with pytest.raises(EngineError, match=r"cut.pt is cut short or damaged"):
        read_state_dict(tmp_path / "cut.pt")


def test_safetensors_in_half_precision_fill_a_network_in_float32(tmp_path: Path, state: State) -> None:
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    save_file(halves, tmp_path / "a.safetensors")
    network = Wav2LipGenerator()
    fill(network, read_state_dict(tmp_path / "a.safetensors"), tmp_path / "a.safetensors")
    assert torch.equal(network.output_block[1].weight, halves["output_block.1.weight"].float())
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32, torch.int64}


def test_counts_of_batches_may_be_missing(state: State) -> None:
    uncounted = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    network = Wav2LipGenerator()
    fill(network, uncounted, Path("a.pth"))
    assert torch.equal(network.output_block[1].bias, state["output_block.1.bias"])


def _without(state: State, *names: str) -> State:
    return {name: tensor for name, tensor in state.items() if name not in names}


SYNCNET = {"face_encoder.0.conv_block.0.weight": torch.zeros(32, 15, 7, 7)}
JUDGE = {"face_encoder_blocks.0.0.conv_block.0.weight": torch.zeros(32, 3, 7, 7), "binary_pred.0.weight": torch.ones(1)}

OTHERS = [
    (lambda s: _without(s, "output_block.1.bias"), r"it lacks output_block.1.bias. Give Wav2Lip's 96-pixel"),
    (lambda s: _without(s, *list(s)[:5]), r"lacks face_encoder_blocks\S+, \S+, \S+ and 2 more\."),
    (lambda s: {**s, "extra.weight": torch.ones(1)}, r"it has unknown extra.weight\."),
    (
        lambda s: {**s, "output_block.1.weight": torch.ones(3, 64, 1, 1)},
        r"it has of another shape output_block.1.weight \[3, 64, 1, 1\] for \[3, 32, 1, 1\]",
    ),
    (
        lambda s: {**s, "face_encoder_blocks.7.0.conv_block.0.weight": torch.zeros(512, 512, 3, 3)},
        r"it has unknown face_encoder_blocks.7.0.conv_block.0.weight\. Give Wav2Lip's 96-pixel generator",
    ),
    (lambda _: SYNCNET, r"is SyncNet, Wav2Lip's sync judge, not the generator"),
    (lambda _: JUDGE, r"is Wav2Lip's quality judge, not the generator"),
]


@pytest.mark.parametrize(("change", "message"), OTHERS)
def test_another_network_is_one_line_that_names_what_does_not_fit(
    state: State, change: Callable[[State], State], message: str
) -> None:
    with pytest.raises(EngineError, match=message) as refusal:
        fill(Wav2LipGenerator(), change(state), Path("a.pth"))
    assert "\n" not in str(refusal.value)


def _saved(value: object, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


TENSOR = {"a": torch.arange(1000.0)}
DAMAGED = [
    ("empty.pth", b"", "is empty"),
    ("words.pth", b"these are only words", "is neither a torch checkpoint"),
    ("keras.pth", b"\x89HDF\r\n\x1a\n" + bytes(100), "is a Keras file .* --as lipgan"),
    ("cut.pth", _saved(TENSOR)[:2000], "is cut short or damaged"),
    ("cut_old.pth", _saved(TENSOR, zipped=False)[:2000], "is cut short"),
    ("cut_pickle.pth", _saved(TENSOR, zipped=False)[:30], "is cut short"),
    ("code.pth", _saved({"a": Path("x")}), r"holds more than tensors \(pathlib.\w+\), which is not read"),
    ("list.pth", _saved([torch.ones(1)]), "holds no state dict"),
    ("number.pth", _saved({"state_dict": {"a": 3}}), "holds no state dict"),
    ("cut.safetensors", (200).to_bytes(8, "little") + b'{"a":{"dtype":"F32"', "is cut short or damaged"),
]


@pytest.mark.parametrize(("name", "content", "message"), DAMAGED, ids=[name for name, _, _ in DAMAGED])
def test_a_file_that_is_no_whole_checkpoint_is_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EngineError, match=rf"{name} {message}") as refusal:
        read_state_dict(tmp_path / name)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("read", [read_state_dict, read_keras])
def test_a_path_that_is_not_there_is_one_line(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(EngineError, match=r"none.bin cannot be read \(No such file or directory\)"):
        read(tmp_path / "none.bin")
    with pytest.raises(EngineError, match=r"cannot be read \(Is a directory\)"):
        read(tmp_path)


# -- Keras ---------------------------------------------------------------------------------------------------

# Red, green, blue (in the network's own order) of the middle column at rows 16, 48 and 80 of pictures 0, 1 and 2:
# drawn by Keras 3.15.1 from these layers and inputs, with a graph of its own Conv2D, Conv2DTranspose and
# BatchNormalization. Five decimals.
BY_KERAS: dict[Variant, list[list[float]]] = {
    "basic": [[0.48829, 0.54416, 0.46787], [0.56044, 0.68923, 0.26920], [0.45749, 0.71240, 0.45064]],
    "residual": [[0.38470, 0.60302, 0.65087], [0.25200, 0.65503, 0.74789], [0.25263, 0.65292, 0.81128]],
}


@pytest.mark.parametrize("variant", ["basic", "residual"])
def test_a_keras_file_draws_what_keras_draws(tmp_path: Path, variant: Variant) -> None:
    layers = read_keras(write_keras(tmp_path / "a.h5", keras_layers(variant)))
    generator = to_generator(layers, variant, tmp_path / "a.h5")
    given = inputs(3, 27, seed=7)
    face, mel = torch.from_numpy(given.face), torch.from_numpy(given.mel)
    with torch.inference_mode():
        ours = generator(face, mel).numpy()
        again = KerasLipGan(layers, variant)(face, mel).numpy()
    found = [ours[i, :, 16 + 32 * i, 48] for i in range(3)]
    # float32 sums in another order differ by 3e-6, the five decimals by 5e-6.
    np.testing.assert_allclose(found, BY_KERAS[variant], atol=1e-5)
    np.testing.assert_allclose(again, ours, atol=1e-5)


def test_a_file_of_weights_alone_is_the_same_network(tmp_path: Path) -> None:
    layers = keras_layers("basic")
    whole = read_keras(write_keras(tmp_path / "a.h5", layers))
    alone = read_keras(write_keras(tmp_path / "b.h5", layers, whole_model=False))
    assert whole.shapes() == alone.shapes()
    assert all(
        np.array_equal(one["kernel"], other["kernel"]) for one, other in zip(whole.convs, alone.convs, strict=True)
    )


def _renamed(layers: list[Layer]) -> list[Layer]:
    return [("instance_normalization_1", layers[1][1]), *layers]


def _first_kernel(layers: list[Layer], side: int) -> list[Layer]:
    name, weights = layers[0]
    return [(name, {**weights, "kernel": weights["kernel"][:side, :side]}), *layers[1:]]


def _combined(layers: list[Layer]) -> list[Layer]:
    return [("model_1", {**layers[0][1], **layers[1][1]}), ("model_2", layers[2][1])]


KERAS_OTHERS = [
    (lambda: keras_layers("residual"), r"is LipGAN's residual generator: import it --as lipgan-residual"),
    (lambda: keras_layers("basic", "mfcc"), r"hears MFCC; serving makes mel columns only"),
    (lambda: keras_layers("basic")[:-1], r"it has 24 layers conv2d, expected 25"),
    (lambda: _combined(keras_layers("basic")), r"holds the layer model_\d .*a combined model or another network"),
    (lambda: _renamed(keras_layers("basic")), r"holds the layer instance_normalization_1 \(gamma, .*discriminator"),
    (
        lambda: _first_kernel(keras_layers("basic"), 9),
        r"conv2d number 1 has shape \[9, 9, 6, 32\], expected \[11, 11, 6, 32\]",
    ),
]


@pytest.mark.parametrize(("layers", "message"), KERAS_OTHERS)
def test_another_keras_network_is_one_line(tmp_path: Path, layers: Callable[[], list[Layer]], message: str) -> None:
    path = write_keras(tmp_path / "a.h5", layers())
    with pytest.raises(EngineError, match=message) as refusal:
        to_generator(read_keras(path), "basic", path)
    assert "\n" not in str(refusal.value)


def test_damaged_keras_files_are_one_line(tmp_path: Path) -> None:
    layers = keras_layers("basic")[:4]
    content = write_keras(tmp_path / "a.h5", layers).read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: len(content) // 2])
    (tmp_path / "a.pth").write_bytes(_saved(TENSOR))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_dataset("numbers", data=np.ones(3))
    with pytest.raises(EngineError, match=r"cut.h5 is cut short, damaged, or not by Keras"):
        read_keras(tmp_path / "cut.h5")
    with pytest.raises(EngineError, match=r"a.pth is no Keras file .* goes --as wav2lip"):
        read_keras(tmp_path / "a.pth")
    with pytest.raises(EngineError, match=r"other.h5 is cut short, damaged, or not by Keras"):
        read_keras(tmp_path / "other.h5")


def test_every_format_says_its_terms_and_its_window() -> None:
    assert sorted(FORMATS) == ["lipgan", "lipgan-residual", "wav2lip"]
    assert all("research" in each.terms and each.trained_crop for each in FORMATS.values())
    assert [FORMATS[name].window.columns for name in ("wav2lip", "lipgan")] == [16, 27]
