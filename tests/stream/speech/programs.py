"""Programs for the tests of the host and of the back ends."""

import sys
from pathlib import Path

from stream.speech.host import Program

_SCRIPT = str(Path(__file__).with_name("scripted_worker.py"))


def scripted(how: str = "", *, answer_ms: int = 10_000) -> Program:
    """The scripted back end. Where nothing should hang, its deadline is longer than any test's patience."""
    return Program("scripted", (sys.executable, _SCRIPT, how), "Install libscripted.", answer_ms=answer_ms)
