"""A back end that does what it is told: speaks given sound, crashes, hangs, talks rubbish, or refuses to start.

It also goes from speech to speech: of a text that it is started with it hears a word in every 300 ms of sound, and says
it as it is; clauses end at full stops.
"""

import array
import os
import subprocess
import sys
import time

from stream.speech.wire import Message
from stream.speech.worker import Answer, Channel, Refused, serve

RATE_HZ = 16_000
CHUNK = 800
WORD_MS = 300
READY = {
    "name": "scripted",
    "licence": "Apache-2.0",
    "commercial": True,
    "quality": "draft",
    "languages": ["en"],
    "voices": ["second"],
    "phone_times": True,
    "pairs": [["en", "en"]],
}


def _speak(message: Message, answer: Answer) -> None:
    if message.fields["language"] != "en":
        raise Refused(f"it does not speak {message.fields['language']!r}")
    _say(message.fields["text"], answer)


def _say(text: str, answer: Answer, **fields: int) -> None:
    """One chunk and one phone for every letter; a word in capitals is an order."""
    for index, letter in enumerate(text.partition(" ")[2] or text):
        if answer.cancelled:
            return
        start = index * CHUNK
        sound = array.array("h", [index + 1] * CHUNK).tobytes()
        answer.send("sound", sound, start=start, rate_hz=RATE_HZ, phones=[[letter, start, start + CHUNK]], **fields)
        if index == 1:
            _obey(text.partition(" ")[0], answer)


def _obey(order: str, answer: Answer) -> None:
    if order == "CRASH":
        print("it fell over", file=sys.stderr, flush=True)
        os._exit(7)
    if order == "HANG":
        time.sleep(3600)
    if order == "RUBBISH":
        os.write(3, b"\xff" * 64)
    if order == "LONG":
        # Whoever waits to read from it knows now that the clause is being spoken.
        with open(sys.argv[2], "w"):
            pass
        while not answer.cancelled:
            time.sleep(0.001)


class Interpreter:
    """Hears the words of a text, and speaks them as they are."""

    def __init__(self, text: str) -> None:
        self._left = text.split()
        self._clause: list[tuple[str, int, int]] = []
        self._clauses = 0
        self._start_ns: int | None = None
        self._heard_ns = 0

    def push(self, message: Message, answer: Answer) -> None:
        """Sound, of which only the length counts."""
        pts_ns = message.fields["pts_ns"]
        self._start_ns = pts_ns if self._start_ns is None else self._start_ns
        self._heard_ns = pts_ns + len(message.body) // 4 * 10**9 // RATE_HZ
        heard = []
        while self._left and self._heard_ns - self._start_ns >= WORD_MS * 10**6:
            end_ns = self._start_ns + WORD_MS * 10**6
            heard.append((self._left.pop(0), self._start_ns, end_ns))
            self._start_ns = end_ns
        self._tell(heard, answer)

    def flush(self, message: Message, answer: Answer) -> None:  # noqa: ARG002 - the signature of a handler
        """What is left of a clause is a clause too."""
        self._start_ns = None
        self._tell([], answer, endpoint=True)

    def _tell(self, heard: list[tuple[str, int, int]], answer: Answer, *, endpoint: bool = False) -> None:
        closed = []
        for word in heard:
            self._clause.append(word)
            if word[0].endswith("."):
                closed.append(self._clause)
                self._clause = []
        if endpoint and self._clause:
            closed.append(self._clause)
            self._clause = []
        answer.send("heard", heard_ns=self._heard_ns, committed=heard, tentative=[], language="en", endpoint=endpoint)
        texts = [" ".join(text for text, _, _ in clause) for clause in closed]
        ids = range(self._clauses + 1, self._clauses + 1 + len(closed))
        self._clauses += len(closed)
        for clause_id, text, clause in zip(ids, texts, closed, strict=True):
            answer.send("translated", clause_id=clause_id, text=text, start_ns=clause[0][1], end_ns=clause[-1][2])
        for clause_id, text in zip(ids, texts, strict=True):
            _say(text, answer, clause_id=clause_id)
            answer.send("spoken", clause_id=clause_id)


def _child(message: Message, answer: Answer) -> None:
    """Start a program that outlives any ordinary end of its parent, and say which."""
    child = subprocess.Popen(["sleep", "3600"])
    answer.send("child", pid=child.pid)


def main(how: str) -> None:
    if how == "absent":
        Channel().send({"kind": "missing", "what": "libscripted was not found"})
        time.sleep(3600)
    if how == "slow":
        time.sleep(3600)
    if how == "stillborn":
        sys.exit("no model here")
    interpreter = Interpreter(how)
    handlers = {"speak": _speak, "child": _child, "push": interpreter.push, "flush": interpreter.flush}
    serve(Channel(), READY, handlers)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
