"""The mouth gauge: a small network that reads opening and width off the lower half of a crop, by its luma.

It learns from landmarks of real crops, is then frozen, and gives the generator a gradient that a
blurred, half-open mouth cannot satisfy (mean absolute error can). One that saw colours paid for green teeth, which
cost little anywhere else and stand out as an open mouth. Results are never measured with it:
`training.evaluate` uses the landmark networks.
"""

from __future__ import annotations

from torch import Tensor, nn

from kernels.yuv import BT601_LUMA

# Middle and spread of opening and width over the real clips, so that both count alike.
MIDDLE = (0.05, 0.55)
SPREAD = (0.05, 0.06)
READ_PX = 48


class MouthGauge(nn.Module):
    """Reads (opening, width), in spreads from the middle."""

    def __init__(self) -> None:
        super().__init__()
        rows = ((1, 16, 2), (16, 32, 2), (32, 64, 2))
        self.convs = nn.Sequential(*(each for row in rows for each in _conv(*row)))
        self.head = nn.Sequential(nn.Linear(64 * 6 * 6, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, picture: Tensor) -> Tensor:
        """Read.

        Args:
            picture: float [N, 3, S, S] in [0, 1].

        Returns:
            float [N, 2].
        """
        side = picture.shape[-1]
        lower = picture[:, :, side // 2 :, side // 4 : side - side // 4]
        # Read at one scale, whatever the crop's; nothing changes at 96 px.
        lower = nn.functional.adaptive_avg_pool2d(lower, READ_PX)
        luma = (lower * lower.new_tensor(BT601_LUMA).view(-1, 1, 1)).sum(1, keepdim=True)
        features: Tensor = self.head(self.convs(luma - 0.5).flatten(1))
        return features


def _conv(channels: int, out: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, 3, stride, 1), nn.GroupNorm(8, out), nn.ReLU()


def standardise(mouth: Tensor) -> Tensor:
    """Shares of the eye distance [N, 2] to the gauge's scale."""
    return (mouth - mouth.new_tensor(MIDDLE)) / mouth.new_tensor(SPREAD)


def gauge_loss(reading: Tensor, mouth: Tensor) -> Tensor:
    """Mean absolute error in spreads; unknown entries (NaN) do not count.

    Args:
        reading: [N, 2], from `MouthGauge`.
        mouth: [N, 2], the truth as shares of the eye distance.
    """
    known = ~mouth.isnan()
    error = (reading - standardise(mouth).nan_to_num()).abs()
    return (error * known).sum() / known.sum().clamp_min(1)
