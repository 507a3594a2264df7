"""Which TensorRT is here: `tensorrt` 10 or 11, else `tensorrt_rtx`; one code path for all three.

Only names that all of them have are used in `models/tensorrt_*.py`; what one alone has is asked for by `hasattr`. A
test holds every name against recorded lists.
"""

import importlib
from dataclasses import dataclass, field
from typing import Any

from models.engine import EngineError

Trt = Any
"""The module `tensorrt` or `tensorrt_rtx`; neither is typed."""

MODULES = ("tensorrt", "tensorrt_rtx")
_MAJORS = {"tensorrt": (10, 11), "tensorrt_rtx": (1,)}
_TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
REMEDY = "Install it: pip install 'visavis[tensorrt]' (needs the internet), or for RTX cards 'visavis[rtx]'"


@dataclass(frozen=True, slots=True)
class Runtime:
    """A TensorRT that can be imported.

    Attributes:
        trt: The module.
        name: "tensorrt" or "tensorrt_rtx".
        version: All of it, such as "11.4.0.106": plans of one are no plans of another.
        log: What it said.
    """

    trt: Trt
    name: str
    version: str
    log: "Log" = field(default_factory=lambda: Log())

    @property
    def title(self) -> str:
        """For people, such as "TensorRT 11.4.0.106"."""
        return titled(self.name, self.version)


class Log:
    """Keeps the errors of a runtime, so that a message can say them; the rest is not for users."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def logger_for(self, trt: Trt) -> Any:  # noqa: ANN401 - a subclass of the module's own class
        """A `trt.ILogger` that writes here."""
        errors = self.errors
        serious = (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR)

        class Kept(trt.ILogger):  # type: ignore[misc]
            def log(self, severity: Any, msg: str) -> None:  # noqa: ANN401
                if severity in serious:
                    errors.append(msg)

        return Kept()

    def take(self) -> str:
        """The last error, in one line, and forget all of them."""
        last = " ".join(self.errors[-1].split()) if self.errors else "it does not say why"
        self.errors.clear()
        return last


def titled(name: str, version: str) -> str:
    """A runtime for people."""
    return f"{_TITLES.get(name, name)} {version}"


def load_trt(modules: tuple[str, ...] = MODULES) -> Runtime:
    """Import the first runtime that is here.

    Raises:
        EngineError: None is, or it is a version that this code does not know.
    """
    for name in modules:
        try:
            trt = importlib.import_module(name)
        except (ImportError, OSError):
            # The package `tensorrt` is there without its library as often as not at all.
            continue
        version = str(trt.__version__)
        if int(version.split(".")[0]) not in _MAJORS[name]:
            known = " or ".join(f"{each}.x" for each in _MAJORS[name])
            raise EngineError(f"{titled(name, version)} is installed, expected {known}. {REMEDY}")
        return Runtime(trt, name, version)
    raise EngineError(f"TensorRT is not installed. {REMEDY}")
