"""Whatever is wrong with a filter's folder is said in one line; nothing that a stranger put there is run."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.engine import EngineError
from models.filter_catalogue import FILTERS, filter_names, filter_titles, load_filter, user_filters_folder
from models.filter_manifest import load_filter_manifest

pytestmark = pytest.mark.unit

SIZE = (64, 96)


@pytest.fixture
def filters(shipped: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(shipped, tmp_path / "filters"))


def _edit(filters: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = filters / "steady" / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_a_manifest_survives_its_own_file(shipped: Path, tmp_path: Path) -> None:
    manifest = load_filter_manifest(shipped / "steady", "")
    (tmp_path / "steady").mkdir()
    manifest.save(tmp_path / "steady")
    assert load_filter_manifest(tmp_path / "steady", "") == manifest


def test_a_filter_says_what_it_is(shipped: Path) -> None:
    loaded = load_filter("steady", folders=[shipped])
    assert str(loaded) == f"steady on openvino, int8, {loaded.threads} threads"
    assert loaded.size_px == SIZE
    assert {name: spec.shape for name, spec in loaded.inputs.items()} == {
        "frame": (None, 3, *SIZE),
        "state": (None, 8, 16, 24),
    }
    assert loaded.inputs == loaded.outputs
    assert filter_titles([shipped]) == {"steady": "A filter of random numbers"}


def test_a_stream_starts_with_a_state_of_zeros_and_goes_on_with_the_last_one(shipped: Path) -> None:
    loaded = load_filter("steady", folders=[shipped])
    beside = loaded.start()
    assert list(beside) == ["state"]
    assert not beside["state"].any()
    picture, beside = loaded.draw(np.ones((1, 3, *SIZE), np.float32), beside)
    assert picture.shape == (1, 3, *SIZE)
    assert beside["state"].any()


def test_an_unknown_filter_names_those_there_are(shipped: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no filter 'skech', there is: steady"):
        load_filter("skech", folders=[tmp_path, shipped])
    with pytest.raises(EngineError, match="no filter 'sketch', there is: none"):
        load_filter("sketch", folders=[tmp_path])


@pytest.mark.parametrize("name", ["../steady", "/etc", "Steady", "", ".steady"])
def test_a_name_never_leads_out_of_the_folder(name: str, shipped: Path) -> None:
    with pytest.raises(EngineError, match="cannot be a filter's name"):
        load_filter(name, folders=[shipped])


@pytest.mark.parametrize("file", ["filter_int8.xml", "filter_int8.bin"])
def test_a_missing_engine_is_named_with_the_remedy(file: str, filters: Path) -> None:
    (filters / "steady" / file).unlink()
    with pytest.raises(EngineError, match=rf"{file} is missing, .*git checkout -- models/filters/steady"):
        load_filter("steady", folders=[filters])


@pytest.mark.parametrize("file", ["filter_int8.xml", "filter_int8.bin"])
def test_a_flipped_byte_is_found(file: str, filters: Path) -> None:
    path = filters / "steady" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(EngineError, match=rf"{file} .*damaged or from another export"):
        load_filter("steady", "int8", folders=[filters])


def test_a_precision_that_was_not_exported_names_those_that_were(shipped: Path) -> None:
    with pytest.raises(EngineError, match="steady has no precision 'fp16', there is fp32, int8"):
        load_filter("steady", "fp16", folders=[shipped])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("region"), r"field manifest lacks \['region'\] and has unknown \[\]"),
        (lambda m: m.update(shell="rm"), r"has unknown \['shell'\]"),
        (lambda m: m.update(schema=0), "field schema is 0, expected 1"),
        (lambda m: m.update(size_px=[64]), r"size_px is \[64\], expected height and width"),
        (
            lambda m: m.update(size_px=[64, 1 << 20]),
            r"size_px is \[64, 1048576\], expected height and width, each 1 to 4096",
        ),
        (lambda m: m.update(size_px=[64, 64]), r"the input frame is float32 \[N, 3, 64, 96\], expected .* 64, 64\]"),
        (lambda m: m.update(region="sky"), "region is 'sky', expected one of frame, face, portrait"),
        (lambda m: m.update(region="portrait"), "it would be shown the picture that it hides"),
        (lambda m: m.update(recurrent=False), r"inputs are \['frame', 'state'\], expected frame, perhaps z"),
        (lambda m: m["inputs"][1].update(shape=[None, 8, 1 << 60, 24]), "the input state is"),
        (lambda m: m["outputs"][1].update(shape=[None, 4, 16, 24]), "the state that goes in is .*the same"),
        (lambda m: m.update(default_precision="int4"), "default_precision is 'int4', expected one of fp32, int8"),
        (lambda m: m.update(name="other"), "name is 'other', expected its folder's, 'steady'"),
        (
            lambda m: m["engines"]["int8"].update(xml="../other.xml"),
            r"engines.int8.xml names '../other.xml', expected a",
        ),
        (lambda m: m["engines"]["int8"].update(bin="/etc/passwd"), "engines.int8.bin names '/etc/passwd'"),
        (lambda m: m["engines"]["int8"].update(bin="filter.bin"), "engines.int8.bin has sha256 ''"),
        (lambda m: m["engines"]["int8"].update(backend="torch"), "engines.int8 is for torch in f32, expected openvino"),
        (lambda m: m["checkpoint"].update(file="filter.pth"), "checkpoint names 'filter.pth', .* ends in .safetensors"),
    ],
)
def test_a_manifest_that_does_not_fit_says_which_field(
    change: Callable[[dict[str, Any]], object], message: str, filters: Path
) -> None:
    _edit(filters, change)
    with pytest.raises(EngineError, match=message):
        load_filter("steady", folders=[filters])


def test_graphs_of_another_filter_are_refused(filters: Path) -> None:
    def exchange(values: dict[str, Any]) -> None:
        for spec in (values["inputs"][1], values["outputs"][1]):
            spec.update(shape=[None, 4, 16, 24])

    _edit(filters, exchange)
    with pytest.raises(EngineError, match="steady"):
        load_filter("steady", folders=[filters])


class _Trap:
    sprung = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (_spring, ())


def _spring() -> None:
    _Trap.sprung = True


def test_a_file_from_someone_else_is_never_unpickled(filters: Path) -> None:
    trap = pickle.dumps(_Trap())
    stranger = filters / "stranger"
    stranger.mkdir()
    for name in ("manifest.json", "filter.bin", "filter.xml", "filter.safetensors", "filter.pth"):
        (stranger / name).write_bytes(trap)
    with pytest.raises(EngineError, match=r"manifest.json is not JSON"):
        load_filter("stranger", folders=[filters])
    with pytest.raises(EngineError, match="a filter is a folder with a manifest"):
        load_filter(str(stranger / "filter.pth"), folders=[filters])
    for name in ("filter_int8.bin", "filter_int8.xml"):
        (filters / "steady" / name).write_bytes(trap)
    with pytest.raises(EngineError, match="damaged or from another export"):
        load_filter("steady", folders=[filters])
    assert not _Trap.sprung


def test_a_folder_that_cannot_be_read_is_listed_with_the_reason(filters: Path) -> None:
    (filters / "broken").mkdir()
    (filters / "broken" / "manifest.json").write_text("{")
    (filters / ".partial").mkdir()
    (filters / ".partial" / "manifest.json").write_text("{}")
    assert filter_names([filters]) == ["broken", "steady"]
    assert filter_titles([filters])["broken"].startswith("cannot be used: ")


def test_every_shipped_filter_opens() -> None:
    for name in filter_names():
        loaded = load_filter(name)
        assert loaded.manifest.title
        assert (FILTERS / name / "card.md").is_file()


def test_a_users_own_filters_lie_where_the_system_says() -> None:
    assert user_filters_folder({"XDG_DATA_HOME": "/data"}) == Path("/data/visavis/filters")
    assert user_filters_folder({"XDG_DATA_HOME": "here"}) == Path.home() / ".local/share/visavis/filters"
