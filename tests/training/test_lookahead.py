"""The look-ahead ablation: ears hear what they may, one generator draws by each, tables say what they are."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import save_generator
from models.lipgan import LipGanConfig, LipGanGenerator
from models.lipgan_lite import LipGanLite, LipGanLiteConfig, speech_window
from models.speech_ear import SpeechEar
from training import lookahead
from training.checkpoint import save_checkpoint
from training.config import ConfigError
from training.ear import EarConfig
from training.intervals import Interval
from training.judges import Judges
from training.lookahead import heard_by, look_ahead, write_tables

pytestmark = pytest.mark.unit


def _weights(folder: Path) -> Path:
    torch.manual_seed(1)
    generator = LipGanLite(LipGanLiteConfig(size="s", crop_px=96, ear="speech"))
    save_generator(folder / "lite.safetensors", generator, storage="float32")
    return folder / "lite.safetensors"


def _ear(folder: Path, look_ahead_ms: int) -> Path:
    window = speech_window(look_ahead_ms)
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder / "checkpoint.pt", {"averaged": SpeechEar(window.columns, window.past, 256).state_dict()})
    return folder / "checkpoint.pt"


def test_a_generator_draws_by_the_ear_that_it_is_given(tmp_path: Path) -> None:
    subject = heard_by(_weights(tmp_path), _ear(tmp_path, 40), 40)
    assert subject.window == speech_window(40)
    assert subject.edits
    face = np.random.default_rng(1).random((2, 6, 96, 96), dtype=np.float32)
    assert subject.paint(face, np.zeros((2, 1, 80, subject.window.columns), np.float32)).shape == (2, 3, 96, 96)


def test_another_ear_or_generator_is_refused(tmp_path: Path) -> None:
    weights = _weights(tmp_path)
    with pytest.raises(ConfigError, match="holds no ear that hears 188 ms ahead"):
        heard_by(weights, _ear(tmp_path, 0), 188)
    save_generator(tmp_path / "lipgan.safetensors", LipGanGenerator(LipGanConfig(width=0.0625)))
    with pytest.raises(ConfigError, match="is no lite generator"):
        heard_by(tmp_path / "lipgan.safetensors", _ear(tmp_path, 0), 0)


def test_each_look_ahead_gets_an_ear_and_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[int, bool]] = []

    def train(config: EarConfig, cache: Path, recogniser: Path, run: Path, *, like: Path, resume: bool) -> Path:
        assert like == weights
        trained.append((config.look_ahead_ms, resume))
        return _ear(run, config.look_ahead_ms)

    weights = _weights(tmp_path)
    monkeypatch.setattr(lookahead, "train_ear", train)
    monkeypatch.setattr(lookahead, "evaluate", lambda *arguments, **_: arguments[1])
    rows = {"own_r": Interval(0.5, 0.4, 0.6), "psnr_db": Interval(28.0, 27.0, 29.0)}
    monkeypatch.setattr(lookahead, "summarise", lambda _: {"measured": {"drawn": rows, "static mouth": {}}})
    _ear(tmp_path / "out" / "80ms", 80)
    judges = Judges(landmarks=None)  # type: ignore[arg-type]
    said: list[str] = []
    look_ahead(EarConfig(), tmp_path, tmp_path, weights, tmp_path / "out", judges, said.append, look_aheads_ms=(0, 80))
    assert trained == [(0, False), (80, True)]
    table = (tmp_path / "out" / "lookahead.md").read_text()
    assert "| 80 | 75 | 0.50 [0.40, 0.60] | - |" in table
    figures = json.loads((tmp_path / "out" / "lookahead.json").read_text())["figures"]
    assert figures["measured"]["0"]["psnr_db"]["value"] == 28.0


def test_what_was_heard_is_what_the_window_ends_with(tmp_path: Path) -> None:
    write_tables(tmp_path, {}, {"held_person": {ms: {} for ms in (0, 40, 188)}})
    lines = (tmp_path / "lookahead.md").read_text().splitlines()
    assert [line.split("|")[2].strip() for line in lines if line[:3] in ("| 0", "| 4", "| 1")] == ["0", "37.5", "187.5"]
