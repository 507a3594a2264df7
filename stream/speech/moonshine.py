"""Moonshine tiny as a recogniser of English: 44 MB of weights that come with its package, quick on short sounds.

Source: N. Jeffries et al., "Moonshine: Speech Recognition for Live Transcription and Voice Commands", arXiv:2410.15608.
"""

import sys

from stream.speech.host import Program

MOONSHINE = Program(
    name="moonshine",
    command=(sys.executable, "-m", "stream.speech.moonshine_worker"),
    remedy="Install it: pip install 'visavis[speech]'",
    start_ms=30_000,
    answer_ms=5_000,
)
"""Run it with `ProcessRecogniser`."""
