"""One process or several, on whatever device: batches are shared, weights are the same, inputs stay exact."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.training.made import made_clip
from tests.training.two_processes import STEPS, config_of
from training.__main__ import main
from training.checkpoint import load_checkpoint
from training.config import ConfigError, load_config
from training.lipgan import check_shares, train_on
from training.loop import launched
from training.trainer import PARTS

ROOT = Path(__file__).parents[2]


class Same(nn.Module):
    """Hands back what it gets, and what a convolution makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)

    def forward(self, picture: Tensor) -> tuple[Tensor, bool]:
        return picture, self.conv(picture).dtype == torch.bfloat16


@pytest.mark.unit
@pytest.mark.parametrize("bf16", [False, True])
def test_convolutions_are_autocast_and_pictures_that_go_in_are_not_rounded(bf16: bool) -> None:
    network = launched(bf16=bf16, accelerator="cpu").setup_module(Same())
    picture = torch.rand(1, 1, 4, 4)
    seen, autocast = network(picture)
    assert torch.equal(seen, picture)
    assert autocast is bf16


@pytest.mark.unit
def test_gpus_that_are_not_there_are_missed_by_number(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    many = str(torch.cuda.device_count() + 1)
    asked = ["lipgan", "--config", "quick", "--cache", str(tmp_path), "--run", str(tmp_path / "run")]
    assert main([*asked, "--devices", many, "--accelerator", "cuda"]) == 2
    assert f"--devices {many} on cuda, but this machine has " in capsys.readouterr().err


@pytest.mark.unit
def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    quick = load_config("quick")
    check_shares(replace(quick, run=replace(quick.run, batch=10, frames=5, sound_batch=4)), 2)
    check_shares(replace(quick, run=replace(quick.run, batch=7)), 1)
    with pytest.raises(ConfigError, match="batch = 15 cannot be shared by 2 processes; make it a multiple of 10"):
        check_shares(replace(quick, run=replace(quick.run, batch=15, frames=5)), 2)
    with pytest.raises(ConfigError, match="sound_batch = 5 cannot be shared"):
        check_shares(replace(quick, run=replace(quick.run, sound_batch=5)), 2)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["basic", "lite"])
def test_two_processes_share_the_batch_and_end_with_the_same_weights(tmp_path: Path, variant: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests/training/two_processes.py"), str(tmp_path), variant]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert ended.returncode == 0, ended.stderr
    first, second = (torch.load(tmp_path / f"process_{each}.pt", weights_only=True) for each in (0, 1))
    config = config_of(variant)
    assert len(first["drawn"]) == len(second["drawn"]) == config.run.batch // 2
    assert not torch.equal(first["drawn"], second["drawn"])
    assert first["weights"].keys() == second["weights"].keys()
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name]), name
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [row["mouth_l1"] for row in rows if "mouth_l1" in row]
    assert len(losses) == STEPS
    # An untrained editor hands back what it is shown, which is nearly right; it learns from its first errors on.
    assert sum(losses[-2:]) / 2 < 0.75 * max(losses[: STEPS // 2])
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert set(state) == {*PARTS, "step", "config", "torch_rng"}
    for name, weight in state["generator"].items():
        if f"generator.{name}" in first["weights"]:
            assert torch.equal(weight, first["weights"][f"generator.{name}"])
    # What two processes wrote, one goes on with.
    longer = replace(config, run=replace(config.run, steps=STEPS + 1))
    clips = [made_clip("a", "anna", seed=1), made_clip("b", "bert", seed=2)]
    alone = train_on(longer, clips, None, tmp_path / "run", held=[], resume=True)
    assert load_checkpoint(alone)["step"] == STEPS + 1
