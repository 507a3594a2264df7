"""Whatever is wrong with an engine's files is said in one line that names file, found, expected and remedy."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models import catalogue
from models.catalogue import check_serving, default_cache_folder, load_engine, names
from models.checkpoint import load_generator, load_notes, save_generator
from models.engine import EngineError
from models.manifest import load_manifest
from tests.models.tiny import tiny_generator

pytestmark = pytest.mark.unit


@pytest.fixture
def weights(exported: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(exported, tmp_path / "weights"))


def _edit(weights: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = weights / "lipgan" / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_a_manifest_survives_its_own_file(exported: Path, tmp_path: Path) -> None:
    manifest = load_manifest(exported / "lipgan", "")
    manifest.save(tmp_path)
    assert load_manifest(tmp_path, "") == manifest
    assert names(exported) == ["lipgan"]


def test_a_manifest_holds_what_serving_must_repeat(exported: Path) -> None:
    manifest = load_manifest(exported / "lipgan", "")
    assert (manifest.mel.columns, manifest.mel.look_ahead, manifest.mel.lowest) == (27, 13, -4.0)
    assert (manifest.crop.size_px, manifest.crop.mask_row) == (96, 48)
    assert manifest.engines["fp32"].inference_precision == "f32"
    assert manifest.engines["fp32"].parity.psnr_db >= manifest.engines["fp32"].parity.limit_db == 45


def test_a_truncated_file_is_named(weights: Path) -> None:
    path = weights / "lipgan" / "generator.bin"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(
        EngineError, match=r"generator.bin \(1000 bytes\) has sha256 .* its manifest says .*export --name"
    ):
        load_engine(precision="fp32", weights_folder=weights)


@pytest.mark.parametrize("file", ["generator_int8.bin", "generator_int8.xml"])
def test_a_flipped_byte_is_found(weights: Path, file: str) -> None:
    path = weights / "lipgan" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(EngineError, match=rf"{file} .*damaged or from another export"):
        load_engine(precision="int8", weights_folder=weights)


def test_a_flipped_byte_of_the_checkpoint_is_found_by_torch(weights: Path) -> None:
    path = weights / "lipgan" / "generator.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    with pytest.raises(EngineError, match=r"generator.safetensors .*damaged"):
        load_engine(backend="torch", weights_folder=weights)


def test_a_missing_file_is_named_with_the_remedy(weights: Path) -> None:
    (weights / "lipgan" / "generator.xml").unlink()
    with pytest.raises(EngineError, match=r"generator.xml is missing, .*git checkout -- models/weights/lipgan"):
        load_engine(precision="fp32", weights_folder=weights)


def test_an_unknown_network_names_those_there_are(exported: Path) -> None:
    with pytest.raises(EngineError, match=r"no network 'lipgun' in .*, there is: lipgan"):
        load_engine("lipgun", weights_folder=exported)


def test_an_empty_weights_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="there is: none"):
        load_engine(weights_folder=tmp_path)


def test_a_missing_manifest_is_named(weights: Path) -> None:
    (weights / "lipgan" / "manifest.json").unlink()
    with pytest.raises(EngineError, match=r"manifest.json is missing"):
        load_engine(weights_folder=weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("mel"), r"field manifest lacks \['mel'\] and has unknown \[\]"),
        (lambda m: m.update(colour="blue"), r"has unknown \['colour'\]"),
        (lambda m: m.update(schema=99), r"field schema is 99, expected 1"),
        (lambda m: m["mel"].update(columns="27"), r"field manifest.mel.columns is '27', expected int"),
        (lambda m: m["inputs"][0].update(shape=5), r"field manifest.inputs\[0\].shape is 5"),
        (lambda m: m["mel"].update(look_ahead=27), r"mel.look_ahead is 27, expected -2 to columns - 1 = 26"),
        (
            lambda m: m["mel"].update(columns=16),
            r"the shape of mel is \(None, 1, 80, 27\), expected .* 16\)",
        ),
        (lambda m: m["mel"].update(hop=160), r"mel.hop is 160, expected 200"),
        (lambda m: m["crop"].update(size_px=192, mask_row=96), r"the shape of face is \(None, 6, 96, 96\), expected"),
        (lambda m: m["crop"].update(mask_row=40), r"crop.mask_row is 40, expected 48"),
        (lambda m: m["crop"].update(channels="bgr"), r"crop.channels is 'bgr', expected 'identity rgb"),
        (lambda m: m["crop"].update(identity="mirror"), r"crop.identity is 'mirror', expected 'same_frame'"),
        (lambda m: m["engines"]["fp32"].update(inference_precision="f8"), r"inference_precision is 'f8'"),
        (lambda m: m.update(default_precision="int4"), r"default_precision is 'int4', expected one of"),
        (lambda m: m["inputs"][0].update(name="picture_in"), r"inputs \['face', 'mel'\], its manifest says"),
    ],
)
def test_a_manifest_that_does_not_fit_names_the_field(
    weights: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    _edit(weights, change)
    with pytest.raises(EngineError, match=message):
        load_engine(precision="fp32", weights_folder=weights)


def test_a_manifest_that_is_no_json_is_named(weights: Path) -> None:
    (weights / "lipgan" / "manifest.json").write_text("{")
    with pytest.raises(EngineError, match=r"manifest.json is not JSON"):
        load_engine(weights_folder=weights)


def test_either_identity_policy_may_be_served(exported: Path, weights: Path) -> None:
    _edit(weights, lambda m: m["crop"].update(identity="reference"))
    check_serving(weights / "lipgan", load_manifest(weights / "lipgan", ""))


def test_a_back_end_that_does_not_exist_is_refused_with_those_that_do(exported: Path) -> None:
    with pytest.raises(
        EngineError, match=r"'tflite' is not in this version .* openvino, torch, tensorrt.*visavis engines list$"
    ):
        load_engine(backend="tflite", weights_folder=exported)


@pytest.mark.parametrize(
    ("backend", "command"),
    [("openvino", r'pip install "openvino>=2026.4"$'), ("torch", r"pip install 'visavis\[train\]'$")],
)
def test_a_back_end_that_is_not_installed_ends_with_the_command(
    exported: Path, monkeypatch: pytest.MonkeyPatch, backend: str, command: str
) -> None:
    monkeypatch.setattr(catalogue.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(EngineError, match=rf"'{backend}' is not installed. Install it: {command}"):
        load_engine(backend=backend, weights_folder=exported)


@pytest.mark.parametrize(("backend", "precision"), [("openvino", "fp8"), ("torch", "int8")])
def test_a_precision_that_is_not_there_is_never_replaced(exported: Path, backend: str, precision: str) -> None:
    with pytest.raises(EngineError, match=rf"'{precision}'"):
        load_engine(backend=backend, precision=precision, weights_folder=exported)


def test_a_processor_without_bf16_is_told_so_and_gets_another_default(
    exported: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _edit(weights, lambda m: m["engines"].setdefault("bf16", {**m["engines"]["fp32"], "inference_precision": "bf16"}))
    _edit(weights, lambda m: m["engines"].pop("int8"))
    _edit(weights, lambda m: m.update(default_precision="bf16"))
    monkeypatch.setattr(catalogue, "supports", lambda precision: precision == "f32")
    assert load_engine(weights_folder=weights).precision == "fp32"
    with pytest.raises(EngineError, match=r"no bf16 arithmetic"):
        load_engine(precision="bf16", weights_folder=weights)


def test_less_than_one_thread_is_refused(exported: Path) -> None:
    with pytest.raises(EngineError, match="threads is 0, expected at least 1"):
        load_engine(threads=0, weights_folder=exported)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_CACHE_HOME": "/somewhere"}, Path("/somewhere/visavis/engines")),
        ({"XDG_CACHE_HOME": "relative"}, Path.home() / ".cache/visavis/engines"),
        ({}, Path.home() / ".cache/visavis/engines"),
    ],
)
def test_the_cache_folder_follows_the_xdg_rules(environment: dict[str, str], expected: Path) -> None:
    assert default_cache_folder(environment) == expected


def test_a_checkpoint_keeps_its_network_and_notes(tmp_path: Path) -> None:
    generator = tiny_generator()
    save_generator(tmp_path / "a.safetensors", generator, {"steps": 7}, storage="float32")
    loaded = load_generator(tmp_path / "a.safetensors")
    assert loaded.config == generator.config
    assert load_notes(tmp_path / "a.safetensors") == {"steps": 7}
    assert all(
        (a == b).all() for a, b in zip(loaded.state_dict().values(), generator.state_dict().values(), strict=True)
    )


def test_a_checkpoint_in_half_precision_is_half_as_large(tmp_path: Path) -> None:
    save_generator(tmp_path / "half.safetensors", tiny_generator())
    save_generator(tmp_path / "full.safetensors", tiny_generator(), storage="float32")
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.6 * sizes[1]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_generator(path, tiny_generator())
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(EngineError, match=r"a.safetensors is not a whole safetensors file"):
        load_generator(path)
    with pytest.raises(EngineError, match=r"b.safetensors is missing"):
        load_generator(tmp_path / "b.safetensors")
