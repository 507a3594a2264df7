"""The ear's recipe: it reads a recogniser's file, learns, resumes to the same bits, and says what is wrong."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kernels.mel import window_at
from models.checkpoint import save_generator
from models.lipgan import LipGanConfig, LipGanGenerator
from models.lipgan_lite import Ear, LipGanLite, LipGanLiteConfig, speech_window
from models.speech_ear import CHANNELS, SpeechEar, SpeechLayers
from tests.training.made import made_clip
from training import ear as recipe
from training.checkpoint import load_checkpoint
from training.config import ConfigError, NetworkConfig, RunConfig, load_config
from training.data.cache import CachedSpeech, load_speech, save_clip, save_speech
from training.data.clips import MaterialError
from training.data.recogniser import MODEL_FILE, read_recogniser
from training.ear import EarConfig, EarLessons, lessons_of, train_ear
from training.lipgan import train_on
from training.trainer import begin_with, new_trainer, take_ear

pytestmark = pytest.mark.unit

RUN = RunConfig(
    seed=5, steps=4, sound_batch=4, learning_rate=1e-3, warm_up_steps=1, checkpoint_every=2, log_every=1, threads=1
)
CONFIG = EarConfig(run=RUN)


def _write(folder: Path, layers: int = 3, mel_bands: int = 80) -> Path:
    """A recogniser's file, its weights drawn."""
    rng = np.random.default_rng(1)
    shapes: dict[str, tuple[int, ...]] = {
        "encoder/conv1/weight": (CHANNELS, mel_bands, 3),
        "encoder/conv1/bias": (CHANNELS,),
        "encoder/conv2/weight": (CHANNELS, CHANNELS, 3),
        "encoder/conv2/bias": (CHANNELS,),
        "encoder/position_encodings/encodings": (1500, CHANNELS),
        "decoder/embeddings/weight": (3, 2),
    }
    for i in range(layers):
        for part, wide, narrow in (("self_attention", 3, 1), ("ffn", 4, 4)):
            name = f"encoder/layer_{i}/{part}"
            shapes[f"{name}/layer_norm/gamma"] = shapes[f"{name}/layer_norm/beta"] = (CHANNELS,)
            shapes[f"{name}/linear_0/weight"] = (wide * CHANNELS, CHANNELS)
            shapes[f"{name}/linear_0/bias"] = (wide * CHANNELS,)
            shapes[f"{name}/linear_1/weight"] = (CHANNELS, narrow * CHANNELS)
            shapes[f"{name}/linear_1/bias"] = (CHANNELS,)

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    data = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(shapes))
    for name, shape in shapes.items():
        values = (0.05 * rng.standard_normal(shape)).astype(np.float16).tobytes()
        sizes = struct.pack(f"<B{len(shape)}I", len(shape), *shape)
        data += text(name) + sizes + struct.pack("<BI", 4, len(values)) + values
    folder.mkdir(exist_ok=True)
    (folder / MODEL_FILE).write_bytes(data)
    return folder


