"""Published weights of Pix2Pix and OASIS: what their tensors are called, and what the published networks do with them.

Each network is written down a second time here, as a plain function of the published tensors: what an import is held
against. Only eval's arithmetic is needed for that: statistics that were stored, nothing dropped.

Source: `models/networks.py` of junyanz/pytorch-CycleGAN-and-pix2pix (7891385); `models/generator.py`,
`models/discriminator.py` and `models/norms.py` of boschresearch/OASIS (aeb875f), for names and order alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.engine import EngineError
from models.oasis import WIDTHS, OasisConfig, OasisDiscriminator, OasisGenerator
from models.pix2pix import (
    LEAK,
    RECEPTIVE_FIELD_LAYERS,
    Norm,
    PatchGan,
    PatchGanConfig,
    ResNetConfig,
    ResNetGenerator,
    UNetConfig,
    UNetGenerator,
)
from models.published_torch import fill

Tensors = Mapping[str, Tensor]

FORMATS: Mapping[str, str] = {
    "pix2pix-unet": "a U-Net generator of Pix2Pix (latest_net_G.pth)",
    "pix2pix-resnet": "a ResNet generator of Pix2Pix or CycleGAN (latest_net_G.pth)",
    "oasis": "a generator of OASIS (best_EMA.pth, best_G.pth)",
}
"""What can become a filter, by the name of the format."""

TERMS: Mapping[str, str] = {
    "pix2pix-unet": "published Pix2Pix weights: BSD code, each with the terms of its data set",
    "pix2pix-resnet": "published Pix2Pix or CycleGAN weights: BSD code, each with the terms of its data set",
    "oasis": "published OASIS weights: AGPL-3.0 code, each with the terms of its data set",
}

OASIS_NOISE = 64
BATCH_NORM_EPSILON = 1e-5

Published = UNetGenerator | ResNetGenerator | OasisGenerator


def format_of(tensors: Tensors, path: Path) -> str:
    """Which of `FORMATS` a file is.

    Raises:
        EngineError: None of them; a discriminator is named.
    """
    if "model.model.0.weight" in tensors:
        return "pix2pix-unet"
    if "model.1.weight" in tensors and any(".conv_block." in name for name in tensors):
        return "pix2pix-resnet"
    if "conv_img.weight" in tensors and "fc.weight" in tensors:
        return "oasis"
    judges = ("net.0.weight", "model.0.weight", "layer_up_last.weight")
    what = "a discriminator" if any(name in tensors for name in judges) else "no network that can be a filter"
    raise EngineError(f"{path} is {what}. Give {'; '.join(FORMATS.values())}")


def to_filter(tensors: Tensors, format_: str, path: Path) -> Published:
    """The network of published weights, its size read from them.

    Raises:
        EngineError: The tensors do not fit the published network.
    """
    tensors = _without_old_statistics(tensors)
    network: Published
    try:
        if format_ == "oasis":
            network, names = _oasis(tensors)
        else:
            network, names = _unet(tensors) if format_ == "pix2pix-unet" else _resnet(tensors)
    except (KeyError, ValueError, IndexError) as error:
        raise EngineError(f"{path} is not {FORMATS[format_]} ({error}). Give one") from None
    fill(network, renamed(tensors, names), path, FORMATS[format_])
    network.eval()
    return network


def to_judge(tensors: Tensors, path: Path) -> PatchGan | OasisDiscriminator:
    """The discriminator of published weights, to go on training with.

    Raises:
        EngineError: They are of no published discriminator.
    """
    tensors = _without_old_statistics(tensors)
    network: PatchGan | OasisDiscriminator
    if (last := tensors.get("layer_up_last.weight")) is not None:
        network = OasisDiscriminator(last.shape[0] - 1)
        fill(network, renamed(tensors, judge_names(network)), path, "a discriminator of OASIS (best_D.pth)")
        return network
    convs = sorted({name.removesuffix(".weight") for name, each in tensors.items() if each.ndim == 4}, key=_order)
    by_layers = {layers: px for px, layers in RECEPTIVE_FIELD_LAYERS.items()}
    layers = len(convs) - 2 if convs and convs[0].startswith("model.") else 0
    if not convs or layers not in by_layers:
        raise EngineError(f"{path} is no discriminator of Pix2Pix or OASIS. Give latest_net_D.pth or best_D.pth")
    first = tensors[f"{convs[0]}.weight"]
    norm: Norm = "batch" if any(name.endswith("running_mean") for name in tensors) else "instance"
    network = PatchGan(PatchGanConfig(by_layers[layers], first.shape[0], norm, first.shape[1]))
    fill(network, tensors, path, "a discriminator of Pix2Pix (latest_net_D.pth)")
    return network


def renamed(tensors: Tensors, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Tensors under our names; what has no place in a network keeps its own, and is then refused by it."""
    ours = {theirs: own for own, theirs in names.items()}
    return {ours.get(name, name): tensor for name, tensor in tensors.items()}


