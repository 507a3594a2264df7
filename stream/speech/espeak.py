"""eSpeak NG as a speaker: more than a hundred languages, robotic, the first sound within milliseconds.

It is under the GPL, so it runs in a process of its own and is never loaded into this one.
"""

import sys

from stream.speech.host import Program

ESPEAK = Program(
    name="espeak-ng",
    command=(sys.executable, "-m", "stream.speech.espeak_worker"),
    remedy="Install it, on Debian: apt-get install espeak-ng",
)
"""Run it with `ProcessSpeaker`."""
