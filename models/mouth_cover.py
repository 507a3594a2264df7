"""A small network that sees how much of a mouth something hides: a hand, a microphone, a cup.

The landmark networks cannot tell: they place the mouth behind a hand, with
presence 1.00. Trained by `training/mouth_cover.py`; the card beside the weights
has data and figures.
"""

from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

MODEL_PATH = Path(__file__).parent / "weights" / "mouth_cover" / "mouth_cover.xml"
CROP_SIZE = 64


class MouthCoverNetwork:
    """Loaded once, for all faces of a stream; not thread-safe.

    Args:
        model_path: OpenVINO model, its weights beside it.
        threads: Threads of one inference.

    Raises:
        FileNotFoundError: The model is not there.
    """

    def __init__(self, model_path: Path = MODEL_PATH, threads: int = 1) -> None:
        if not model_path.is_file():
            raise FileNotFoundError(f"{model_path} is missing. Restore it: git checkout {model_path.parent}")
        core = openvino.Core()
        # In bf16 nothing is gained at this size.
        config = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._request = core.compile_model(core.read_model(model_path), "CPU", config).create_infer_request()

    def hidden_share(self, crop: NDArray[np.uint8]) -> float:
        """How much of the mouth is hidden, 0 to 1.

        Args:
            crop: uint8 RGB [64, 64, 3] from `kernels.crop`.
        """
        return float(self._request.infer({0: crop[None]}, share_inputs=True)[0].item())
