"""`visavis models`: which models of speech there are, fetching one, and whether one is what it should be."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from stream.clock import Clock, MonotonicClock
from stream.errors import ConfigError
from stream.progress import ProgressLine
from stream.speech.fetch import Fetch
from stream.speech.model_list import MODELS
from stream.speech.store import Model, find, verified

_MB = 1_000_000


def run(arguments: argparse.Namespace, folder: Path, models: Mapping[str, Model] = MODELS) -> int:
    """List, fetch or verify.

    Raises:
        ConfigError: What the user must change.
    """
    if arguments.action == "list":
        return _list(folder, models)
    if arguments.action == "get":
        return _get(arguments, folder, models)
    print(f"{verified(arguments.name, folder, models)}: every file is what it should be")
    return 0


def _list(folder: Path, models: Mapping[str, Model]) -> int:
    for model in models.values():
        terms = model.licence if model.commercial else f"{model.licence}, not for commercial use"
        size = f"{model.size_bytes / _MB:.0f} MB"
        print(f"{model.name}: {model.task}, {' '.join(model.languages)}, {size}, {terms}, {_state(model, folder)}")
        if model.note:
            print(f"  {model.note}")
    return 0


def _state(model: Model, folder: Path) -> str:
    sizes = [_size(folder / model.name / file.path) == file.size_bytes for file in model.files]
    return "here" if all(sizes) else "incomplete" if any(sizes) else "not here"


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _get(arguments: argparse.Namespace, folder: Path, models: Mapping[str, Model]) -> int:
    model = find(arguments.name, models)
    if not model.commercial and not arguments.accept_non_commercial:
        why = f" ({model.note})" if model.note else ""
        raise ConfigError(
            f"{model.name} is not for commercial use, its licence is {model.licence}{why}. "
            "If that suits what you do, give --accept-non-commercial"
        )
    lines = _Lines(sys.stderr, MonotonicClock())
    try:
        fetched = Fetch(folder, arguments.offline, lines.show).get(model)
    except KeyboardInterrupt:
        lines.end()
        print("visavis: interrupted; the next models get goes on from here", file=sys.stderr)
        return 130
    except ConfigError:
        lines.end()
        raise
    lines.end()
    how = f"{fetched} of {len(model.files)} files fetched" if fetched else "is already here"
    print(f"{folder / model.name}: {how}, every file is what it should be")
    return 0


class _Lines:
    """A progress line for one file after another."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._name: str | None = None
        self._line: ProgressLine | None = None

    def show(self, name: str, done: int, total: int) -> None:
        if name != self._name or self._line is None:
            self.end()
            self._name, self._line = name, ProgressLine(self._stream, self._clock, name, _MB, unit="MB/s")
        self._line.show(done, total)

    def end(self) -> None:
        if self._line is not None:
            self._line.end()
        self._name = self._line = None
