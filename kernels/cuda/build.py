"""Compiles the CUDA sources into one fat binary for every card that is supported, ahead of time.

`python -m kernels.cuda.build`. It takes nvcc, from PyPI (extra `cuda-build`) or a CUDA toolkit; no GPU.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kernels.cuda.fatbin import FATBIN, RECORD, SOURCES, source_hash, sources

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
"""Compute capabilities with code of their own: T4, A100, RTX 30, L4 and RTX 40, H100 and H200, B200, RTX 50."""

_FOUND_IN = ("nvidia/cu13/bin/nvcc",)
_REMEDY = "Install it: pip install 'visavis[cuda-build]', or a CUDA toolkit of version 13, and put nvcc on the PATH"
# What ptxas says of one kernel on one architecture.
_ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)'")
_MEMORY = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one kernel takes on one architecture.

    Attributes:
        architecture: Compute capability, 90 for 9.0.
        registers: A thread.
        stack: Bytes a thread.
        spilled: Bytes that are stored and loaded for want of registers.
    """

    kernel: str
    architecture: int
    registers: int
    stack: int
    spilled: int


def find_nvcc() -> Path:
    """Where the compiler is: `$NVCC`, the one from PyPI, or the one on the PATH.

    Raises:
        FileNotFoundError: Nowhere; the message ends with what to install.
    """
    if named := os.environ.get("NVCC"):
        return Path(named)
    for folder in map(Path, sys.path):
        for name in _FOUND_IN:
            if (folder / name).is_file():
                return folder / name
    if on_path := shutil.which("nvcc"):
        return Path(on_path)
    raise FileNotFoundError(f"nvcc is not there. {_REMEDY}")


def compile_source(source: Path, output: Path, architectures: Sequence[int] = ARCHITECTURES) -> list[Usage]:
    """Compile a source into a fat binary, with PTX of the oldest architecture for all that are newer.

    Returns:
        What each kernel takes on each architecture.

    Raises:
        FileNotFoundError: There is no nvcc.
        RuntimeError: It does not compile; the message is the compiler's.
    """
    oldest = min(architectures)
    targets = [f"-gencode=arch=compute_{each},code=sm_{each}" for each in architectures]
    targets.append(f"-gencode=arch=compute_{oldest},code=compute_{oldest}")
    flags = ["-fatbin", "-O3", "-std=c++17", "-Xptxas=-v", "-Werror=all-warnings", "--threads=0"]
    flags += ["--compress-mode=size", f"-I{SOURCES}"]
    line = [str(find_nvcc()), *flags, *targets, "-o", str(output), str(source)]
    made = subprocess.run(line, capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(f"{source.name} does not compile:\n{made.stdout}{made.stderr}")
    return read_usage(made.stdout + made.stderr)


def read_usage(said: str) -> list[Usage]:
    """What `ptxas -v` says, kernel by kernel."""
    found = []
    for part in re.split(r"(?=ptxas info\s*: Compiling entry function)", said):
        entry, memory, registers = _ENTRY.search(part), _MEMORY.search(part), _REGISTERS.search(part)
        if entry and memory and registers:
            stack, stored, loaded = map(int, memory.groups())
            found.append(Usage(entry[1], int(entry[2]), int(registers[1]), stack, stored + loaded))
    return found


def build_fatbin() -> list[Usage]:
    """Compile all sources into the binary that ships, and record what it was made from.

    Raises:
        FileNotFoundError, RuntimeError: See `compile_source`.
    """
    with tempfile.TemporaryDirectory() as folder:
        unit, made = Path(folder) / "kernels.cu", Path(folder) / "kernels.fatbin"
        unit.write_text("".join(f'#include "{source.name}"\n' for source in sources()))
        usages = compile_source(unit, made)
        binary = made.read_bytes()
    record = {
        "sources_sha256": source_hash(),
        "sha256": hashlib.sha256(binary).hexdigest(),
        "compiler": compiler_version(),
        "architectures": [*ARCHITECTURES, f"PTX {min(ARCHITECTURES)}"],
        "kernels": sorted({each.kernel for each in usages}),
    }
    FATBIN.write_bytes(binary)
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    return usages


def compiler_version() -> str:
    """What nvcc calls itself."""
    said = subprocess.run([str(find_nvcc()), "--version"], capture_output=True, text=True, check=True).stdout
    return next((line.strip() for line in said.splitlines() if "release" in line), said.strip())


def main() -> int:
    """Compile all."""
    try:
        usages = build_fatbin()
    except (FileNotFoundError, RuntimeError) as error:
        print(error)
        return 1
    for each in usages:
        print(f"{each.kernel:28} sm_{each.architecture:<4} {each.registers:3} registers, {each.spilled} spilled")
    print(f"{FATBIN}: {FATBIN.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
