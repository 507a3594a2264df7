"""Messages survive the pipe in pieces of any size, and rubbish is refused."""

import pytest

from stream.speech.wire import MAX_BYTES, Message, Unpacker, WireError, pack

pytestmark = pytest.mark.unit

MESSAGES = [
    Message({"kind": "speak", "text": "¿Qué tal?"}),
    Message({"kind": "sound", "phones": [["a", 0, 5]]}, bytes(range(256))),
    Message({"kind": "done"}),
]


@pytest.mark.parametrize("piece", [1, 3, 7, 1000])
def test_messages_arrive_whole_whatever_the_pieces(piece: int) -> None:
    data = b"".join(pack(message.fields, message.body) for message in MESSAGES)
    unpacker = Unpacker()
    got = [message for at in range(0, len(data), piece) for message in unpacker.feed(data[at : at + piece])]
    assert got == MESSAGES


@pytest.mark.parametrize(
    "data",
    [
        b"Loading the model, please wait ...",
        (MAX_BYTES).to_bytes(4, "little") + (1).to_bytes(4, "little"),
        (2).to_bytes(4, "little") + bytes(4) + b"{]",
        (2).to_bytes(4, "little") + bytes(4) + b"{}",
        (4).to_bytes(4, "little") + bytes(4) + b"null",
    ],
    ids=["print", "too long", "no JSON", "no kind", "no object"],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        Unpacker().feed(data)
