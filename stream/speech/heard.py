"""What the program of a recogniser says after some more sound; `ProcessRecogniser` reads it."""

from collections.abc import Sequence

from stream.speech.agreement import Guess
from stream.speech.worker import Answer


def send_heard(
    answer: Answer,
    heard_s: float,
    committed: Sequence[Guess],
    tentative: Sequence[Guess],
    language: str | None,
    *,
    endpoint: bool,
) -> None:
    """Send it; see `Recognition` for what each part is."""
    answer.send(
        "heard",
        heard_ns=round(heard_s * 1e9),
        committed=[_wire(word) for word in committed],
        tentative=[_wire(word) for word in tentative],
        language=language,
        endpoint=endpoint,
    )


def _wire(word: Guess) -> tuple[str, int, int]:
    return word.text, round(word.start_s * 1e9), round(word.end_s * 1e9)
