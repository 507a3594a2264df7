"""One exported tiny network for all tests of engines."""

from pathlib import Path

import pytest

from models.checkpoint import save_generator
from tests.models.tiny import LICENCE, PRECISIONS, samples, tiny_generator
from training.export import export


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder with the network "lipgan" in it; read only, copy it to break it."""
    folder = tmp_path_factory.mktemp("weights")
    save_generator(folder / "tiny.safetensors", tiny_generator())
    export(
        folder / "tiny.safetensors",
        folder / "lipgan",
        PRECISIONS,
        calibration=samples(16, seed=1),
        gate=samples(8, seed=2),
        licence=LICENCE,
    )
    return folder