def _without_old_statistics(tensors: Tensors) -> dict[str, Tensor]:
    """Torch before 0.4 stored statistics of instance norms, which nothing reads: there is no scale beside them."""
    of = re.compile(r"(.*)\.(running_mean|running_var|num_batches_tracked)")
    conditional = any(".mlp_gamma." in name for name in tensors)
    return {
        name: tensor
        for name, tensor in tensors.items()
        if conditional or (found := of.fullmatch(name)) is None or f"{found[1]}.weight" in tensors
    }


def _order(name: str) -> int:
    return int(name.rsplit(".", 1)[-1])


# -- U-Net -----------------------------------------------------------------------------------------


def _unet(tensors: Tensors) -> tuple[UNetGenerator, dict[str, str]]:
    first, last = tensors["model.model.0.weight"], tensors["model.model.3.weight"]
    downs = (
        sum(
            name.startswith("model.") and name.endswith(".1.weight") and each.ndim == 4
            for name, each in tensors.items()
        )
        + 1
    )
    batch = any(name.endswith("running_mean") for name in tensors)
    config = UNetConfig(
        downs=downs,
        channels=first.shape[0],
        norm="batch" if batch else "instance",
        in_channels=first.shape[1],
        out_channels=last.shape[1],
    )
    network = UNetGenerator(config)
    return network, _tensor_names(network, unet_names(downs))


def unet_names(downs: int) -> dict[str, str]:
    """For each layer of the U-Net its published name: blocks lie in blocks there."""
    levels = ["model.model"]
    for level in range(1, downs):
        levels.append(f"{levels[-1]}.{1 if level == 1 else 3}.model")
    innermost = levels[-1]
    found = {
        "down.0": "model.model.0",
        "last": "model.model.3",
        "up.0": f"{innermost}.3",
        "up_norm.0": f"{innermost}.4",
    }
    for level in range(1, downs):
        found[f"down.{level}"] = f"{levels[level]}.1"
    for level in range(1, downs - 1):
        found[f"down_norm.{level}"] = f"{levels[level]}.2"
        found[f"up.{downs - 1 - level}"] = f"{levels[level]}.5"
        found[f"up_norm.{downs - 1 - level}"] = f"{levels[level]}.6"
    return found


def _draw_unet(tensors: Tensors, frame: Tensor) -> Tensor:
    """Block within block, as published."""

    def block(x: Tensor, at: str) -> Tensor:
        conv, inner = _conv(F.leaky_relu(x, LEAK), tensors, f"{at}.1", 2, 1), f"{at}.3.model"
        if f"{inner}.1.weight" not in tensors:
            return torch.cat([x, _normed(_grown(torch.relu(conv), tensors, f"{at}.3"), tensors, f"{at}.4")], 1)
        within = block(_normed(conv, tensors, f"{at}.2"), inner)
        return torch.cat([x, _normed(_grown(torch.relu(within), tensors, f"{at}.5"), tensors, f"{at}.6")], 1)

    within = block(_conv(frame, tensors, "model.model.0", 2, 1), "model.model.1.model")
    return torch.tanh(_grown(torch.relu(within), tensors, "model.model.3"))


# -- ResNet ----------------------------------------------------------------------------------------


def _resnet(tensors: Tensors) -> tuple[ResNetGenerator, dict[str, str]]:
    first = tensors["model.1.weight"]
    blocks = len({name.split(".")[1] for name in tensors if ".conv_block." in name})
    last = max(
        (name for name in tensors if name.endswith(".weight") and name.count(".") == 2),
        key=lambda n: int(n.split(".")[1]),
    )
    config = ResNetConfig(
        blocks=blocks,
        channels=first.shape[0],
        norm="batch" if any(name.endswith("running_mean") for name in tensors) else "instance",
        # The second convolution stands one place later where something is dropped before it.
        dropout=any(".conv_block.6.weight" in name and each.ndim == 4 for name, each in tensors.items()),
        in_channels=first.shape[1],
        out_channels=tensors[last].shape[0],
    )
    return ResNetGenerator(config), {}


