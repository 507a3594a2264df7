"""Messages between the engine and a back end's process, over its standard input and output.

A message is two little-endian 32-bit lengths, a JSON object and raw bytes. The bytes are sound, which is neither
encoded nor copied into another form. The standard library alone reads it, so that a worker program can run in an
environment of its own, with nothing of ours or of its neighbours installed.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LENGTHS = struct.Struct("<II")

MAX_BYTES = 64 << 20
"""More than a message ever has; a larger length means that something else was written into the pipe."""


class WireError(Exception):
    """The bytes are not messages."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        fields: The JSON object; `kind` names what it is.
        body: Raw bytes, possibly none.
    """

    fields: Mapping[str, Any]
    body: bytes = b""

    @property
    def kind(self) -> str:
        """What the message is."""
        return str(self.fields["kind"])


def pack(fields: Mapping[str, Any], body: bytes = b"") -> bytes:
    """The bytes of one message."""
    head = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(head), len(body)) + head + body


class Unpacker:
    """Finds messages in bytes that arrive in pieces of any size."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Add bytes.

        Returns:
            The messages that are now complete.

        Raises:
            WireError: The bytes are not messages.
        """
        self._held += data
        messages = []
        while (message := self._take()) is not None:
            messages.append(message)
        return messages

    def _take(self) -> Message | None:
        if len(self._held) < _LENGTHS.size:
            return None
        head, body = _LENGTHS.unpack_from(self._held)
        if head + body > MAX_BYTES:
            raise WireError(f"a message of {head + body} bytes was announced, at most {MAX_BYTES} are allowed")
        end = _LENGTHS.size + head + body
        if len(self._held) < end:
            return None
        fields = _fields(bytes(self._held[_LENGTHS.size : _LENGTHS.size + head]))
        message = Message(fields, bytes(self._held[_LENGTHS.size + head : end]))
        del self._held[:end]
        return message


def _fields(head: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(head)
    except ValueError as error:
        raise WireError(f"a message begins with {head[:40]!r}: {error}") from None
    if not isinstance(fields, dict) or "kind" not in fields:
        raise WireError(f"a message begins with {head[:40]!r}, expected an object with a kind")
    return fields
