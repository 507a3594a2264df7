"""The small generator that is shipped: it opens, it is small, it draws what its teacher draws, and it hears."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.engines import bundled_feeds, pictures
from kernels.mel import SILENCE
from models.catalogue import WEIGHTS, LoadedEngine, load_engine
from models.gate import LIMIT_DB, measure_parity
from models.lipgan import LipGanConfig

pytestmark = pytest.mark.unit

NAME, TEACHER = "lipgan_quarter", "lipgan"
MAX_BYTES = 16 * 2**20
COUNT = 12
# Rows and columns of the crop between nose and chin.
MOUTH = (slice(None), slice(None), slice(54, 88), slice(30, 66))
Feeds = list[dict[str, NDArray[np.float32]]]


@pytest.fixture(scope="module")
def student() -> LoadedEngine:
    return load_engine(NAME, threads=1)


@pytest.fixture(scope="module")
def feeds(student: LoadedEngine) -> Feeds:
    """Faces of the bundled clip, whose man both were trained on, with a woman's voice."""
    return bundled_feeds(student.manifest)[:COUNT]


@pytest.fixture(scope="module")
def taught(feeds: Feeds) -> NDArray[np.float32]:
    return pictures(load_engine(TEACHER, precision="fp32", threads=1), feeds)


def test_it_is_a_quarter_as_wide_and_served_as_its_teacher_is(student: LoadedEngine) -> None:
    assert student.manifest.network == {"family": "lipgan", **LipGanConfig(width=0.25).as_dict()}
    assert student.precision == student.manifest.default_precision == "int8"
    teacher = load_engine(TEACHER, threads=1).manifest
    assert (student.manifest.mel, student.manifest.crop) == (teacher.mel, teacher.crop)


def test_no_file_is_larger_than_a_repository_should_hold() -> None:
    sizes = {path.name: path.stat().st_size for path in (WEIGHTS / NAME).iterdir()}
    assert "card.md" in sizes
    assert max(sizes.values()) <= MAX_BYTES
    assert sum(sizes.values()) < sum(path.stat().st_size for path in (WEIGHTS / TEACHER).iterdir())


def test_its_one_precision_draws_what_torch_draws(student: LoadedEngine, feeds: Feeds) -> None:
    precision = "int8"
    assert list(student.manifest.engines) == [precision]
    expected = pictures(load_engine(NAME, "torch", threads=1), feeds)
    assert expected.std() > 0.05, "a network that always draws the same proves nothing"
    found = pictures(load_engine(NAME, precision=precision, threads=1), feeds)
    assert measure_parity(expected, found, 0).psnr_db >= LIMIT_DB[precision]


def test_its_mouths_are_nearly_its_teachers(student: LoadedEngine, feeds: Feeds, taught: NDArray[np.float32]) -> None:
    error = np.square(pictures(student, feeds)[MOUTH] - taught[MOUTH]).mean()
    assert 10 * np.log10(1 / error) > 28


def test_a_sound_changes_its_mouth_as_it_changes_its_teachers(student: LoadedEngine, feeds: Feeds) -> None:
    """One face and many sounds, each mouth less the mean of all: only the sound is left."""
    said = [{"face": feeds[0]["face"], "mel": each["mel"]} for each in feeds]
    teacher = load_engine(TEACHER, precision="fp32", threads=1)
    ours, theirs = (each - each.mean(0) for each in (pictures(engine, said)[MOUTH] for engine in (student, teacher)))
    alike = (ours * theirs).sum() / np.sqrt(np.square(ours).sum() * np.square(theirs).sum())
    other = (np.roll(ours, COUNT // 2, axis=0) * theirs).sum() / np.sqrt(
        np.square(ours).sum() * np.square(theirs).sum()
    )
    assert alike > 0.5
    assert other < 0.3


def test_a_voice_moves_the_mouth_and_silence_does_not(student: LoadedEngine, feeds: Feeds) -> None:
    """One face and many sounds: only the sound can move it."""
    face = feeds[0]["face"]
    spoken = pictures(student, [{"face": face, "mel": each["mel"]} for each in feeds])[MOUTH]
    rng = np.random.default_rng(0)
    quiet = [np.maximum(SILENCE, SILENCE + rng.normal(0, 0.1, feeds[0]["mel"].shape)) for _ in feeds]
    still = pictures(student, [{"face": face, "mel": each.astype(np.float32)} for each in quiet])[MOUTH]
    assert spoken.std(0).mean() > 5 * still.std(0).mean()
