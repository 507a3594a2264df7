"""Carries what `make gpu-check` needs to a machine with a card and without a network, in parts of a size that travels.

`python -m benchmarks.gpu_kit pack FOLDER` runs where packages can be downloaded; `python gpu_kit.py unpack PARTS SITE`
runs there, part by part or all at once, with nothing but Python. torch is expected to be there already.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PART_BYTES = 50 << 20
MANIFEST = "manifest.json"
WHOLE = "wheels.tar"
# What the kernels' loader needs beside the project's own dependencies. pycuda is carried as source: it is compiled
# there in a minute, against the CUDA that is there.
CARD = ("cuda-bindings", "cuda-pathfinder", "pytools", "platformdirs", "mako", "markupsafe", "siphash24")
BUILD = ("setuptools", "wheel")
SOURCE = "pycuda"
RTX = ("tensorrt-rtx-cu13-libs", "tensorrt-rtx-cu13-bindings")
_BLOCK = 1 << 20


class KitError(Exception):
    """A kit cannot be packed or unpacked; the message ends with what to do."""


def pack(folder: Path, python: str, *, rtx: bool) -> list[Path]:
    """Download, put together, and cut into parts.

    Args:
        folder: Where the parts go.
        python: Version there, such as "3.12".
        rtx: Take TensorRT-RTX along, 90 MB more.

    Raises:
        KitError: A package cannot be downloaded.
    """
    with tempfile.TemporaryDirectory() as made:
        wheels = Path(made) / "wheels"
        wheels.mkdir()
        wanted = [*_dependencies(), *CARD, *BUILD, *(RTX if rtx else ())]
        platform = ["--only-binary", ":all:", "--python-version", python]
        for tag in ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"):
            platform += ["--platform", tag]
        _download(wheels, [*platform, *wanted])
        _download(wheels, ["--no-deps", "--no-binary", SOURCE, "--no-build-isolation", SOURCE])
        whole = Path(made) / WHOLE
        with tarfile.open(whole, "w") as archive:
            for wheel in sorted(wheels.iterdir()):
                archive.add(wheel, wheel.name)
        return split(whole, folder)


def _dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [str(each) for each in project["dependencies"]]


def _download(wheels: Path, what: Sequence[str]) -> None:
    line = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "-c",
        str(ROOT / "constraints.txt"),
        "-d",
        str(wheels),
        *what,
    ]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KitError(f"pip cannot download: {done.stderr.strip().splitlines()[-1]}. Pack where packages can be had")


def split(whole: Path, folder: Path, part_bytes: int = PART_BYTES) -> list[Path]:
    """Cut a file into parts, with a manifest of their hashes and this script beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[Path] = []
    hashes = []
    with whole.open("rb") as source:
        while block := source.read(part_bytes):
            parts.append(folder / f"part{len(parts):02d}")
            parts[-1].write_bytes(block)
            hashes.append(hashlib.sha256(block).hexdigest())
    (folder / MANIFEST).write_text(json.dumps({"parts": hashes, "sha256": _sha256(whole)}, indent=1) + "\n")
    shutil.copy(__file__, folder / "gpu_kit.py")
    return [*parts, folder / MANIFEST, folder / "gpu_kit.py"]


def join(parts: Path, whole: Path) -> list[int]:
    """Put parts together that came one by one.

    Args:
        parts: Folder with the manifest and what has come so far.
        whole: The file to make.

    Returns:
        Numbers of the parts that are still wanted; nothing is made as long as there are some.

    Raises:
        KitError: There is no manifest, or a part is damaged.
    """
    try:
        manifest = json.loads((parts / MANIFEST).read_text())
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise KitError(f"{parts / MANIFEST} cannot be read ({error}). Carry it there with the parts") from None
    files = [parts / f"part{index:02d}" for index in range(len(manifest["parts"]))]
    wanted = [index for index, file in enumerate(files) if not file.is_file()]
    for index, file in enumerate(files):
        if index not in wanted and _sha256(file) != manifest["parts"][index]:
            raise KitError(f"{file} is damaged: its SHA-256 is not the manifest's. Carry it there again")
    if wanted:
        return wanted
    with whole.open("wb") as target:
        for file in files:
            with file.open("rb") as source:
                shutil.copyfileobj(source, target, _BLOCK)
    if _sha256(whole) != manifest["sha256"]:
        raise KitError(f"{parts} has parts of different kits. Carry all parts of one there")
    return []


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def unpack(parts: Path, site: Path) -> int:
    """Put the kit together and install it into a folder for PYTHONPATH; 3 while parts are missing."""
    with tempfile.TemporaryDirectory() as made:
        whole = Path(made) / WHOLE
        if wanted := join(parts, whole):
            print(f"parts still wanted: {wanted}")
            return 3
        with tarfile.open(whole) as archive:
            archive.extractall(Path(made) / "wheels", filter="data")
        wheels = Path(made) / "wheels"
        binary = [str(each) for each in wheels.glob("*.whl")]
        # numpy and torch that are there stay: packages are laid beside them, their own dependencies with them.
        for what in (binary, ["--no-build-isolation", str(_configured(wheels))]):
            line = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--upgrade"]
            if subprocess.run([*line, "--target", str(site), *what], check=False).returncode:
                print("pip cannot install the kit (see above); pycuda needs nvcc and g++ on the PATH")
                return 1
    print(f"laid out; now: PYTHONPATH={site} make gpu-check GPU_PYTHON={sys.executable}")
    return 0


def _configured(wheels: Path) -> Path:
    """The source of pycuda, told where CUDA is, and to do without the part of it that needs more than nvcc."""
    with tarfile.open(next(wheels.glob(f"{SOURCE}-*.tar.gz"))) as archive:
        archive.extractall(wheels, filter="data")
    source = next(each for each in wheels.glob(f"{SOURCE}-*") if each.is_dir())
    root = Path(shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc").resolve().parents[1]
    (source / "siteconf.py").write_text(f"CUDA_ROOT = {str(root)!r}\nCUDA_ENABLE_CURAND = False\n")
    return source


def main(argv: list[str]) -> int:
    """Pack or unpack."""
    parser = argparse.ArgumentParser(prog="gpu_kit", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    packing = actions.add_parser("pack")
    packing.add_argument("folder", type=Path)
    packing.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}", help="version there")
    packing.add_argument("--rtx", action="store_true", help="take TensorRT-RTX along")
    unpacking = actions.add_parser("unpack")
    unpacking.add_argument("parts", type=Path)
    unpacking.add_argument("site", type=Path)
    asked = parser.parse_args(argv)
    try:
        if asked.action == "unpack":
            return unpack(asked.parts, asked.site)
        for path in pack(asked.folder, asked.python, rtx=asked.rtx):
            print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    except KitError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
