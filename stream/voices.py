"""The voices one may choose: those that came with the product, and a bounded shelf of uploads."""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from stream.passage import Voice
from stream.pipeline import Lane

_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class ShelvedVoice:
    """A voice under the id that the page knows it by."""

    id: str
    name: str
    voice: Voice

    def public(self) -> dict[str, str | float]:
        """What a client is told."""
        return {"id": self.id, "name": self.name, "duration_s": round(self.voice.duration_ns / 1e9, 3)}


class VoiceShelf:
    """Voices by id. An upload beyond the limit pushes out the oldest upload; who speaks with it goes on.

    Args:
        bundled: Voices that always stay.
        open_voice: Reads an audio file; blocking, runs on the shelf's thread.
        most_uploads: Uploads kept.
    """

    def __init__(self, bundled: list[ShelvedVoice], open_voice: Callable[[bytes], Voice], most_uploads: int) -> None:
        self._bundled = {voice.id: voice for voice in bundled}
        self._uploads: OrderedDict[str, ShelvedVoice] = OrderedDict()
        self._open_voice = open_voice
        self._most_uploads = most_uploads
        self._lane = Lane("voices")

    def find(self, voice_id: str) -> ShelvedVoice | None:
        """The voice of that id."""
        return self._bundled.get(voice_id) or self._uploads.get(voice_id)

    @property
    def first(self) -> ShelvedVoice | None:
        """The voice taken when none is named."""
        return next(iter([*self._bundled.values(), *self._uploads.values()]), None)

    def public(self) -> list[dict[str, str | float]]:
        """All voices, as a client is told."""
        return [voice.public() for voice in [*self._bundled.values(), *self._uploads.values()]]

    async def add(self, audio: bytes, name: str) -> ShelvedVoice:
        """Read an audio file and put it on the shelf.

        Raises:
            MediaError: It is not audio, or too long.
        """
        voice = await self._lane.run(lambda: self._open_voice(audio))
        shelved = ShelvedVoice(secrets.token_urlsafe(6), _printable(name) or "uploaded voice", voice)
        self._uploads[shelved.id] = shelved
        while len(self._uploads) > self._most_uploads:
            self._uploads.popitem(last=False)
        return shelved

    def close(self) -> None:
        """End the shelf's thread."""
        self._lane.close()


def _printable(name: str) -> str:
    """A name fit to be shown: one line, of bounded length."""
    return "".join(letter for letter in name if letter.isprintable())[:_LONGEST_NAME].strip()