def _draw_resnet(tensors: Tensors, frame: Tensor) -> Tensor:
    layers = sorted({int(name.split(".")[1]) for name in tensors if tensors[name].ndim == 4 or ".conv_block." in name})
    blocks = [at for at in layers if any(name.startswith(f"model.{at}.conv_block.") for name in tensors)]
    first, halving, doubling, last = layers[0], layers[1:3], layers[-3:-1], layers[-1]
    x = _relu_normed(
        _conv(F.pad(frame, (3, 3, 3, 3), "reflect"), tensors, f"model.{first}"), tensors, f"model.{first + 1}"
    )
    for at in halving:
        x = _relu_normed(_conv(x, tensors, f"model.{at}", 2, 1), tensors, f"model.{at + 1}")
    for at in blocks:
        convs = sorted(
            int(name.split(".")[3])
            for name, each in tensors.items()
            if name.startswith(f"model.{at}.conv_block.") and each.ndim == 4
        )
        y = x
        for i, conv in enumerate(convs):
            y = _conv(F.pad(y, (1, 1, 1, 1), "reflect"), tensors, f"model.{at}.conv_block.{conv}")
            y = _normed(y, tensors, f"model.{at}.conv_block.{conv + 1}")
            y = torch.relu(y) if i == 0 else y
        x = x + y
    for at in doubling:
        weight, bias = tensors[f"model.{at}.weight"], tensors.get(f"model.{at}.bias")
        x = F.conv_transpose2d(x, weight, bias, 2, 1, 1)
        x = _relu_normed(x, tensors, f"model.{at + 1}")
    return torch.tanh(_conv(F.pad(x, (3, 3, 3, 3), "reflect"), tensors, f"model.{last}"))


# -- OASIS -----------------------------------------------------------------------------------------


def _oasis(tensors: Tensors) -> tuple[OasisGenerator, dict[str, str]]:
    entered, hidden = tensors["fc.weight"], tensors["body.0.norm_0.mlp_shared.0.weight"]
    config = OasisConfig(
        classes=entered.shape[1] - OASIS_NOISE,
        channels=entered.shape[0] // WIDTHS[0],
        hidden=hidden.shape[0],
        norm="batch" if any(name.endswith("running_mean") for name in tensors) else "instance",
    )
    network = OasisGenerator(config)
    return network, oasis_names(network)


_OASIS_WORDS = (
    (r"^enter\.", "fc."),
    (r"^leave\.", "conv_img."),
    (r"^blocks\.", "body."),
    (r"\.first_norm\.", ".norm_0."),
    (r"\.second_norm\.", ".norm_1."),
    (r"\.short_norm\.", ".norm_s."),
    (r"\.first\.", ".conv_0."),
    (r"\.second\.", ".conv_1."),
    (r"\.short\.", ".conv_s."),
    (r"(norm_[01s])\.norm\.", r"\1.first_norm."),
    (r"\.shared\.", ".mlp_shared.0."),
    (r"\.scale\.", ".mlp_gamma."),
    (r"\.shift\.", ".mlp_beta."),
)
_SPECTRAL_WORDS = (
    (r"\.parametrizations\.weight\.original$", ".weight_orig"),
    (r"\.parametrizations\.weight\.0\._(u|v)$", r".weight_\1"),
)


def oasis_names(network: OasisGenerator) -> dict[str, str]:
    """For each tensor of the generator its published name."""
    return {name: _reworded(name, (*_OASIS_WORDS, *_SPECTRAL_WORDS)) for name in network.state_dict()}


def judge_names(network: OasisDiscriminator) -> dict[str, str]:
    """For each tensor of the discriminator its published name."""
    found = {}
    for name in network.state_dict():
        doubles, first = name.startswith("up."), name.startswith("down.0.")
        words = (
            (r"^leave\.", "layer_up_last."),
            (r"^(up|down)\.", r"body_\1."),
            # Places in a sequence: behind an activation, and behind a doubling as well.
            (r"\.first\.", f".conv1.{0 if first else 2 if doubles else 1}."),
            (r"\.second\.", ".conv2.1."),
            (r"\.short\.", ".conv_s."),
        )
        found[name] = _reworded(name, (*words, *_SPECTRAL_WORDS))
    return found


