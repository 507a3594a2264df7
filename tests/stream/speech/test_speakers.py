"""The conformance suite of speakers: every one of them passes all of it.

Those whose models are fetched look for them where `visavis models get` puts them.
"""

import asyncio
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.clock import MonotonicClock
from stream.errors import BackEndError, ConfigError
from stream.pipeline import Lane
from stream.speech.espeak import ESPEAK
from stream.speech.host import Failure, Program
from stream.speech.kokoro import kokoro
from stream.speech.piper import piper
from stream.speech.protocol import SpokenChunk
from stream.speech.speak import ProcessSpeaker
from stream.speech.store import models_folder
from tests.stream.speech.conformance import check_chunks, check_phones
from tests.stream.speech.programs import fake_pocket, scripted

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class Candidate:
    """A speaker under test, with a text that makes many chunks.

    Attributes:
        voice: One that is not its default; None where it has only one.
        phone_times: Whether it must have them.
        needs: The model that must have been fetched.
        part_ms: More than it takes for a part of its answer.
    """

    program: Program
    language: str
    text: str
    voice: str | None
    phone_times: bool = True
    needs: str | None = None
    part_ms: int = 1_000


MODELS_FOLDER = models_folder(os.environ)
CANDIDATES = [
    Candidate(scripted(), "en", "abcdefghijklmnopqrstuvwxyz" * 20, "second"),
    Candidate(
        ESPEAK,
        "es",
        "Hola, buenos días. ¿Qué tal? Hoy hablamos de la cara y de la voz, mañana de los labios.",
        "f3",
    ),
    Candidate(fake_pocket(), "es", "Hola, buenos días. " * 40, "anna", phone_times=False),
    Candidate(
        kokoro(MODELS_FOLDER),
        "es",
        "Hola, buenos días a todos los que estáis aquí. Hoy hablamos de la cara y de la voz.",
        "jm_kumo",
        needs="kokoro-82m",
        part_ms=10_000,
    ),
    Candidate(
        piper(MODELS_FOLDER, "piper-joe"),
        "en",
        "Good morning to all of you who are here. We speak of the face and of the voice, and then of the lips, " * 4,
        None,
        needs="piper-joe",
        part_ms=5_000,
    ),
]

Open = Callable[[Program], ProcessSpeaker]


@pytest.fixture(params=CANDIDATES, ids=lambda candidate: candidate.program.name)
def candidate(request: pytest.FixtureRequest) -> Candidate:
    candidate: Candidate = request.param
    if candidate.program.name not in ("scripted", "pocket-tts") and shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed: apt-get install espeak-ng")
    if candidate.needs is not None and not (MODELS_FOLDER / candidate.needs).is_dir():
        pytest.skip(f"{candidate.needs} is not there: visavis models get {candidate.needs}")
    return candidate


@pytest.fixture
def failures() -> list[Failure]:
    return []


@pytest.fixture
def speaker(candidate: Candidate, failures: list[Failure]) -> Iterator[ProcessSpeaker]:
    # Whoever else works on this machine must not make it look hung.
    program = replace(candidate.program, start_ms=60_000, answer_ms=60_000)
    speaker = ProcessSpeaker(program, MonotonicClock(), failures.append)
    yield speaker
    speaker.close()


def _processes(program: Program) -> set[int]:
    """Children of this process that run the program or, having no command line any more, wait to be collected."""
    children = {
        int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
    }
    return {pid for pid in children if _line(pid) in (b"", _line_of(program))}


def _line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _line_of(program: Program) -> bytes:
    return b"".join(part.encode() + b"\0" for part in program.command)


def _process(program: Program) -> int:
    (pid,) = (pid for pid in _processes(program) if _line(pid) == _line_of(program))
    return pid


def test_it_says_what_it_is(speaker: ProcessSpeaker, candidate: Candidate) -> None:
    caps = speaker.caps
    assert candidate.language in caps.languages
    assert candidate.voice is None or candidate.voice in caps.voices
    assert caps.phone_times == candidate.phone_times
    assert caps.quality in ("draft", "good")
    assert caps.licence
    assert isinstance(caps.commercial, bool)


def test_sound_is_gapless_and_the_phones_cover_it(speaker: ProcessSpeaker, candidate: Candidate) -> None:
    chunks = list(speaker.speak(5, candidate.text, candidate.language))
    check_chunks(chunks, 5)
    if candidate.phone_times:
        check_phones(chunks)
    else:
        assert not any(chunk.phones for chunk in chunks)


