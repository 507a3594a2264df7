"""Programs for the tests of the host and of the back ends."""

import sys
from dataclasses import replace
from pathlib import Path

from stream.speech.host import Program
from stream.speech.pocket import pocket

_SCRIPT = str(Path(__file__).with_name("scripted_worker.py"))


def scripted(how: str = "", *, answer_ms: int = 10_000, speaking: Path | None = None) -> Program:
    """The scripted back end. Where nothing should hang, its deadline is longer than any test's patience.

    Args:
        how: What is wrong with it, or the text that it hears.
        answer_ms: Its deadline.
        speaking: A named pipe that it opens when it speaks a clause that begins with LONG.
    """
    command = (sys.executable, _SCRIPT, how) if speaking is None else (sys.executable, _SCRIPT, how, str(speaking))
    return Program("scripted", command, "Install libscripted.", answer_ms=answer_ms)


def fake_pocket() -> Program:
    """Pocket TTS's worker with a package that stands in for the real one."""
    folder = str(Path(__file__).with_name("fake_packages"))
    code = f"import sys; sys.path.insert(0, {folder!r}); from stream.speech.pocket_worker import main; main()"
    return replace(pocket(), command=(sys.executable, "-c", code), start_ms=60_000)
