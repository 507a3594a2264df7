"""Which names the versions of TensorRT have: recorded lists, and how a list is made of a module.

`python -m tests.models.tensorrt_names MODULE` prints the list of a module that can be imported.
"""

import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent / "tensorrt_api"

Names = dict[str, frozenset[str]]
"""The members of every name of a module; none of what is no class."""


def recorded() -> dict[str, Names]:
    """All lists, by version."""
    return {path.stem: _read(path.read_text()) for path in sorted(FOLDER.glob("*.txt"))}


def _read(text: str) -> Names:
    parts = (line.partition(": ") for line in text.splitlines())
    return {name: frozenset(members.split()) for name, _, members in parts}


def lines_of(module: ModuleType) -> Iterator[str]:
    """The list of a module."""
    for name in sorted(each for each in dir(module) if not each.startswith("_")):
        value = getattr(module, name)
        if inspect.ismodule(value):
            continue
        members = [each for each in sorted(dir(value)) if not each.startswith("_")] if inspect.isclass(value) else []
        yield f"{name}: {' '.join(members)}" if members else name


if __name__ == "__main__":
    print("\n".join(lines_of(importlib.import_module(sys.argv[1]))), flush=True)
    # Without a driver the libraries' own ends may crash.
    os._exit(0)
