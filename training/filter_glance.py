"""A quick look at a filter while it trains: held-back pictures in a row of three, and how near they are.

The numbers that are published come from `training.evaluate_filter`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from training.data.pair_batches import PairDataConfig, as_levels, as_units, loaded
from training.data.pair_makers import Pair, PairMaker, Rgb
from training.data.photo_pairs import PairSet
from training.filter_network import Filter, drawn_run, has_memory
from training.picture_figures import luma_ssim, psnr_db

SHOWN = 8
SEED = 7
SIDE_MULTIPLE = 32


def glance(network: Filter, held: PairSet, maker: PairMaker, config: PairDataConfig, sheet: Path) -> dict[str, float]:
    """Draw a few held-back pairs; writes rows of source, drawn picture and target.

    Returns:
        Means of psnr_db, ssim and the same of the source.
    """
    chosen = np.linspace(0, len(held.pairs) - 1, min(SHOWN, len(held.pairs))).astype(int)
    rows, figures = [], []
    for i in chosen:
        shown = held_pair(held.pairs[i], maker, config, int(i))
        drawn = draw_picture(network, shown.source)
        rows.append([shown.source, drawn, shown.target])
        figures.append([f(each, shown.target) for each in (drawn, shown.source) for f in (psnr_db, luma_ssim)])
    write_sheet(sheet, rows)
    means = np.mean(figures, 0).tolist()
    return dict(zip(("held_psnr_db", "held_ssim", "source_psnr_db", "source_ssim"), means, strict=True))


def held_pair(pair: Pair, maker: PairMaker, config: PairDataConfig, index: int, frame: int = 0) -> Pair:
    """A whole held-back picture, spoilt always in the same way, sides a multiple of 32; each frame has its own grain.

    As training would load it; or, where that is a square, resized to the crop's side, as published for tests.
    """
    whole = loaded(pair, replace(config, load_px=config.crop_px) if config.square else config)
    height, width = (side // SIDE_MULTIPLE * SIDE_MULTIPLE for side in whole.source.shape[:2])
    source, target = (np.ascontiguousarray(each[:height, :width]) for each in whole)
    how, grain = np.random.default_rng([SEED, index]), np.random.default_rng([SEED, index, frame])
    return Pair(maker.again(source, how, grain), target)


@torch.no_grad()
def draw_picture(network: Filter, source: Rgb) -> Rgb:
    """What a filter makes of one picture, as the first of a film; its sides must suit the network."""
    network.eval()
    frame = torch.from_numpy(as_units(source))[None, None].to(next(network.parameters()).device)
    return as_levels(drawn_run(network, frame, memory=has_memory(network))[0, 0].float().cpu().numpy())


def write_sheet(path: Path, rows: list[list[Rgb]], across: int = 2) -> None:
    """Rows of pictures of one size, `across` rows beside each other; white where another row is larger."""
    lines = [np.hstack(row) for row in rows]
    height, width = np.max([line.shape[:2] for line in lines], 0)
    lines = [_on_white(line, height, width) for line in lines]
    lines += [np.full_like(lines[0], 255)] * (-len(lines) % across)
    sheet = np.vstack([np.hstack(lines[i : i + across]) for i in range(0, len(lines), across)])
    cv2.imwrite(str(path), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def _on_white(line: Rgb, height: int, width: int) -> Rgb:
    whole = np.full((height, width, 3), 255, np.uint8)
    whole[: line.shape[0], : line.shape[1]] = line
    return whole
