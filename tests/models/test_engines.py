"""Engines: they agree with each other, say what runs, and refuse what does not fit."""

import logging
from pathlib import Path

import numpy as np
import pytest

from models import catalogue
from models.catalogue import LoadedEngine, load_engine
from models.engine import EngineError
from models.gate import measure_parity
from models.openvino_engine import supports
from tests.models.tiny import PRECISIONS, samples

pytestmark = pytest.mark.unit

INPUTS = samples(2, seed=3)
FEED = {"face": INPUTS.face, "mel": INPUTS.mel}


@pytest.fixture(scope="module")
def reference(exported: Path) -> LoadedEngine:
    return load_engine(backend="torch", weights_folder=exported)


@pytest.fixture(scope="module", params=["openvino", "torch"])
def either(request: pytest.FixtureRequest, exported: Path) -> LoadedEngine:
    """One engine of each back end in turn."""
    return load_engine(backend=request.param, precision="fp32", weights_folder=exported)


# fp32: constants are stored in half precision. bf16: 8 bits of mantissa. int8: 8-bit activations.
@pytest.mark.parametrize(("precision", "least_db"), [("fp32", 60.0), ("bf16", 45.0), ("int8", 35.0)])
def test_openvino_agrees_with_torch(exported: Path, reference: LoadedEngine, precision: str, least_db: float) -> None:
    if precision not in PRECISIONS:
        pytest.skip(f"this processor has no {precision} arithmetic")
    engine = load_engine(precision=precision, weights_folder=exported)
    expected = reference.infer(FEED)["picture"]
    assert expected.std() > 0.05, "a network that always draws the same proves nothing"
    assert measure_parity(expected, engine.infer(FEED)["picture"], 0).psnr_db >= least_db


def test_the_loaded_engine_says_what_runs(exported: Path) -> None:
    engine = load_engine(precision="fp32", threads=1, weights_folder=exported)
    assert (engine.backend, engine.precision, engine.threads) == ("openvino", "fp32", 1)
    assert str(engine) == "lipgan on openvino, fp32, 1 threads"
    assert engine.inputs["face"].shape == (None, 6, 96, 96)
    assert engine.inputs["mel"].shape == (None, 1, 80, 27)
    assert engine.outputs["picture"].shape == (None, 3, 96, 96)
    assert engine.manifest.mel.look_ahead == 13


def test_auto_takes_openvino_in_the_default_precision(exported: Path) -> None:
    engine = load_engine(weights_folder=exported)
    assert (engine.backend, engine.precision) == ("openvino", engine.manifest.default_precision) == ("openvino", "int8")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_two_faces_in_a_batch_equal_two_single_runs(exported: Path, precision: str) -> None:
    engine = load_engine(precision=precision, weights_folder=exported)
    both = engine.infer(FEED)["picture"]
    single = [engine.infer(feed)["picture"] for feed in INPUTS.feeds()]
    # No tolerance: a batch runs the very graph that a single picture runs.
    np.testing.assert_array_equal(both, np.concatenate(single))


def test_torch_draws_two_faces_as_it_draws_one(reference: LoadedEngine) -> None:
    both = reference.infer(FEED)["picture"]
    single = [reference.infer(feed)["picture"] for feed in INPUTS.feeds()]
    # oneDNN picks another blocking for another batch, so sums of a few hundred float32 products differ in order.
    np.testing.assert_allclose(both, np.concatenate(single), atol=1e-5)


def test_a_result_is_the_callers_and_the_input_is_untouched(exported: Path) -> None:
    engine = load_engine(precision="fp32", weights_folder=exported)
    before = {name: array.copy() for name, array in FEED.items()}
    first = engine.infer(FEED)["picture"]
    kept = first.copy()
    engine.infer({"face": FEED["face"][::-1].copy(), "mel": FEED["mel"]})
    np.testing.assert_array_equal(first, kept)
    for name, array in before.items():
        np.testing.assert_array_equal(FEED[name], array)


def test_a_read_only_input_is_taken(either: LoadedEngine) -> None:
    locked = {name: array.copy() for name, array in FEED.items()}
    for array in locked.values():
        array.flags.writeable = False
    np.testing.assert_array_equal(either.infer(locked)["picture"], either.infer(FEED)["picture"])


