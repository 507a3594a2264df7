"""Kyutai's Pocket TTS as a speaker: six languages, and a person's own voice where that person agreed.

Its package brings torch, and its weights come from a model hub when it is first used.
Source: S. Rouard et al., "Continuous Audio Language Models", arXiv:2509.06926.
"""

import sys
from collections.abc import Sequence

from stream.speech.host import Program


def pocket(languages: Sequence[str] = ()) -> Program:
    """Run it with `ProcessSpeaker`.

    Args:
        languages: BCP 47 tags whose models are loaded before it is ready; another's is loaded when it is first spoken.
    """
    return Program(
        name="pocket-tts",
        command=(sys.executable, "-m", "stream.speech.pocket_worker", *languages),
        remedy="Install it: pip install pocket-tts. Its weights are fetched when it first runs",
        # Fetching some hundred megabytes is part of its first start.
        start_ms=600_000,
        answer_ms=30_000,
    )