def test_a_voice_is_that_of_one_clause_alone(speaker: ProcessSpeaker, candidate: Candidate) -> None:
    def spectrum(clause_id: int, voice: str | None) -> NDArray[np.float64]:
        chunks = speaker.speak(clause_id, candidate.text, candidate.language, voice=voice)
        power = np.abs(np.fft.rfft(np.concatenate([chunk.samples for chunk in chunks]), 1 << 18)) ** 2
        return np.log(power[: 1 << 17].reshape(256, -1).mean(axis=1) + 1e-9)

    if candidate.voice is None:
        pytest.skip(f"{candidate.program.name} has only one voice")
    # eSpeak NG flutters its pitch by chance, so the same words never have the same samples.
    first, other, again = spectrum(1, None), spectrum(2, candidate.voice), spectrum(3, None)
    assert abs(first - again).mean() <= abs(first - other).mean() / 3


def test_a_cancelled_clause_gives_no_further_chunk_and_the_next_is_whole(
    speaker: ProcessSpeaker, candidate: Candidate, failures: list[Failure]
) -> None:
    chunks = speaker.speak(1, candidate.text, candidate.language)
    next(chunks)
    canceller = threading.Thread(target=speaker.cancel, args=(1,))
    canceller.start()
    canceller.join()
    assert list(chunks) == []
    whole = list(speaker.speak(2, candidate.text, candidate.language))
    check_chunks(whole, 2)
    assert failures == []


def test_a_session_speaks_on_a_lane_and_cancels_from_its_loop(speaker: ProcessSpeaker, candidate: Candidate) -> None:
    async def scenario() -> tuple[list[SpokenChunk], list[SpokenChunk]]:
        lane = Lane("speak")
        cancelled = speaker.speak(1, candidate.text, candidate.language)
        await lane.run(lambda: next(cancelled))
        speaker.cancel(1)
        rest = await lane.run(lambda: list(cancelled))
        whole = await lane.run(lambda: list(speaker.speak(2, candidate.text, candidate.language)))
        assert await lane.finish(speaker.close, within_s=60)
        return rest, whole

    rest, whole = asyncio.run(scenario())
    assert rest == []
    check_chunks(whole, 2)


def test_a_clause_that_is_left_in_the_middle_does_not_reach_the_next(
    speaker: ProcessSpeaker, candidate: Candidate
) -> None:
    left = speaker.speak(1, candidate.text, candidate.language)
    next(left)
    check_chunks(list(speaker.speak(2, candidate.text, candidate.language)), 2)
    assert list(left) == []


def test_a_crash_in_mid_sentence_costs_that_clause_and_is_counted(
    speaker: ProcessSpeaker, candidate: Candidate, failures: list[Failure]
) -> None:
    chunks = speaker.speak(1, candidate.text, candidate.language)
    given = [next(chunks)]
    os.kill(_process(candidate.program), signal.SIGKILL)
    with pytest.raises(BackEndError, match="crashed: signal SIGKILL"):
        # What was in the pipe already may still come.
        given.extend(chunks)
    check_chunks(given, 1)
    check_chunks(list(speaker.speak(2, candidate.text, candidate.language)), 2)
    assert [(failure.reason, failure.count, failure.restarted) for failure in failures] == [("crashed", 1, True)]
    assert speaker.health().restarts == 1


def test_a_hang_is_survived_and_counted(candidate: Candidate, failures: list[Failure]) -> None:
    program = replace(candidate.program, start_ms=60_000, answer_ms=candidate.part_ms)
    speaker = ProcessSpeaker(program, MonotonicClock(), failures.append)
    assert speaker.caps.name
    os.kill(_process(candidate.program), signal.SIGSTOP)
    with pytest.raises(BackEndError, match="hung"):
        list(speaker.speak(1, candidate.text, candidate.language))
    check_chunks(list(speaker.speak(2, candidate.text, candidate.language)), 2)
    assert [(failure.reason, failure.count) for failure in failures] == [("hung", 1)]
    speaker.close()


def test_closing_leaves_no_process(speaker: ProcessSpeaker, candidate: Candidate) -> None:
    before = _processes(candidate.program)
    chunks = speaker.speak(1, candidate.text, candidate.language)
    next(chunks)
    assert len(_processes(candidate.program)) == len(before) + 1
    speaker.close()
    assert _processes(candidate.program) == before
    with pytest.raises(BackEndError, match="closed"):
        list(speaker.speak(2, candidate.text, candidate.language))


def test_a_language_that_it_does_not_speak_is_refused(speaker: ProcessSpeaker, failures: list[Failure]) -> None:
    with pytest.raises(BackEndError, match="does not speak 'xx'"):
        list(speaker.speak(1, "text", "xx"))
    assert failures == []


def test_a_missing_program_names_its_remedy(candidate: Candidate) -> None:
    program = replace(candidate.program, command=("no-such-program", *candidate.program.command[1:]))
    speaker = ProcessSpeaker(program, MonotonicClock())
    with pytest.raises(ConfigError) as error:
        list(speaker.speak(1, candidate.text, candidate.language))
    assert candidate.program.remedy in str(error.value)
    speaker.close()
