"""Published weights are read without running them, and draw what the published network drew."""

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from models.engine import EngineError
from models.filter_catalogue import load_filter
from models.filter_export import FilterJob
from models.filter_graphs import AsTrained, FilterSamples
from models.filter_importer import compare, import_filter, main
from models.gate import ExportError
from models.oasis import OasisDiscriminator, OasisGenerator
from models.pix2pix import PatchGan, PatchGanConfig, ResNetConfig, ResNetGenerator, UNetGenerator
from models.published_filters import draw_published, format_of, judge_names, to_filter, to_judge
from models.published_torch import read_state_dict
from tests.models.filters import LICENCE, frames
from tests.models.published_filters import NamedOasis, NestedUNet, lived_in

pytestmark = pytest.mark.unit

SIZE = (64, 64)


def _frames(count: int, seed: int) -> FilterSamples:
    return frames(count, seed=seed, size=SIZE)


def _saved(network: nn.Module, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


def _unet(path: Path, *, instance: bool = False) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    network = lived_in(NestedUNet(5, 4, instance=instance), torch.from_numpy(_frames(4, 9).frames))
    return network, _saved(network, path / "latest_net_G.pth")


def _layouts(count: int, classes: int, seed: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count, 4, 4), generator=source)
    return torch.from_numpy(
        np.kron(np.eye(classes, dtype=np.float32)[labels].transpose(0, 3, 1, 2), np.ones((16, 16), np.float32))
    )


@pytest.mark.parametrize("instance", [False, True])
def test_a_nested_u_net_is_read_and_draws_the_same(instance: bool, tmp_path: Path) -> None:
    published, path = _unet(tmp_path, instance=instance)
    tensors = read_state_dict(path)
    assert format_of(tensors, path) == "pix2pix-unet"
    network = to_filter(tensors, "pix2pix-unet", path)
    assert isinstance(network, UNetGenerator)
    assert (network.config.downs, network.config.channels, network.config.norm) == (
        5,
        4,
        ["batch", "instance"][instance],
    )
    frame = torch.from_numpy(_frames(2, 1).frames)
    with torch.no_grad():
        expected = published(frame)
        # Sums in another order, in float32.
        assert torch.allclose(network(frame), expected, atol=1e-5)
        assert torch.allclose(draw_published(tensors, "pix2pix-unet", frame), expected, atol=1e-5)
    assert expected.std() > 0.05


