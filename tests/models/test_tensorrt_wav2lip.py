"""Wav2Lip's generator, which users import: exported and built as the shipped ones are, with random weights."""

from pathlib import Path

import pytest
import torch

from models.gate import measure_parity
from models.onnx_export import PRECISIONS, export_onnx, onnx_bytes
from models.tensorrt_plan import LIMIT_DB
from models.torch_engine import TorchEngine
from models.wav2lip import TRAINED_WINDOW, Wav2LipGenerator
from stream.bundled import bundled_samples
from tests.models.onnx_engine import OnnxEngine
from tests.models.plans_of_rtx import plans_of
from tests.models.tiny import settle

pytestmark = pytest.mark.slow


def test_wav2lip_is_exported_and_built_in_every_precision(tmp_path: Path) -> None:
    calibration, gate = bundled_samples(TRAINED_WINDOW, every=20)
    torch.manual_seed(0)
    generator = Wav2LipGenerator()
    settle(generator, torch.from_numpy(calibration.face), torch.from_numpy(calibration.mel))
    made = export_onnx(generator.eval(), PRECISIONS, calibration)
    for precision, model in made.items():
        (tmp_path / f"wav2lip.{precision}.onnx").write_bytes(onnx_bytes(model))
    again = export_onnx(generator, ["int8"], calibration)
    assert onnx_bytes(again["int8"]) == onnx_bytes(made["int8"]), "same weights and samples, same file"
    feed = {"face": gate.face, "mel": gate.mel}
    expected = TorchEngine(generator).infer(feed)["picture"]
    found = OnnxEngine((tmp_path / "wav2lip.fp16.onnx").read_bytes(), "fp16").infer(feed)["picture"]
    # Random weights answer eight bits far more wildly than trained ones: of those, the gate of `engines build` decides.
    assert measure_parity(expected, found, 0).psnr_db >= LIMIT_DB["fp16"]
    built = plans_of(tmp_path)
    assert all(built[f"wav2lip.{precision}"]["bytes"] > 1 << 20 for precision in PRECISIONS)
