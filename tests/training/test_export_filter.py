"""A run becomes a filter that is served: one command, gated engines, a small preview."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch

from kernels.yuv import BT601_LUMA
from models.filter_catalogue import load_filter
from models.manifest import Licence
from tests.training.pictures import write_photos
from training.__main__ import main
from training.config import read_config
from training.data.photo_pairs import read_photos
from training.export_filter import PREVIEW, how_trained
from training.filter_licence import AS_ITS_DATA, SEE_THE_FOLDER, licence_of
from training.filter_network import FilterNetworkConfig, new_filter
from training.filter_subject import shipped_subject
from training.pix2pix import FROM_A_FOLDER, Pix2PixConfig

pytestmark = pytest.mark.unit

UNET = FilterNetworkConfig(downs=5, channels=4)


def test_one_command_leads_from_photos_to_engines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_photos(tmp_path / "photos", 12, 40, 40)
    text = Path("training/configs/quick_pix2pix.toml").read_text()
    config = tmp_path / "quick.toml"
    config.write_text(text + '\n[served]\ntitle = "Try: nothing much"\nheight_px = 32\nwidth_px = 48\n')
    filters = tmp_path / "filters"
    asked = ["pix2pix", "--config", str(config), "--photos", str(photos), "--maker", "enhance"]
    assert main([*asked, "--run", str(tmp_path / "run"), "--export", "try", "--filters", str(filters)]) == 0
    assert re.search(r"int8: [\d.]+ dB against torch on 8 inputs", capsys.readouterr().out)
    loaded = load_filter("try", folders=(filters,))
    assert loaded.size_px == (32, 48)
    assert loaded.manifest.title == "Try: nothing much"
    assert loaded.manifest.licence == Licence(AS_ITS_DATA, (SEE_THE_FOLDER,))
    loaded.close()
    assert (filters / "try" / PREVIEW).stat().st_size < 150_000
    assert cv2.imread(str(filters / "try" / PREVIEW)) is not None
    frames = np.zeros((2, 3, 32, 32), np.float32)
    assert shipped_subject("try", None, filters).draw(frames).shape == frames.shape


def test_terms_are_those_that_the_config_names() -> None:
    assert licence_of("Apache-2.0", "photos: CC0; own renders ;") == Licence(
        "Apache-2.0", ("photos: CC0", "own renders")
    )


@pytest.mark.parametrize("size", [(24, 24), (80, 40), (33, 70)])
def test_a_filter_for_grey_pictures_is_measured_by_its_colours_alone(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reddish:
        """Draws the picture darker and redder."""

        size_px, precision = (32, 48), "fp32"
        manifest = SimpleNamespace(source="grey", network={}, size_px=(32, 48), recurrent=False)
        shapes: ClassVar[list[tuple[int, ...]]] = []

        def start(self) -> dict[str, np.ndarray]:
            return {}

        def draw(self, frame: np.ndarray, beside: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
            self.shapes.append(frame.shape)
            return 0.5 * frame + np.array([0.2, 0.0, 0.0], np.float32)[:, None, None], beside

    monkeypatch.setattr("models.filter_catalogue.load_filter", lambda *_, **__: Reddish())
    grey = np.repeat(np.random.default_rng(0).uniform(-0.3, 0.3, (2, 1, *size)), 3, 1).astype(np.float32)
    drawn = shipped_subject("reddish", None).draw(grey)
    assert set(Reddish.shapes) == {(1, 3, 32, 48)}
    np.testing.assert_allclose(np.tensordot(BT601_LUMA, drawn, (0, 1)), grey[:, 0], atol=1e-5)
    np.testing.assert_allclose(drawn[:, 0] - drawn[:, 2], 0.2, atol=1e-5)


def test_batch_norm_draws_as_it_learnt(tmp_path: Path) -> None:
    pairs = read_photos([write_photos(tmp_path, 3, 40, 40)], FROM_A_FOLDER)
    quick = read_config(Pix2PixConfig, "quick_pix2pix")
    torch.manual_seed(0)
    network = new_filter(UNET)
    before = network.down_norm[1].running_mean.clone()
    # As published: a batch of one.
    one = Pix2PixConfig(network=UNET, pairs=quick.pairs)
    assert how_trained(network, one, pairs, FROM_A_FOLDER).statistics == "picture"
    assert torch.equal(network.down_norm[1].running_mean, before)
    assert how_trained(network, quick, pairs, FROM_A_FOLDER).statistics == "running"
    assert not torch.equal(network.down_norm[1].running_mean, before)
