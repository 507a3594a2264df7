"""Kokoro-82M as a speaker: a natural voice that needs most of a core; 92 MB of weights that are fetched.

Source: hexgrad/Kokoro-82M (Apache-2.0), after Y. A. Li et al., "StyleTTS 2", arXiv:2306.07691.
"""

import sys
from pathlib import Path

from stream.speech.host import Program

MODEL = "kokoro-82m"


def kokoro(models: Path, model: str = MODEL, *, threads: int = 1) -> Program:
    """Run it with `ProcessSpeaker`.

    Args:
        models: `store.models_folder`.
        model: A name of the catalogue, or the path of a folder with `model.onnx`, `vocab.json` and `voices*.npz`.
        threads: How many it computes on.
    """
    return Program(
        name="kokoro",
        command=(sys.executable, "-m", "stream.speech.kokoro_worker", model, str(models), str(threads)),
        remedy=f"It needs: visavis models get {MODEL}; pip install 'visavis[speech]'; apt-get install espeak-ng",
        start_ms=60_000,
        # A part of 80 letters takes 5 s on a slow core that others use too.
        answer_ms=15_000,
    )
