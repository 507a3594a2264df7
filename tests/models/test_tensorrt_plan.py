"""What lies beside a plan: it is read strictly, and whatever does not fit this machine is refused with the remedy."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from models.catalogue import WEIGHTS
from models.engine import EngineError
from models.manifest import EngineManifest, load_manifest, sha256_of
from models.tensorrt_build import Profile, profiles_for
from models.tensorrt_plan import PlanRecord, read_plan, record_path
from models.tensorrt_runtime import Runtime, load_trt
from tests.models.test_tensorrt_engine import record

pytestmark = pytest.mark.unit

HERE = Runtime(None, "tensorrt", "11.4.0.106")
REBUILD = "Rebuild it: visavis engines build lipgan"


@pytest.fixture
def manifest() -> EngineManifest:
    return load_manifest(WEIGHTS / "lipgan", "")


@pytest.fixture
def written(tmp_path: Path, manifest: EngineManifest) -> PlanRecord:
    """A plan of five bytes and its record, as built."""
    path = tmp_path / "lipgan-fp16.plan"
    path.write_bytes(b"whole")
    made = replace(
        record(),
        network="lipgan",
        plan=path.name,
        plan_sha256=sha256_of(path),
        checkpoint_sha256=manifest.checkpoint.sha256,
    )
    made.save(tmp_path)
    return made


def refused(folder: Path, manifest: EngineManifest, runtime: Runtime = HERE, capability: str = "8.6") -> str:
    with pytest.raises(EngineError) as raised:
        read_plan(folder, manifest, "fp16", runtime, capability)
    return str(raised.value)


def test_what_was_written_is_read(tmp_path: Path, manifest: EngineManifest, written: PlanRecord) -> None:
    assert read_plan(tmp_path, manifest, "fp16", HERE, "8.6") == (tmp_path / written.plan, written)


def test_a_plan_that_was_never_built_is_named_with_the_command(tmp_path: Path, manifest: EngineManifest) -> None:
    said = refused(tmp_path, manifest)
    assert said.startswith("lipgan in fp16 has not been built for this card")
    assert said.endswith("Build it: visavis engines build lipgan --precision fp16")


def test_a_precision_that_no_card_runs_is_refused(tmp_path: Path, manifest: EngineManifest) -> None:
    with pytest.raises(EngineError, match=r"TensorRT runs fp16, int8, fp8, found precision 'bf16'"):
        read_plan(tmp_path, manifest, "bf16", HERE, "8.6")


@pytest.mark.parametrize(
    ("runtime", "capability"),
    [
        (Runtime(None, "tensorrt", "10.16.1.11"), "8.6"),
        (Runtime(None, "tensorrt", "11.4.0.107"), "8.6"),
        (Runtime(None, "tensorrt_rtx", "11.4.0.106"), "8.6"),
        (HERE, "9.0"),
    ],
)
def test_a_foreign_plan_says_what_it_is_for_and_what_is_here(
    tmp_path: Path, manifest: EngineManifest, written: PlanRecord, runtime: Runtime, capability: str
) -> None:
    assert refused(tmp_path, manifest, runtime, capability) == (
        f"{tmp_path / written.plan} was built for compute capability 8.6 with TensorRT 11.4.0.106, this machine has "
        f"{capability} and {runtime.title}. {REBUILD}"
    )


def test_a_stale_plan_is_one_of_other_weights(tmp_path: Path, manifest: EngineManifest, written: PlanRecord) -> None:
    replace(written, checkpoint_sha256="0" * 64).save(tmp_path)
    said = refused(tmp_path, manifest)
    assert "was built from other weights than lipgan has now" in said
    assert said.endswith(REBUILD)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"who", "has 3 bytes, its record says 5: it is truncated"), (b"Whole", "damaged"), (None, "is missing")],
)
def test_a_broken_plan_is_refused(
    tmp_path: Path, manifest: EngineManifest, written: PlanRecord, content: bytes | None, complaint: str
) -> None:
    path = tmp_path / written.plan
    path.unlink() if content is None else path.write_bytes(content)
    said = refused(tmp_path, manifest)
    assert complaint in said
    assert said.endswith(REBUILD)


def test_a_record_is_read_strictly(tmp_path: Path, manifest: EngineManifest, written: PlanRecord) -> None:
    where = record_path(tmp_path, "lipgan", "fp16")
    values = json.loads(where.read_text())
    for broken in ("{", json.dumps(values | {"more": 1}), json.dumps(values | {"plan_bytes": "5"}), "[]"):
        where.write_text(broken)
        assert refused(tmp_path, manifest).endswith(REBUILD)


def test_tensorrt_has_a_profile_for_each_bucket_and_rtx_one_for_all() -> None:
    profiles = profiles_for(HERE)
    assert [(each.smallest, each.best, each.largest) for each in profiles] == [
        (1, 1, 1),
        (2, 4, 4),
        (5, 8, 8),
        (9, 16, 16),
        (17, 32, 32),
    ]
    assert profiles_for(Runtime(None, "tensorrt_rtx", "1.7.1.116")) == (Profile(1, 8, 32),)


def _module(name: str, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ModuleType(name)
    made.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, made)


def test_the_whole_runtime_is_taken_before_the_one_for_rtx_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    _module("trt_one", "11.4.0.106", monkeypatch)
    assert load_trt(("no_such_module", "tensorrt_rtx")).name == "tensorrt_rtx"
    monkeypatch.setitem(sys.modules, "tensorrt", sys.modules["trt_one"])
    found = load_trt()
    assert (found.name, found.title) == ("tensorrt", "TensorRT 11.4.0.106")


def test_no_runtime_is_one_line_with_the_remedy() -> None:
    with pytest.raises(EngineError, match=r"TensorRT is not installed. Install it: pip install 'visavis.tensorrt.'"):
        load_trt(("no_such_module",))


@pytest.mark.parametrize("version", ["8.6.1", "9.3.0", "12.0.0.1"])
def test_a_version_that_nobody_has_seen_is_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _module("tensorrt", version, monkeypatch)
    with pytest.raises(EngineError, match=f"TensorRT {version} is installed, expected 10.x or 11.x"):
        load_trt()
