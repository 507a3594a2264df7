"""A run in two processes on the CPU: `python tests/training/two_processes.py FOLDER VARIANT`.

Each process writes what it drew first and what it ended with into FOLDER; Fabric starts the second one.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.training.made import made_clip
from training import lipgan
from training.config import LipganConfig, NetworkConfig, load_config
from training.loop import launched
from training.trainer import SHARED, Trainer

STEPS = 16
NETWORKS = {
    "basic": NetworkConfig(width=0.0625, discriminator_width=0.0625),
    "lite": NetworkConfig("lite", size="s", width=0.0625, discriminator_width=0.0625),
}


def config_of(variant: str) -> LipganConfig:
    """The quick config with both judges, without augmentation, so that few steps show that it learns."""
    quick = load_config("quick")
    return replace(
        quick,
        network=NETWORKS[variant],
        mix=replace(quick.mix, picture_augment=False, mel_augment=False),
        loss=replace(quick.loss, sync_from_step=4, quality=0.01, quality_from_step=4),
        run=replace(quick.run, steps=STEPS, log_every=1, checkpoint_every=8, gauge_steps=4, learning_rate=2e-3),
    )


def main(folder: Path, variant: str) -> None:
    """Train, and write `process_N.pt`."""
    fabric = launched(bf16=False, devices=2, accelerator="cpu")
    kept: list[Trainer] = []
    drawn: list[torch.Tensor] = []
    new_trainer, train_step = lipgan.new_trainer, lipgan.train_step

    def keep_trainer(*arguments: Any) -> Trainer:
        kept.append(new_trainer(*arguments))
        return kept[0]

    def keep_batch(trainer: Trainer, batch: Any, *others: Any) -> dict[str, float]:
        drawn.append(torch.from_numpy(batch.target))
        return train_step(trainer, batch, *others)

    lipgan.new_trainer, lipgan.train_step = keep_trainer, keep_batch
    clips = [made_clip("a", "anna", seed=1), made_clip("b", "bert", seed=2)]
    lipgan.train_on(config_of(variant), clips, None, folder / "run", held=[], fabric=fabric)
    learned = {name: dict(getattr(kept[0], name).named_parameters()) for name in (*SHARED, "averaged", "gauge")}
    weights = {f"{of}.{name}": value.detach() for of, values in learned.items() for name, value in values.items()}
    torch.save({"weights": weights, "drawn": drawn[0]}, folder / f"process_{fabric.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
