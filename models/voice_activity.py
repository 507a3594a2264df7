"""How likely a voice is heard, 32 ms at a time: Silero's network on the CPU engine (models/weights/silero_vad)."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.engine import EngineError, TensorSpec
from models.openvino_engine import OpenVinoEngine

SAMPLE_RATE_HZ = 16_000
WINDOW = 512
"""Samples that each probability is about."""

_BEFORE = 64
_WEIGHTS = Path(__file__).with_name("weights") / "silero_vad" / "silero_vad_v6.onnx"
_SHA256 = "4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2"
_STATE = (1, 1, 128)


class SileroNetwork:
    """The network with its memory of what it has heard. One thread, about 0.1 ms a window.

    Args:
        weights: The ONNX file.

    Raises:
        EngineError: The file is not the published one, or the engine cannot load it.
    """

    def __init__(self, weights: Path = _WEIGHTS) -> None:
        try:
            found = hashlib.sha256(weights.read_bytes()).hexdigest()
        except OSError as error:
            raise EngineError(f"{weights} cannot be read ({error.strerror}). Install visavis again") from None
        if found != _SHA256:
            raise EngineError(f"{weights} is not the published network: its sha256 is {found}. Install visavis again")
        self._engine = OpenVinoEngine(
            weights,
            inputs=(TensorSpec("input", (None, _BEFORE + WINDOW)), TensorSpec("h", _STATE), TensorSpec("c", _STATE)),
            outputs=(TensorSpec("speech_probs", (None,)), TensorSpec("hn", _STATE), TensorSpec("cn", _STATE)),
            precision="fp32",
            inference_precision="f32",
            threads=1,
        )
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._input = np.zeros((1, _BEFORE + WINDOW), np.float32)
        self._h, self._c = np.zeros(_STATE, np.float32), np.zeros(_STATE, np.float32)

    def probability(self, window: NDArray[np.float32]) -> float:
        """Listen to the next window.

        Args:
            window: float32 [512] at 16 kHz, full scale is [-1, 1]; windows follow each other without gaps.

        Returns:
            How likely it holds speech, 0 to 1.
        """
        self._input[0, :_BEFORE] = self._input[0, -_BEFORE:]
        self._input[0, _BEFORE:] = window
        results = self._engine.infer({"input": self._input, "h": self._h, "c": self._c})
        self._h, self._c = results["hn"], results["cn"]
        return float(results["speech_probs"][0])

    def close(self) -> None:
        """Give the memory back."""
        self._engine.close()
