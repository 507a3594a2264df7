from pathlib import Path
from typing import Any

import pytest

from models.engine import EngineError
from stream.config import Config, EngineConfig
from stream.engines import Engines, FinderPool, open_engines
from stream.errors import ConfigError
from tests.stream.session_fakes import FakeEngine, FakeFinder, FakeRender, a_face

pytestmark = pytest.mark.unit


class Pool:
    """A pool that counts how often networks were loaded, and which ones each finder got."""

    def __init__(self, loaded: int) -> None:
        self.loads = 0
        self.used: list[Any] = []
        self.pool = FinderPool(self._load, self._make, loaded)

    def _load(self) -> Any:
        self.loads += 1
        return f"networks {self.loads}"

    def _make(self, networks: Any, _: int) -> FakeFinder:
        self.used.append(networks)
        return FakeFinder(a_face)


def test_networks_are_loaded_before_the_first_session() -> None:
    assert Pool(2).loads == 2


def test_networks_pass_from_an_ended_session_to_the_next() -> None:
    pool = Pool(1)
    for _ in range(5):
        pool.pool.open(96).close()
    assert (pool.loads, pool.used) == (1, ["networks 1"] * 5)


def test_no_two_finders_share_networks_at_a_time_and_surplus_ones_are_let_go() -> None:
    pool = Pool(1)
    finders = [pool.pool.open(96) for _ in range(3)]
    assert len(set(pool.used)) == 3
    for finder in finders:
        finder.close()
    for _ in range(2):
        pool.pool.open(96)
    assert pool.loads == 4


def test_an_engine_that_broke_is_closed_and_replaced_once_for_all_sessions() -> None:
    made: list[FakeEngine] = []

    def open_engine() -> FakeEngine:
        made.append(FakeEngine())
        return made[-1]

    engines = Engines(open_engine, lambda _: FakeFinder(a_face), FakeRender)
    broken = engines.painter
    for _ in range(2):
        engines.rebuild(broken)
    assert len(made) == 2
    assert made[0].closed
    assert engines.painter is not broken
    with pytest.raises(ConfigError, match="visavis engines check"):
        engines.rebuild(engines.painter)
    engines.close()


@pytest.mark.parametrize(
    ("engine", "found"),
    [
        (EngineConfig(name="nobody"), "nobody"),
        (EngineConfig(backend="tensorrt"), "tensorrt"),
        (EngineConfig(folder="nowhere"), "nowhere"),
    ],
)
def test_a_server_without_its_engine_refuses_to_start_and_names_what_is_missing(
    engine: EngineConfig, found: str
) -> None:
    with pytest.raises(EngineError) as raised:
        open_engines(Config(engine=engine))
    assert found in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_manifest_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / EngineConfig().name).mkdir()
    with pytest.raises(EngineError, match=r"make it|Fetch it"):
        open_engines(Config(engine=EngineConfig(folder=str(tmp_path))))
