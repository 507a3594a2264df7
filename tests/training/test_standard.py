"""Standard measures: only the standard's files are taken, and the networks are the published ones in shape and sums."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from training.__main__ import main
from training.config import ConfigError
from training.standard.fid import FEATURES, Inception, frechet_distance, inception_features, load_inception
from training.standard.lpips import CHANNELS, SCALE, SHIFT, Lpips, load_lpips, lpips_distances, lpips_of
from training.standard.lse import SyncNet, load_syncnet, lse_c, lse_d, mfcc, sync_distances
from training.standard.weights import Published, read_published

pytestmark = pytest.mark.unit

RNG = np.random.default_rng(0)


def test_a_file_that_is_not_the_standard_s_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pth")
    digest = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    assert read_published(tmp_path / "weights.pth", Published("w", digest[:8], "there"))["a"].tolist() == [1, 1]
    with pytest.raises(ConfigError, match=r"is not w: its sha256 begins with .* get it from there"):
        read_published(tmp_path / "weights.pth", Published("w", "0" * 8, "there"))
    with pytest.raises(ConfigError, match="no file"):
        load_inception(tmp_path / "missing.pth")
    with pytest.raises(ConfigError, match=r"is not alexnet-owt-7be5be79\.pth"):
        load_lpips(tmp_path / "weights.pth", tmp_path / "weights.pth")


def test_the_command_refuses_a_wrong_file_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "any.pth").write_bytes(b"anything")
    given = ["evaluate", "--cache", str(tmp_path), "--out", str(tmp_path), "--fid-weights", str(tmp_path / "any.pth")]
    assert main(given) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "is not pt_inception-2015-12-05-6726825d.pth" in error


def _published_lpips() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Random numbers under the published names and shapes."""
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    trunk = {}
    for place, (out, before, size) in shapes.items():
        trunk[f"features.{place}.weight"] = torch.randn(out, before, size, size) * 0.05
        trunk[f"features.{place}.bias"] = torch.randn(out) * 0.05
    lines = {f"lin{i}.model.1.weight": torch.rand(1, each, 1, 1) for i, each in enumerate(CHANNELS)}
    return trunk, lines


def test_lpips_weighs_squared_differences_of_unit_features() -> None:
    torch.manual_seed(0)
    trunk, lines = _published_lpips()
    network = lpips_of(trunk, lines)
    drawn, truth = RNG.integers(0, 255, (2, 3, 96, 96, 3), dtype=np.uint8)
    found = lpips_distances(network, drawn, truth)

    def first_layer(crop: np.ndarray) -> torch.Tensor:
        x = (torch.from_numpy(crop).permute(2, 0, 1) / 127.5 - 1 - torch.tensor(SHIFT)[:, None, None]) / torch.tensor(
            SCALE
        )[:, None, None]
        y = torch.conv2d(x[None], trunk["features.0.weight"], trunk["features.0.bias"], 4, 2).relu()[0]
        return y / y.norm(dim=0)

    weights = lines["lin0.model.1.weight"][0]
    for index in range(3):
        apart = (first_layer(drawn[index]) - first_layer(truth[index])) ** 2
        assert 0 < float((weights * apart).sum(0).mean()) < found[index]
    for name in list(lines)[1:]:
        lines[name] = torch.zeros_like(lines[name])
    apart = (first_layer(drawn[0]) - first_layer(truth[0])) ** 2
    alone = lpips_distances(lpips_of(trunk, lines), drawn[:1], truth[:1])
    assert alone == pytest.approx([float((weights * apart).sum(0).mean())], rel=1e-4)
    assert lpips_distances(network, truth, truth) == pytest.approx(np.zeros(3))
    assert sum(each.numel() for each in Lpips().convs.parameters()) == 2_469_696


def test_inception_has_the_published_names_sizes_and_features() -> None:
    torch.manual_seed(0)
    network = Inception().eval()
    # torchvision's `inception_v3` without its auxiliary head has 23,834,568 at 1000 classes.
    assert sum(each.numel() for each in network.parameters()) == 21_785_568 + 2049 * 1008
    names = network.state_dict().keys()
    assert {"Mixed_6c.branch7x7dbl_5.bn.running_var", "Mixed_7c.branch3x3dbl_3b.conv.weight", "fc.bias"} <= names
    features = inception_features(network, RNG.integers(0, 255, (2, 64, 64, 3), dtype=np.uint8))
    assert features.shape == (2, FEATURES)
    assert np.isfinite(features).all()


def test_the_frechet_distance_is_that_of_two_gaussians() -> None:
    first, second = RNG.normal(size=(400, 6)), RNG.normal(size=(300, 6)) * [1, 2, 1, 1, 0.5, 1] + 0.7
    covariances = [np.cov(each, rowvar=False) for each in (first, second)]
    eigenvalues = np.linalg.eigvals(covariances[0] @ covariances[1])
    apart = np.square(first.mean(0) - second.mean(0)).sum()
    expected = apart + sum(np.trace(each) for each in covariances) - 2 * np.sqrt(eigenvalues.real).sum()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_syncnet_has_the_published_names_and_shapes_and_refuses_another_file(tmp_path: Path) -> None:
    network = SyncNet()
    shapes = {name: tuple(each.shape) for name, each in network.state_dict().items()}
    # Places in the Sequentials of joonson/syncnet_python's SyncNetModel.py.
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnaud.19.running_mean"] == (512,)
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfclip.3.weight"] == shapes["netfcaud.3.weight"] == (1024, 512)
    torch.save(network.state_dict(), tmp_path / "right.model")
    assert not load_syncnet(tmp_path / "right.model").training
    torch.save({"a": torch.ones(1)}, tmp_path / "wrong.model")
    with pytest.raises(ConfigError, match=r"^[^\n]* is not syncnet_v2\.model [^\n]*$"):
        load_syncnet(tmp_path / "wrong.model")


def test_lips_are_compared_with_sound_at_31_shifts() -> None:
    torch.manual_seed(0)
    network = SyncNet().eval()
    pictures = RNG.integers(0, 255, (9, 56, 56, 3), dtype=np.uint8)
    samples = RNG.normal(0, 0.1, 9 * 640).astype(np.float32)
    distances = sync_distances(network, pictures, samples)
    assert distances.shape == (4, 31)
    # Beyond the ends the sound's embedding is 0.
    assert distances[0, :15] == pytest.approx(np.full(15, distances[0, 0]), rel=1e-5)
    assert distances[0, 15:19].std() > 1e-6
    assert distances[2, 13:17].std() > 1e-6
    assert sync_distances(network, pictures[:5], samples).shape == (0, 31)
    curve = np.array([9.0, 8.0, 6.0, 9.0, 9.5])
    assert (lse_d(curve), lse_c(curve)) == (6.0, 3.0)


def test_mfcc_of_a_tone_have_its_energy_and_follow_its_pitch() -> None:
    seconds = np.arange(16_000) / 16_000
    low, high = (1000 * np.sin(2 * np.pi * hz * seconds) for hz in (300, 3000))
    columns = mfcc(low)
    assert columns.shape == (13, 99)
    # The power of a frame is the sum over all bins of |rfft|^2 / 512: by Parseval half of its emphasised energy.
    emphasised = low[16_000 // 2 :][:400] - 0.97 * low[16_000 // 2 - 1 :][:400]
    assert columns[0, 50] == pytest.approx(np.log((emphasised**2).sum() / 2), abs=0.02)
    assert mfcc(high)[1, 50] < columns[1, 50] - 5
    assert mfcc(np.zeros(800)).shape == (13, 4)