@pytest.mark.parametrize(
    "config",
    [
        ResNetConfig(blocks=3, channels=4),
        ResNetConfig(blocks=2, channels=4, norm="batch", dropout=True),
    ],
)
def test_a_resnet_is_read_and_draws_the_same(config: ResNetConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = lived_in(ResNetGenerator(config), torch.from_numpy(_frames(4, 9).frames))
    path = _saved(published, tmp_path / "latest_net_G.pth")
    tensors = read_state_dict(path)
    network = to_filter(tensors, format_of(tensors, path), path)
    assert network.config == config
    frame = torch.from_numpy(_frames(2, 1).frames)
    with torch.no_grad():
        assert torch.equal(network(frame), published(frame))
        assert torch.allclose(draw_published(tensors, "pix2pix-resnet", frame), published(frame), atol=1e-5)


def test_statistics_that_old_versions_of_torch_stored_for_instance_norm_are_left_out(tmp_path: Path) -> None:
    state = ResNetGenerator(ResNetConfig(blocks=1, channels=4)).state_dict()
    old = {**state, "model.2.running_mean": torch.ones(4), "model.2.running_var": torch.ones(4)}
    network = to_filter(old, "pix2pix-resnet", tmp_path / "old.pth")
    assert network.config.norm == "instance"


def test_a_generator_of_oasis_is_read_and_draws_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layouts, z = _layouts(2, 5, 1), torch.randn(2, 64)
    published = lived_in(NamedOasis(5, 2), _layouts(4, 5, 0), torch.randn(4, 64))
    path = _saved(published, tmp_path / "best_EMA.pth")
    tensors = read_state_dict(path)
    network = to_filter(tensors, format_of(tensors, path), path)
    assert isinstance(network, OasisGenerator)
    assert (network.config.classes, network.config.channels, network.config.hidden) == (5, 2, 128)
    with torch.no_grad():
        expected = published(layouts, z)
        assert torch.allclose(network(layouts, z), expected, atol=1e-5)
        assert torch.allclose(draw_published(tensors, "oasis", layouts, z), expected, atol=1e-5)
    assert expected.std() > 0.01


def test_discriminators_are_read_to_go_on_training_with(tmp_path: Path) -> None:
    for config in (PatchGanConfig(), PatchGanConfig(1, norm="instance"), PatchGanConfig(16, channels=8)):
        judge = PatchGan(config)
        again = to_judge(judge.state_dict(), tmp_path / "latest_net_D.pth")
        assert again.config == config  # type: ignore[union-attr]
        assert all(torch.equal(a, b) for a, b in zip(judge.parameters(), again.parameters(), strict=True))
    oasis = OasisDiscriminator(5)
    names = judge_names(oasis)
    published = {names[name]: tensor for name, tensor in oasis.state_dict().items()}
    assert {
        "body_down.0.conv1.0.weight_orig",
        "body_down.1.conv1.1.bias",
        "body_up.0.conv1.2.weight_u",
    } <= published.keys()
    assert {"body_up.5.conv2.1.weight_v", "body_up.1.conv_s.weight_orig", "layer_up_last.bias"} <= published.keys()
    again = to_judge(published, tmp_path / "best_D.pth")
    assert all(torch.equal(a, b) for a, b in zip(oasis.parameters(), again.parameters(), strict=True))


def _job(folder: Path, how: AsTrained | None = None) -> FilterJob:
    return FilterJob(
        folder=folder,
        title="Imported",
        size_px=SIZE,
        licence=LICENCE,
        how=how or AsTrained(),
        precisions=("fp32",),
    )


def test_an_import_makes_a_filter_that_draws_as_published(tmp_path: Path) -> None:
    published, path = _unet(tmp_path)
    imported = import_filter(path, _job(tmp_path / "drawing"), calibration=_frames(8, 1), gate=_frames(8, 2))
    assert imported.conversion.psnr_db >= 80
    assert imported.manifest.network["imported"]["file"] == "latest_net_G.pth"
    loaded = load_filter("drawing", folders=[tmp_path])
    samples = _frames(1, 5)
    picture, _ = loaded.draw(samples.frames, loaded.start())
    with torch.no_grad():
        # The graph's constants are stored in half precision.
        assert np.allclose(picture, published(torch.from_numpy(samples.frames)).numpy(), atol=0.02)
    with pytest.raises(ExportError, match="is there already"):
        import_filter(path, _job(tmp_path / "drawing"), calibration=_frames(8, 1), gate=_frames(8, 2))


def test_an_exchanged_tensor_is_found_by_the_self_check(tmp_path: Path) -> None:
    _, path = _unet(tmp_path)
    tensors = read_state_dict(path)
    network = to_filter(tensors, "pix2pix-unet", path)
    with torch.no_grad():
        network.up_norm[1].bias.add_(0.5)
    assert compare(tensors, "pix2pix-unet", network, _frames(8, 1)).psnr_db < 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("model.model.3.bias"), r"lacks last.bias. Give a U-Net generator of Pix2Pix"),
        (lambda s: s.update(extra=torch.zeros(1)), "has unknown extra"),
        (lambda s: s.pop("model.model.3.weight"), "is not a U-Net generator .*'model.model.3.weight'"),
    ],
)
def test_weights_that_do_not_fit_are_named(change: Any, message: str, tmp_path: Path) -> None:
    state = NestedUNet(5, 4).state_dict()
    change(state)
    with pytest.raises(EngineError, match=message):
        to_filter(state, "pix2pix-unet", tmp_path / "G.pth")


def test_a_discriminator_and_a_stranger_are_no_filters(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"D\.pth is a discriminator\. Give a U-Net generator"):
        format_of(PatchGan().state_dict(), Path("D.pth"))
    with pytest.raises(EngineError, match=r"x.pth is no network that can be a filter"):
        format_of({"a": torch.zeros(1)}, Path("x.pth"))


class _Trap:
    sprung = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (_spring, ())


def _spring() -> None:
    _Trap.sprung = True


def test_a_checkpoint_with_a_program_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "latest_net_G.pth"
    torch.save({"model.model.0.weight": torch.zeros(1), "more": _Trap()}, path)
    with pytest.raises(EngineError, match="holds more than tensors"):
        import_filter(path, _job(tmp_path / "trap"), calibration=_frames(8, 1), gate=_frames(8, 2))
    path.write_bytes(pickle.dumps(_Trap(), protocol=2))
    with pytest.raises(EngineError):
        import_filter(path, _job(tmp_path / "trap"), calibration=_frames(8, 1), gate=_frames(8, 2))
    assert not _Trap.sprung
    assert not (tmp_path / "trap").exists()


def test_the_command_imports_as_published_and_names_a_broken_picture(tmp_path: Path) -> None:
    _, path = _unet(tmp_path)
    (tmp_path / "pictures").mkdir()
    for index in range(16):
        picture = np.random.default_rng(index).integers(0, 256, (5, 7, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "pictures" / f"{index:02}.png"), cv2.resize(picture, (80, 70)))
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"no picture")
    said: list[str] = []
    options = ["--into", str(tmp_path / "filters"), "--name", "mine", "--pictures", str(tmp_path / "pictures")]
    assert main([str(path), *options, "--size", "64", "--precisions", "fp32"], said.append) == 0
    assert any("left out: " in line and "broken.jpg" in line for line in said)
    manifest = load_filter("mine", folders=[tmp_path / "filters"]).manifest
    assert (manifest.normalisation, manifest.dropout) == ("picture", "pinned")


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.pth"), "--into", "x", "--name", "x", "--pictures", "x"]) == 2
    assert "none.pth cannot be read" in capsys.readouterr().err
