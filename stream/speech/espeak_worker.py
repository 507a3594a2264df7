"""The program that speaks with eSpeak NG. It is only ever run as a process of its own: its library is under the GPL.

Names, numbers and structures are those of `espeak-ng/speak_lib.h` (1.51).
"""

import ctypes
from collections.abc import Sequence
from typing import Any

from stream.speech.speak_request import read_request
from stream.speech.wire import Message
from stream.speech.worker import Answer, Channel, Refused, serve

LIBRARY = "libespeak-ng.so.1"

_SYNCHRONOUS = 2
_CHUNK_MS = 50  # it makes no shorter ones
_PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 1, 2, 0x8000
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_RATE_PARAMETER, _NORMAL_WORDS_PER_MINUTE = 1, 175
# At its normal speed it speaks 6.0 syllables of Spanish a second, 5.5 of Catalan; people read 7.8 of Spanish aloud (F.
# Pellegrino et al., Language 87(3), 2011). Part of that way Whisper understands it as well (docs/decisions/0022).
_BRISK = {"es": 1.15, "ca": 1.15}
_EVENT_END_OF_LIST, _EVENT_PHONEME = 0, 7


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))

Phone = tuple[str, int, int]


class Clause:
    """Sends the sound of one clause, every phone with the chunk in which it begins.

    The library says where a phone begins, with the sound of that moment; where it ends is where the next one begins.
    So a chunk waits until all phones in it have ended, which costs a millisecond: the library is a hundred times
    faster than speech.

    Args:
        answer: Where chunks go.
        rate_hz: Samples a second.
    """

    def __init__(self, answer: Answer, rate_hz: int) -> None:
        self._answer = answer
        self._rate_hz = rate_hz
        self._end = 0
        self._open: tuple[str, int] = ("", 0)
        self._phones: list[Phone] = []
        self._chunks: list[tuple[int, bytes]] = []

    def add(self, sound: bytes, begins: Sequence[tuple[str, int]]) -> bool:
        """Take the next sound and the phones that begin in it, as (IPA, sample); False when nobody waits for more."""
        for ipa, sample in begins:
            self._begin(ipa, sample)
        self._chunks.append((self._end, sound))
        self._end += len(sound) // 2
        while self._chunks and self._chunks[0][0] + len(self._chunks[0][1]) // 2 <= self._open[1]:
            self._send()
        return not self._answer.cancelled

    def finish(self) -> None:
        """Send what is left."""
        self._begin("end", self._end)
        while self._chunks:
            self._send()

    def _begin(self, ipa: str, sample: int) -> None:
        """End the open phone where this one begins; one that lasted no time was only a mark, such as a word's end."""
        was, since = self._open
        if was == ipa == "":
            return
        if sample > since:
            self._phones.append((was, since, sample))
        self._open = (ipa, max(since, sample))

    def _send(self) -> None:
        start, sound = self._chunks.pop(0)
        end = start + len(sound) // 2
        here = [phone for phone in self._phones if phone[1] < end]
        self._phones = self._phones[len(here) :]
        self._answer.send("sound", sound, start=start, rate_hz=self._rate_hz, phones=here)


class Espeak:
    """The library, in one thread.

    Raises:
        OSError: It, or its data, is not installed.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL(LIBRARY)
        options = _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
        self.rate_hz: int = self._library.espeak_Initialize(_SYNCHRONOUS, _CHUNK_MS, None, options)
        if self.rate_hz <= 0:
            raise OSError(f"{LIBRARY} found no voices")
        self._library.espeak_Info.restype = ctypes.c_char_p
        self._library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        self._clause: Clause | None = None
        # Kept, because the library keeps only its address.
        self._callback = _Callback(self._take)
        self._library.espeak_SetSynthCallback(self._callback)
        self.languages = self._list_languages()
        self.voices = self._list_variants()

    def describe(self) -> dict[str, Any]:
        """What it can do, as `Caps` has it."""
        version = self._library.espeak_Info(None).decode().split()[0]
        return {
            "name": f"espeak-ng {version}",
            "licence": "GPL-3.0-or-later",
            "commercial": True,
            "quality": "draft",
            "languages": sorted(self.languages),
            "voices": sorted(self.voices),
            "phone_times": True,
            "brisk": _BRISK,
        }

    def speak(self, message: Message, answer: Answer) -> None:
        """Speak one clause."""
        asked = read_request(message, languages=self.languages, voices=self.voices)
        name = asked.language if asked.voice is None else f"{asked.language}+{asked.voice}"
        if self._library.espeak_SetVoiceByName(name.encode()):
            raise Refused(f"its voice {name!r} cannot be loaded")
        self._library.espeak_SetParameter(_RATE_PARAMETER, round(asked.rate * _NORMAL_WORDS_PER_MINUTE), 0)
        self._synthesise(asked.text, Clause(answer, self.rate_hz))

    def _synthesise(self, text: str, clause: Clause) -> None:
        data = text.replace("\0", " ").encode()
        self._clause = clause
        self._library.espeak_Synth(data, len(data) + 1, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
        self._clause = None
        clause.finish()

    def _take(self, sound: Any, samples: int, events: Any) -> int:  # noqa: ANN401 - pointers
        """The library's call back: 0 goes on, 1 stops."""
        assert self._clause is not None
        if not sound:
            return 0
        begins = []
        index = 0
        while events[index].type != _EVENT_END_OF_LIST:
            if events[index].type == _EVENT_PHONEME:
                begins.append((events[index].id.string.decode(errors="ignore"), events[index].sample))
            index += 1
        return 0 if self._clause.add(ctypes.string_at(sound, samples * 2), begins) else 1

    def _voices(self, spec: _Voice | None) -> list[_Voice]:
        listed = self._library.espeak_ListVoices(None if spec is None else ctypes.byref(spec))
        voices: list[_Voice] = []
        while listed[len(voices)]:
            voices.append(listed[len(voices)].contents)
        return voices

    def _list_languages(self) -> set[str]:
        """Tags of the voices that need no other program; MBROLA's do."""
        voices = [voice for voice in self._voices(None) if not voice.identifier.startswith(b"mb/")]
        return {tag for voice in voices for tag in _tags(voice.languages)}

    def _list_variants(self) -> set[str]:
        """Names of the variants that change any language's voice."""
        kind = ctypes.create_string_buffer(b"variant")
        found = self._voices(_Voice(languages=ctypes.addressof(kind)))
        return {voice.identifier.decode().rpartition("/")[2] for voice in found}


def _tags(address: int) -> list[str]:
    """A voice's language tags: a priority byte and a string each, after the last of them a zero."""
    tags = []
    while ctypes.string_at(address, 1) != b"\0":
        tag = ctypes.string_at(address + 1)
        tags.append(tag.decode())
        address += 1 + len(tag) + 1
    return tags


def main() -> None:
    """Speak until the pipe is closed."""
    channel = Channel()
    try:
        espeak = Espeak()
    except OSError as error:
        channel.send({"kind": "missing", "what": str(error)})
        return
    serve(channel, espeak.describe(), {"speak": espeak.speak})


if __name__ == "__main__":
    main()