def _cache(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(2)
    for name in ("a", "b"):
        mouths = np.stack([rng.random(200) * 0.1, np.ones(200)], 1).astype(np.float32)
        save_speech(folder, CachedSpeech(name, name, rng.uniform(-4, 2, (80, 160)).astype(np.float32), mouths))
    save_clip(folder, made_clip("c", "carl"))
    (folder / "split.json").write_text('{"clips": [{"name": "c", "person": "carl", "split": "train"}]}')
    return folder


def test_a_recognisers_file_is_read_to_the_last_weight(tmp_path: Path) -> None:
    layers = read_recogniser(_write(tmp_path))
    assert isinstance(layers, SpeechLayers)
    assert len(layers.layers) == 3
    data = (tmp_path / MODEL_FILE).read_bytes()
    last = layers.layers[2].narrow.bias
    for tensor in (layers.first.weight, last):
        assert tensor.detach().half().numpy().tobytes() in data
    fused = torch.cat([layers.layers[1].query.weight, layers.layers[1].key_value.weight])
    assert fused.detach().half().numpy().tobytes() in data


def test_a_file_that_is_no_such_recogniser_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaterialError, match="give the folder of a faster-whisper model"):
        read_recogniser(tmp_path / "none")
    with pytest.raises(MaterialError, match="is not Whisper tiny"):
        read_recogniser(_write(tmp_path / "wide", mel_bands=128))
    whole = _write(tmp_path / "cut")
    data = (whole / MODEL_FILE).read_bytes()
    (whole / MODEL_FILE).write_bytes(data[: len(data) // 2])
    with pytest.raises(MaterialError, match="is not a whole CTranslate2 model"):
        read_recogniser(whole)


def test_a_killed_ear_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, cache = _write(tmp_path / "teacher"), _cache(tmp_path / "cache")
    whole = load_checkpoint(train_ear(CONFIG, cache, teacher, tmp_path / "whole"))
    step = recipe.ear_step

    def dies_at_3(trainer: recipe.EarTrainer, *rest: object) -> dict[str, float]:
        if trainer.step == 3:
            raise KeyboardInterrupt
        return step(trainer, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(recipe, "ear_step", dies_at_3)
    with pytest.raises(KeyboardInterrupt):
        train_ear(CONFIG, cache, teacher, tmp_path / "cut")
    monkeypatch.setattr(recipe, "ear_step", step)
    resumed = load_checkpoint(train_ear(CONFIG, cache, teacher, tmp_path / "cut", resume=True))
    assert resumed["step"] == whole["step"] == 4
    for part in ("ear", "averaged", "listener"):
        for name, value in whole[part].items():
            assert torch.equal(resumed[part][name], value), (part, name)
    with pytest.raises(ConfigError, match="another config"):
        train_ear(replace(CONFIG, mouth=0.1), cache, teacher, tmp_path / "cut", resume=True)


def test_lessons_say_what_the_teacher_heard_at_the_pictures_time(tmp_path: Path) -> None:
    teacher, cache = read_recogniser(_write(tmp_path / "teacher")), _cache(tmp_path / "cache")
    lessons = lessons_of(teacher.eval(), load_speech(cache), [made_clip("c", "carl")])
    assert [len(each.tokens) for each in lessons] == [100, 100, 60]
    assert sum(each.share for each in lessons[:2]) == pytest.approx(0.75)
    batch = EarLessons(replace(CONFIG, silence_share=0.5, run=replace(RUN, sound_batch=40)), lessons).batch(0)
    silent = np.isnan(batch.features).all(1)
    assert 8 < silent.sum() < 32
    assert (batch.mouth[silent, 0] == 0).all()
    known = np.concatenate([each.tokens for each in lessons]).astype(np.float32)
    for wanted in batch.features[~silent]:
        assert (known == wanted).all(1).any()


@pytest.mark.parametrize("ear", ["lipgan", "speech"])
def test_a_vector_is_that_of_the_generators_own_window(tmp_path: Path, ear: Ear) -> None:
    generator = LipGanLite(LipGanLiteConfig(size="s", crop_px=96, ear=ear)).eval()
    save_generator(tmp_path / "lite.safetensors", generator, storage="float32")
    sound = torch.randn(80, 200)
    at_ns = 1_200_000_000
    lesson, own = (
        torch.from_numpy(window_at(sound.numpy(), at_ns, each))[None, None]
        for each in (recipe.lesson_window(replace(CONFIG, look_ahead_ms=40)), generator.config.window)
    )
    with torch.no_grad():
        vector = recipe._understood(tmp_path / "lite.safetensors")(lesson)
        torch.testing.assert_close(vector, generator.sound(own).flatten(1))


def test_an_ear_with_less_look_ahead_learns_from_what_it_cannot_hear(tmp_path: Path) -> None:
    teacher, cache = _write(tmp_path / "teacher"), _cache(tmp_path / "cache")
    save_generator(tmp_path / "lite.safetensors", LipGanLite(LipGanLiteConfig(size="s", crop_px=96)))
    config = replace(CONFIG, look_ahead_ms=40)
    trained = train_ear(config, cache, teacher, tmp_path / "run", like=tmp_path / "lite.safetensors")
    ear = SpeechEar(speech_window(40).columns, 40, recipe.OUT_CHANNELS)
    ear.load_state_dict(load_checkpoint(trained)["averaged"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(row["alike"] > 0 for row in rows)
    save_generator(tmp_path / "other.safetensors", LipGanGenerator(LipGanConfig(width=0.0625)))
    with pytest.raises(ConfigError, match="is no lite generator"):
        recipe._understood(tmp_path / "other.safetensors")


def test_a_generator_begins_with_another_ear_and_leaves_its_layers_alone(tmp_path: Path) -> None:
    teacher, cache = _write(tmp_path / "teacher"), _cache(tmp_path / "cache")
    quick = load_config("quick")
    network = NetworkConfig(variant="lite", size="s", crop_px=96, ear="speech")
    run = replace(quick.run, steps=2, gauge_steps=1, batch=2, sound_batch=2)
    config = replace(quick, network=network, run=run)
    before = LipGanLite(LipGanLiteConfig(size="s", crop_px=96))
    save_generator(tmp_path / "lite.safetensors", before, storage="float32")
    ear = load_checkpoint(recipe.train_ear(CONFIG, cache, teacher, tmp_path / "ear"))
    trainer = new_trainer(config)
    begin_with(trainer, tmp_path / "lite.safetensors")
    take_ear(trainer, tmp_path / "ear" / "checkpoint.pt")
    assert torch.equal(trainer.generator.flow.weight, before.flow.weight)
    clips = [made_clip("a", "anna", seed=1), made_clip("b", "bert", seed=2)]
    begun = {"start": tmp_path / "lite.safetensors", "ear": tmp_path / "ear" / "checkpoint.pt"}
    trained = load_checkpoint(train_on(config, clips, None, tmp_path / "run", held=[], **begun))["generator"]
    for name, value in ear["averaged"].items():
        same = torch.equal(trained[f"sound.{name}"], value)
        assert same == name.startswith("layers."), name
    other = replace(config, network=replace(network, ear="lipgan"))
    with pytest.raises(ConfigError, match="holds no ear for"):
        take_ear(new_trainer(other), tmp_path / "ear" / "checkpoint.pt")
