"""One exported tiny network for all tests of engines, one exported filter for all tests of filters."""

from pathlib import Path

import pytest

from models.checkpoint import save_generator
from models.filter_export import export_filter
from tests.models import filters
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


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the filter "steady" in it, residual and with memory; read only, copy it to break it."""
    folder = tmp_path_factory.mktemp("filters")
    export_filter(
        filters.tiny("previous", residual=True),
        filters.job(folder / "steady", ("fp32", "int8")),
        calibration=filters.frames(8, seed=1, run=4),
        gate=filters.frames(8, seed=2, run=4),
    )
    return folder
