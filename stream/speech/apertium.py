"""Apertium as a translator: rules and dictionaries, milliseconds a clause, understandable and often wrong.

It is under the GPL, so its programs run at the other end of pipes.
"""

import sys

from stream.speech.host import Program

APERTIUM = Program(
    name="apertium",
    command=(sys.executable, "-m", "stream.speech.apertium_worker"),
    remedy="Install it and its pairs, on Debian: apt-get install apertium apertium-eng-spa apertium-eng-cat",
    answer_ms=10_000,
)
"""Run it with `ProcessTranslator`."""
