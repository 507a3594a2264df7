"""An engine without a network: it paints a mouth in a colour that says how loud the mel is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.mel import MAX_ABS
from models.engine import EngineError, TensorSpec, check_feed

SIZE = 96
MOUTH = (slice(54, 70), slice(36, 60))


@dataclass
class FakeGenerator:
    """The identity picture with a patch for a mouth: red where the mel's centre is loud, blue in silence."""

    backend: str = "fake"
    precision: str = "fp32"
    inputs: Mapping[str, TensorSpec] = field(
        default_factory=lambda: {
            "face": TensorSpec("face", (None, 6, SIZE, SIZE)),
            "mel": TensorSpec("mel", (None, 1, 80, 27)),
        }
    )
    outputs: Mapping[str, TensorSpec] = field(
        default_factory=lambda: {"picture": TensorSpec("picture", (None, 3, SIZE, SIZE))}
    )
    fails: bool = False
    fails_at: int = -1
    threads: int = 1
    batches: list[int] = field(default_factory=list)

    def infer(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.batches.append(check_feed(self.inputs, feed))
        if self.fails or len(self.batches) == self.fails_at:
            raise EngineError("the fake was told to fail")
        picture = feed["face"][:, :3].copy()
        loud = (feed["mel"][:, 0, :, 13].mean(axis=1) + MAX_ABS) / (2 * MAX_ABS)
        for channel, value in enumerate((loud, 0.3 * np.ones_like(loud), 1.0 - loud)):
            picture[:, channel, MOUTH[0], MOUTH[1]] = value[:, None, None]
        return {"picture": picture}

    def close(self) -> None:
        pass