def _reworded(name: str, words: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in words:
        name = re.sub(pattern, replacement, name)
    return name


def _draw_oasis(tensors: Tensors, layout: Tensor, z: Tensor) -> Tensor:
    noise = z[:, :, None, None].expand(len(z), z.shape[1], *layout.shape[2:])
    conditions = torch.cat((noise, layout), 1)
    blocks = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("body."))
    size = [side // 2 ** (blocks - 1) for side in layout.shape[2:]]
    x = _conv(F.interpolate(conditions, size=size), tensors, "fc", 1, 1)
    for i in range(blocks):
        at = f"body.{i}"
        short = x
        if f"{at}.conv_s.weight_orig" in tensors:
            short = F.conv2d(_spade(x, conditions, tensors, f"{at}.norm_s"), _spectral(tensors, f"{at}.conv_s"))
        for j in (0, 1):
            x = F.leaky_relu(_spade(x, conditions, tensors, f"{at}.norm_{j}"), LEAK)
            name = f"{at}.conv_{j}"
            x = F.conv2d(x, _spectral(tensors, name), tensors[f"{name}.bias"], padding=1)
        x = short + x
        if i < blocks - 1:
            x = F.interpolate(x, scale_factor=2)
    return torch.tanh(_conv(F.leaky_relu(x, LEAK), tensors, "conv_img", 1, 1))


def _spade(x: Tensor, conditions: Tensor, tensors: Tensors, at: str) -> Tensor:
    seen = F.interpolate(conditions, size=x.shape[2:], mode="nearest")
    heard = torch.relu(_conv(seen, tensors, f"{at}.mlp_shared.0", 1, 1))
    scale, shift = (_conv(heard, tensors, f"{at}.{name}", 1, 1) for name in ("mlp_gamma", "mlp_beta"))
    return _normed(x, tensors, f"{at}.first_norm") * (1 + scale) + shift


def _spectral(tensors: Tensors, at: str) -> Tensor:
    weight, u, v = (tensors[f"{at}.weight_{each}"] for each in ("orig", "u", "v"))
    return weight / torch.dot(u, weight.flatten(1) @ v)


# -- all -------------------------------------------------------------------------------------------


def draw_published(tensors: Tensors, format_: str, frame: Tensor, z: Tensor | None = None) -> Tensor:
    """What the published network draws in eval, computed from its tensors alone.

    Args:
        tensors: From the file.
        format_: One of `FORMATS`.
        frame: Float [N, C, H, W].
        z: Noise [N, 64] of OASIS.

    Returns:
        Float [N, 3, H, W] in [-1, 1].
    """
    tensors = {name: tensor.float() for name, tensor in _without_old_statistics(tensors).items()}
    if format_ == "oasis":
        assert z is not None
        return _draw_oasis(tensors, frame, z)
    return _draw_unet(tensors, frame) if format_ == "pix2pix-unet" else _draw_resnet(tensors, frame)


def _tensor_names(network: nn.Module, layers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: f"{layers[name.rsplit('.', 1)[0]]}.{name.rsplit('.', 1)[1]}"
        for name in network.state_dict()
        if name.rsplit(".", 1)[0] in layers
    }


def _conv(x: Tensor, tensors: Tensors, at: str, stride: int = 1, padding: int = 0) -> Tensor:
    return F.conv2d(x, tensors[f"{at}.weight"], tensors.get(f"{at}.bias"), stride, padding)


def _grown(x: Tensor, tensors: Tensors, at: str) -> Tensor:
    return F.conv_transpose2d(x, tensors[f"{at}.weight"], tensors.get(f"{at}.bias"), 2, 1)


def _normed(x: Tensor, tensors: Tensors, at: str) -> Tensor:
    """Batch norm with the statistics that are stored, instance norm where none are."""
    mean, variance = tensors.get(f"{at}.running_mean"), tensors.get(f"{at}.running_var")
    if mean is None or variance is None:
        variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
    else:
        mean, variance = mean[:, None, None], variance[:, None, None]
    normed = (x - mean) * torch.rsqrt(variance + BATCH_NORM_EPSILON)
    weight, bias = tensors.get(f"{at}.weight"), tensors.get(f"{at}.bias")
    if weight is None or bias is None:
        return normed
    return normed * weight[:, None, None] + bias[:, None, None]


def _relu_normed(x: Tensor, tensors: Tensors, at: str) -> Tensor:
    return torch.relu(_normed(x, tensors, at))
