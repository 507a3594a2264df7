"""A back end that does what it is told: speaks given sound, crashes, hangs, talks rubbish, or refuses to start."""

import array
import os
import subprocess
import sys
import time

from stream.speech.wire import Message
from stream.speech.worker import Answer, Channel, Refused, serve

RATE_HZ = 16_000
CHUNK = 800
READY = {
    "name": "scripted",
    "licence": "Apache-2.0",
    "commercial": True,
    "quality": "draft",
    "languages": ["en"],
    "voices": ["second"],
    "phone_times": True,
}


def _speak(message: Message, answer: Answer) -> None:
    """One chunk and one phone for every letter; a word in capitals is an order."""
    text = message.fields["text"]
    if message.fields["language"] != "en":
        raise Refused(f"it does not speak {message.fields['language']!r}")
    for index, letter in enumerate(text.partition(" ")[2] or text):
        if answer.cancelled:
            return
        start = index * CHUNK
        sound = array.array("h", [index + 1] * CHUNK).tobytes()
        answer.send("sound", sound, start=start, rate_hz=RATE_HZ, phones=[[letter, start, start + CHUNK]])
        if index == 1:
            _obey(text.partition(" ")[0])


def _obey(order: str) -> None:
    if order == "CRASH":
        print("it fell over", file=sys.stderr, flush=True)
        os._exit(7)
    if order == "HANG":
        time.sleep(3600)
    if order == "RUBBISH":
        os.write(3, b"\xff" * 64)


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
    serve(Channel(), READY, {"speak": _speak, "child": _child})


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
