"""The program that translates with Apertium: it starts a pair's programs, once, and keeps their pipeline open.

Every stage is told to flush at a zero byte (`-z`). The pipeline is cut in two before its generator: some rules lose the
blank between two words, and there it can be seen which words these are.
"""

import re
import shlex
import subprocess
from pathlib import Path

from stream.speech.wire import Message
from stream.speech.worker import Answer, Channel, Refused, serve

MODES = Path("/usr/share/apertium/modes")
# ISO 639-3, as pairs are named, to BCP 47.
_SHORT = {
    "eng": "en",
    "spa": "es",
    "cat": "ca",
    "fra": "fr",
    "ita": "it",
    "por": "pt",
    "glg": "gl",
    "oci": "oc",
    "deu": "de",
    "nld": "nl",
    "swe": "sv",
    "dan": "da",
    "nob": "nb",
    "isl": "is",
    "epo": "eo",
    "ron": "ro",
    "eus": "eu",
    "arg": "an",
    "ast": "ast",
    "srd": "sc",
    "pol": "pl",
    "rus": "ru",
    "ukr": "uk",
    "bel": "be",
}
_SPECIAL = re.compile(r"[\^$@/\\\[\]{}<>]")
# One behind a backslash is the text's own.
_MARKS = re.compile(r"(?<![\w\\])[*#@](?=\w)|(?<=\s)[*#@](?=\S)")
# A lexical unit, and one right behind it that begins with a letter or a digit.
_LOST_BLANK = re.compile(r"(\^[\w*@#][^$^]*\$)(?=\^[\w*@#])")
_END = "[]"


def installed(folder: Path = MODES) -> dict[tuple[str, str], Path]:
    """The mode file of every pair, by languages; the plain one where a language has variants."""
    pairs: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.glob("*.mode")):
        names = path.stem.split("-")
        if len(names) == 2 and all(name in _SHORT or (len(name) == 2 and name.isalpha()) for name in names):
            source, target = (_SHORT.get(name, name) for name in names)
            pairs[source, target] = path
    return pairs


def stages(mode: str) -> list[list[str]]:
    """The programs of a mode file with their arguments, each one told to flush at a zero byte."""
    commands = []
    for stage in mode.strip().split("|"):
        # $1 says how the generator shows what it cannot generate, $2 what the tagger shows: both plainly.
        words = [word for word in shlex.split(stage.replace("$1", "-g").replace("$2", "")) if word]
        commands.append([words[0], "-z", *words[1:]])
    return commands


def escape(text: str) -> str:
    """The text with the characters of Apertium's stream format escaped; zero bytes and line ends become blanks."""
    return _SPECIAL.sub(r"\\\g<0>", re.sub(r"[\0\r\n]+", " ", text))


def unescape(text: str) -> str:
    """What a listener reads: without escapes, and without the marks of unknown words."""
    plain = re.sub(r"\\(.)", r"\1", _MARKS.sub("", text.replace(_END, "")))
    return re.sub(r"\s+", " ", plain).strip()


def respaced(stream: str) -> str:
    """Give back the blanks that rules lost between two words; punctuation stays where it is."""
    return _LOST_BLANK.sub(r"\1 ", stream)


class Pipeline:
    """Programs in a row, kept open.

    Raises:
        OSError: One of them is not installed.
    """

    def __init__(self, commands: list[list[str]]) -> None:
        self._programs: list[subprocess.Popen[bytes]] = []
        for command in commands:
            before = self._programs[-1].stdout if self._programs else subprocess.PIPE
            self._programs.append(subprocess.Popen(command, stdin=before, stdout=subprocess.PIPE))
            if self._programs[:-1]:
                assert self._programs[-2].stdout is not None
                self._programs[-2].stdout.close()

    def through(self, text: str) -> str:
        """What comes out for `text`.

        Raises:
            OSError: A program has ended.
        """
        first, last = self._programs[0].stdin, self._programs[-1].stdout
        assert first is not None
        assert last is not None
        first.write(text.encode() + b"\0")
        first.flush()
        out = bytearray()
        while (byte := last.read(1)) != b"\0":
            if not byte:
                raise OSError("a program of the pipeline has ended")
            out += byte
        return out.decode(errors="replace")


class Pair:
    """One direction.

    Args:
        mode: Its mode file.
    """

    def __init__(self, mode: Path) -> None:
        commands = stages(mode.read_text())
        cut = next(index for index, words in enumerate(commands) if any("autogen" in word for word in words))
        self._analysis, self._generation = Pipeline(commands[:cut]), Pipeline(commands[cut:])

    def translate(self, text: str) -> str:
        """Translate a clause."""
        analysed = self._analysis.through(escape(text) + _END)
        return unescape(self._generation.through(respaced(analysed)))


class Apertium:
    """Answers requests.

    Args:
        modes: Mode files by pair.
    """

    def __init__(self, modes: dict[tuple[str, str], Path]) -> None:
        self._modes = modes
        self._pairs: dict[tuple[str, str], Pair] = {}

    def translate(self, message: Message, answer: Answer) -> None:
        """Translate one clause; the pair's programs start with its first one."""
        pair = (message.fields["source"], message.fields["target"])
        if pair not in self._modes:
            known = ", ".join(f"{source} to {target}" for source, target in sorted(self._modes))
            raise Refused(f"{pair[0]} to {pair[1]} is not installed; there are {known}")
        if pair not in self._pairs:
            self._pairs[pair] = Pair(self._modes[pair])
        text = message.fields["text"]
        answer.send("translated", text=self._pairs[pair].translate(text) if text.strip() else "")


def main() -> None:
    """Translate until the pipe is closed."""
    channel = Channel()
    modes = installed()
    if not modes:
        channel.send({"kind": "missing", "what": f"no pair is installed in {MODES}"})
        return
    ready = {
        "name": "apertium",
        "licence": "GPL-3.0-or-later",
        "commercial": True,
        "quality": "draft",
        "languages": sorted({language for pair in modes for language in pair}),
        "pairs": sorted(modes),
    }
    serve(channel, ready, {"translate": Apertium(modes).translate})


if __name__ == "__main__":
    main()
