"""What is carried to a machine without a network arrives whole, in any order, or says what is wrong."""

import json
from pathlib import Path

import pytest

from benchmarks import gpu_kit

pytestmark = pytest.mark.unit


def kit(folder: Path, size: int = 2500) -> tuple[Path, bytes]:
    whole = folder / "whole"
    whole.write_bytes(bytes(index * 7 % 251 for index in range(size)))
    gpu_kit.split(whole, folder / "parts", part_bytes=1000)
    return folder / "parts", whole.read_bytes()


def test_parts_that_come_one_by_one_are_asked_for_and_make_the_whole(tmp_path: Path) -> None:
    parts, whole = kit(tmp_path)
    held = {index: (parts / f"part{index:02d}").read_bytes() for index in range(3)}
    for index in held:
        (parts / f"part{index:02d}").unlink()
    made = tmp_path / "made"
    assert gpu_kit.join(parts, made) == [0, 1, 2]
    (parts / "part01").write_bytes(held[1])
    assert gpu_kit.join(parts, made) == [0, 2]
    assert not made.exists()
    (parts / "part00").write_bytes(held[0])
    (parts / "part02").write_bytes(held[2])
    assert gpu_kit.join(parts, made) == []
    assert made.read_bytes() == whole
    assert (parts / "gpu_kit.py").is_file()


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    parts, _ = kit(tmp_path)
    part = bytearray((parts / "part01").read_bytes())
    part[500] ^= 1
    (parts / "part01").write_bytes(part)
    with pytest.raises(gpu_kit.KitError, match="part01 is damaged"):
        gpu_kit.join(parts, tmp_path / "made")


def test_parts_of_two_kits_are_told_apart(tmp_path: Path) -> None:
    parts, _ = kit(tmp_path)
    manifest = json.loads((parts / gpu_kit.MANIFEST).read_text())
    manifest["parts"] = manifest["parts"][:2]
    (parts / gpu_kit.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(gpu_kit.KitError, match="parts of different kits"):
        gpu_kit.join(parts, tmp_path / "made")


def test_without_a_manifest_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_kit.main(["unpack", str(tmp_path), str(tmp_path / "site")]) == 1
    assert "Carry it there with the parts" in capsys.readouterr().out


def test_missing_parts_are_an_exit_status_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts, _ = kit(tmp_path)
    (parts / "part00").unlink()
    assert gpu_kit.main(["unpack", str(parts), str(tmp_path / "site")]) == 3
    assert "parts still wanted: [0]" in capsys.readouterr().out
