"""Stands in for Kyutai's package: its documented interface, a hum for a voice, and no weights.

Every voice is a pitch. A recording's is the number in it.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LANGUAGES = ("english", "french_24l", "spanish")


class Tensor:
    def __init__(self, samples: NDArray[np.float32]) -> None:
        self._samples = samples

    def numpy(self) -> NDArray[np.float32]:
        return self._samples


class TTSModel:
    sample_rate = 24_000

    def __init__(self, language: str) -> None:
        self.language = language

    @classmethod
    def load_model(cls, language: str | None = None) -> "TTSModel":
        if language not in LANGUAGES:
            raise FileNotFoundError(f"Config file not found: {language}.yaml")
        return cls(language)

    def get_state_for_audio_prompt(
        self, audio_conditioning: Path | str, truncate: bool = False
    ) -> dict[str, dict[str, float]]:
        if isinstance(audio_conditioning, Path):
            assert truncate
            return {"hum": {"pitch_hz": float(audio_conditioning.read_text())}}
        if "/" in audio_conditioning:
            raise ConnectionError("an address would be fetched")
        return {"hum": {"pitch_hz": 100.0 + 10 * len(audio_conditioning) ** 2}}

    def generate_audio_stream(
        self,
        model_state: dict[str, dict[str, float]],
        text_to_generate: str,
        stop: threading.Event | None = None,
    ) -> Iterator[Tensor]:
        if not text_to_generate.strip():
            raise ValueError("Text prompt cannot be empty")
        time_s = np.arange(1_920) / self.sample_rate
        hum = 0.3 * np.sin(2 * np.pi * model_state["hum"]["pitch_hz"] * time_s)
        for _ in text_to_generate:
            if stop is not None and stop.is_set():
                return
            yield Tensor(hum.astype(np.float32))
