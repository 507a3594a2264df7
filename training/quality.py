"""The quality judge: tells drawn mouths from photographed ones, patch by patch, by their look alone.

Mean absolute error is content with the average of all teeth. Patches keep the judge small and away from who it is;
sync is not its business. It is trained along with the generator and never ships.

Source: patches: P. Isola et al., CVPR 2017 (arXiv:1611.07004); hinge loss: J. H. Lim and J. C. Ye, arXiv:1705.02894;
spectral normalisation: T. Miyato et al., ICLR 2018; feature matching: T.-C. Wang et al., CVPR 2018 (pix2pixHD).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

# Rows and columns that it sees, as shares of the crop's side: mouth and chin.
SEEN = ((0.52, 0.95), (0.26, 0.74))
CHANNELS = (32, 64, 128, 128)
LEAK = 0.2


class QualityJudge(nn.Module):
    """Scores each patch: above 0 photographed, below 0 drawn."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *CHANNELS)
        strides = (2, 2, 2, 1)
        self.convs = nn.ModuleList(
            spectral_norm(nn.Conv2d(before, after, 4 if stride == 2 else 3, stride, 1))
            for before, after, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.score = spectral_norm(nn.Conv2d(CHANNELS[-1], 1, 3, padding=1))

    def forward(self, picture: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Score.

        Args:
            picture: float [N, 3, S, S] in [0, 1].

        Returns:
            Scores [N, 1, h, w], and the features of each layer on the way.
        """
        side = picture.shape[-1]
        (top, bottom), (left, right) = ((round(edge * side) for edge in edges) for edges in SEEN)
        x = picture[:, :, top:bottom, left:right] * 2 - 1
        features = []
        for conv in self.convs:
            x = nn.functional.leaky_relu(conv(x), LEAK)
            features.append(x)
        return self.score(x), features


def judge_loss(drawn: Tensor, photographed: Tensor) -> Tensor:
    """What the judge minimises, from its scores."""
    return nn.functional.relu(1 + drawn).mean() + nn.functional.relu(1 - photographed).mean()


def feature_loss(drawn: list[Tensor], photographed: list[Tensor]) -> Tensor:
    """Mean absolute difference of the features, the mean over layers."""
    differences = [(a.float() - b.float()).abs().mean() for a, b in zip(drawn, photographed, strict=True)]
    total = differences[0]
    for each in differences[1:]:
        total = total + each
    return total / len(differences)
