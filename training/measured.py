"""Figures of one method with their resamples over test pictures, so that two methods can be held against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.intervals import Interval
from training.perceptual import KD, rounded

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What one method's pictures are worth, each figure with its resamples over the same pictures.

    Attributes:
        values: By figure.
        again: Likewise, [RESAMPLES].
    """

    values: Mapping[str, float]
    again: Mapping[str, Floats]

    def intervals(self) -> dict[str, Interval]:
        """By figure."""
        return {key: rounded(value, self.again[key]) for key, value in self.values.items()}

    def less(self, base: Measured) -> dict[str, Interval]:
        """What they are more than another's, by figure, and how much of its kernel distance is gone."""
        found = {
            key: rounded(value - base.values[key], self.again[key] - base.again[key])
            for key, value in self.values.items()
        }
        if KD not in found:
            return found
        gone = rounded(1 - self.values[KD] / base.values[KD], 1 - self.again[KD] / base.again[KD])
        return {**found, f"share of {KD} that is gone": gone}