FACE, MEL = FEED["face"], FEED["mel"]


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        ({"face": FACE}, r"takes \['face', 'mel'\], found \['face'\]"),
        ({**FEED, "sound": MEL}, r"found \['face', 'mel', 'sound'\]"),
        ({"face": FACE.astype(np.float64), "mel": MEL}, r"'face' is float64 \[2, 6, 96, 96\], expected float32 \[N, 6"),
        ({"face": FACE[:, :3], "mel": MEL}, r"'face' is float32 \[2, 3, 96, 96\], expected float32 \[N, 6, 96, 96\]"),
        ({"face": FACE, "mel": MEL[0]}, r"'mel' is float32 \[1, 80, 27\], expected"),
        ({"face": FACE[..., ::-1], "mel": MEL}, r"'face' is not C-contiguous"),
        ({"face": FACE, "mel": MEL[:1]}, r"same batch .* found \{'face': 2, 'mel': 1\}"),
        ({"face": FACE[:0], "mel": MEL[:0]}, r"same batch of at least 1"),
        ({"face": FACE.tolist(), "mel": MEL}, r"'face' is a list, expected a NumPy array"),
    ],
)
def test_a_feed_that_does_not_fit_is_refused_in_words(
    either: LoadedEngine, feed: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        either.infer(feed)


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_a_closed_engine_says_so(exported: Path, backend: str) -> None:
    engine = load_engine(backend=backend, weights_folder=exported)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer(FEED)


def test_a_compiled_network_is_kept_and_used_again(exported: Path, tmp_path: Path) -> None:
    first = load_engine(precision="fp32", weights_folder=exported, cache_folder=tmp_path / "cache")
    blobs = list((tmp_path / "cache").rglob("*.blob"))
    assert len(blobs) == 1
    second = load_engine(precision="fp32", weights_folder=exported, cache_folder=tmp_path / "cache")
    assert (first.from_cache, second.from_cache) == (False, True)
    assert list((tmp_path / "cache").rglob("*.blob")) == blobs
    np.testing.assert_array_equal(first.infer(FEED)["picture"], second.infer(FEED)["picture"])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_compiled_network_is_compiled_anew(exported: Path, tmp_path: Path, damage: str) -> None:
    first = load_engine(precision="fp32", weights_folder=exported, cache_folder=tmp_path)
    (blob,) = tmp_path.rglob("*.blob")
    _damage(blob, damage)
    second = load_engine(precision="fp32", weights_folder=exported, cache_folder=tmp_path)
    third = load_engine(precision="fp32", weights_folder=exported, cache_folder=tmp_path)
    assert (second.from_cache, third.from_cache) == (False, True)
    np.testing.assert_array_equal(first.infer(FEED)["picture"], second.infer(FEED)["picture"])
    np.testing.assert_array_equal(first.infer(FEED)["picture"], third.infer(FEED)["picture"])


def _damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.unlink()
    path.write_bytes({"truncated": content[:-1000], "flipped": content, "empty": b""}[how])


def test_a_cache_folder_that_cannot_be_written_is_done_without_and_said(
    exported: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / "cache"
    in_the_way.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        engine = load_engine(precision="fp32", weights_folder=exported, cache_folder=in_the_way)
    assert engine.infer(FEED)["picture"].shape == (2, 3, 96, 96)
    assert [record.message for record in caplog.records if "every start compiles" in record.message] == [
        f"compiled networks are not kept, every start compiles them: {engine.blob_folder} (Not a directory)"
    ]


@pytest.mark.skipif(not supports("bf16"), reason="this processor has no bf16 arithmetic")
def test_a_kept_network_is_never_run_in_another_precision(exported: Path, tmp_path: Path) -> None:
    pictures = {}
    for round_ in ("cold", "cached"):
        for precision in ("fp32", "bf16"):
            engine = load_engine(precision=precision, weights_folder=exported, cache_folder=tmp_path)
            pictures[round_, precision] = engine.infer(FEED)["picture"]
    np.testing.assert_array_equal(pictures["cold", "fp32"], pictures["cached", "fp32"])
    np.testing.assert_array_equal(pictures["cold", "bf16"], pictures["cached", "bf16"])
    assert not np.array_equal(pictures["cold", "fp32"], pictures["cold", "bf16"])


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 2), (64, 4)])
def test_half_of_the_cores_are_left_to_the_rest_of_the_pipeline(
    exported: Path, monkeypatch: pytest.MonkeyPatch, cores: int, threads: int
) -> None:
    monkeypatch.setattr(catalogue, "usable_threads", lambda: cores)
    assert load_engine(weights_folder=exported).threads == threads
