"""The compiled kernels as they ship: one fat binary and what it was made from.

It is made by `python -m kernels.cuda.build`. A binary that does not belong to the sources beside it is refused.
"""

import hashlib
import json
import re
from pathlib import Path

from kernels.cuda.device import DeviceError

SOURCES = Path(__file__).parent
FATBIN = SOURCES / "kernels.fatbin"
RECORD = SOURCES / "kernels.json"

_KERNEL = re.compile(r'extern "C" __global__ void __launch_bounds__\([\d, ]+\) (\w+)\(')
_REMEDY = "Make it: pip install 'visavis[cuda-build]' && python -m kernels.cuda.build"


def sources() -> list[Path]:
    """The .cu files, by name."""
    return sorted(SOURCES.glob("*.cu"))


def kernel_names(source: Path) -> list[str]:
    """The kernels of a .cu file."""
    return _KERNEL.findall(source.read_text())


def source_hash() -> str:
    """SHA-256 over all that is compiled, headers included."""
    digest = hashlib.sha256()
    for path in sorted([*SOURCES.glob("*.cu"), *SOURCES.glob("*.cuh")]):
        digest.update(f"{path.name}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def load_fatbin() -> bytes:
    """The fat binary.

    Raises:
        DeviceError: It is not there, was changed, or was made from other sources.
    """
    try:
        record = json.loads(RECORD.read_text())
        binary = FATBIN.read_bytes()
    except FileNotFoundError as error:
        raise DeviceError(f"{error.filename} is not there: the kernels were not compiled. {_REMEDY}") from None
    except json.JSONDecodeError as error:
        raise DeviceError(f"{RECORD} is damaged ({error}). {_REMEDY}") from None
    if record.get("sources_sha256") != source_hash():
        raise DeviceError(f"{FATBIN} was made from other sources than those beside it. {_REMEDY}")
    if record.get("sha256") != hashlib.sha256(binary).hexdigest():
        raise DeviceError(f"{FATBIN} is damaged: its SHA-256 is not the recorded one. {_REMEDY}")
    return binary
