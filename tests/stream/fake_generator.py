"""An engine without a network: it paints the lower half of the crop in a colour that says how loud the mel is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from kernels.mel import MAX_ABS
from models.engine import EngineError, TensorSpec, check_feed

SIZE = 96


@dataclass
class FakeGenerator:
    """Keeps the upper half of the target; the lower half is red where the mel's centre is loud, blue in silence."""

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
    batches: list[int] = field(default_factory=list)

    def infer(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.batches.append(check_feed(self.inputs, feed))
        if self.fails:
            raise EngineError("the fake was told to fail")
        picture = feed["face"][:, 3:].copy()
        loud = (feed["mel"][:, 0, :, 13].mean(axis=1) + MAX_ABS) / (2 * MAX_ABS)
        picture[:, 0, SIZE // 2 :] = loud[:, None, None]
        picture[:, 1, SIZE // 2 :] = 0.3
        picture[:, 2, SIZE // 2 :] = 1.0 - loud[:, None, None]
        return {"picture": picture}

    def close(self) -> None:
        pass
