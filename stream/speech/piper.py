"""Voices of Piper as speakers: natural, ten times as fast as speech on one core; each voice is a folder.

The networks are those of Piper, the program around them is ours: Piper itself is under the GPL.
Source: J. Kim et al., "Conditional Variational Autoencoder with Adversarial Learning for End-to-End Text-to-Speech",
arXiv:2106.06103.
"""

import sys
from pathlib import Path

from stream.speech.host import Program


def piper(models: Path, model: str, *, threads: int = 1) -> Program:
    """Run it with `ProcessSpeaker`.

    Args:
        models: `store.models_folder`.
        model: A name of the catalogue, or the path of a folder with one voice, `*.onnx` and `*.onnx.json`.
        threads: How many it computes on.
    """
    return Program(
        name="piper",
        command=(sys.executable, "-m", "stream.speech.piper_worker", model, str(models), str(threads)),
        remedy="It needs a voice's folder, pip install 'visavis[speech]' and apt-get install espeak-ng",
        start_ms=30_000,
        answer_ms=5_000,
    )
