"""The default generator as it is shipped: it opens, every precision draws the same, it hears, and it falls silent."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.engines import bundled_feeds, pictures
from kernels.mel import SILENCE
from models.catalogue import WEIGHTS, LoadedEngine, load_engine
from models.engine import EngineError
from models.gate import LIMIT_DB, measure_parity
from models.lipgan_lite import LipGanLiteConfig
from stream.config import EngineConfig

pytestmark = pytest.mark.unit

NAME = EngineConfig().name
MAX_BYTES = 16 * 2**20
COUNT = 12
# Rows and columns of the crop between nose and chin.
MOUTH = (slice(None), slice(None), slice(108, 176), slice(60, 132))
Feeds = list[dict[str, NDArray[np.float32]]]


@pytest.fixture(scope="module")
def engine() -> LoadedEngine:
    return load_engine(NAME, threads=1)


@pytest.fixture(scope="module")
def feeds(engine: LoadedEngine) -> Feeds:
    return bundled_feeds(engine.manifest)[:COUNT]


def test_it_is_lite_at_192_pixels_and_shown_a_shut_mouth(engine: LoadedEngine) -> None:
    config = LipGanLiteConfig(size="s", crop_px=192, ear="speech")
    assert engine.manifest.network == {"family": "lipgan_lite", **config.as_dict()}
    crop = engine.manifest.crop
    assert (crop.size_px, crop.mask_row, crop.identity) == (192, 192, "open_mouth")
    assert crop.channels == "identity rgb, target rgb with its mouth shut"
    assert engine.precision == engine.manifest.default_precision == "int8"


def test_its_files_are_small_and_have_a_card() -> None:
    sizes = {path.name: path.stat().st_size for path in (WEIGHTS / NAME).iterdir()}
    assert {"card.md", "evaluation.json", "generator.safetensors"} <= set(sizes)
    assert max(sizes.values()) <= MAX_BYTES


def test_it_draws_what_torch_draws(engine: LoadedEngine, feeds: Feeds) -> None:
    """With flows and shares quantised too it came to 43 dB, and dots were seen around the mouth."""
    expected = pictures(load_engine(NAME, "torch", threads=1), feeds)
    assert measure_parity(expected, pictures(engine, feeds), LIMIT_DB["int8"]).psnr_db > 48


def test_it_comes_in_int8_alone(engine: LoadedEngine) -> None:
    assert list(engine.manifest.engines) == ["int8"]
    with pytest.raises(EngineError, match="int8"):
        load_engine(NAME, precision="fp32")


def test_silence_leaves_the_shut_mouth_shut_and_speech_does_not(engine: LoadedEngine, feeds: Feeds) -> None:
    shown = np.concatenate([feed["face"][:, 3:] for feed in feeds])
    silent = pictures(engine, [feed | {"mel": np.full_like(feed["mel"], SILENCE)} for feed in feeds])
    spoken = pictures(engine, feeds)
    changed = {name: np.abs(each - shown)[MOUTH].mean((1, 2, 3)) for name, each in (("no", silent), ("yes", spoken))}
    assert np.median(changed["yes"]) > 1.5 * np.median(changed["no"])


def test_what_is_said_decides_how_the_mouth_stands(engine: LoadedEngine, feeds: Feeds) -> None:
    """One face, many sounds: the pictures differ as the sounds do, whoever is shown."""
    said = [feeds[0] | {"mel": feed["mel"]} for feed in feeds]
    other = [feeds[-1] | {"mel": feed["mel"]} for feed in feeds]
    one, two = (each - each.mean(0) for each in (pictures(engine, said)[MOUTH], pictures(engine, other)[MOUTH]))
    rows_one, rows_two = (each.mean((1, 3)) for each in (one, two))
    alike = [np.corrcoef(rows_one.ravel(), np.roll(rows_two, k, axis=0).ravel())[0, 1] for k in range(COUNT)]
    assert alike[0] > 0.3
    assert alike[0] > max(alike[1:]) + 0.1


def test_the_upper_half_is_the_cameras_own(engine: LoadedEngine, feeds: Feeds) -> None:
    drawn = pictures(engine, feeds[:2])
    shown = np.concatenate([feed["face"][:, 3:] for feed in feeds[:2]])
    np.testing.assert_allclose(drawn[:, :, :76], shown[:, :, :76], atol=1e-3)
