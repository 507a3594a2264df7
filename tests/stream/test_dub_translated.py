"""Dubbing a clip into another language: fitting, ducking, lips, captions and complaints, and the real chain once."""

import asyncio
import itertools
import wave
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.mel import LIPGAN_WINDOW, SILENCE
from stream import dub_commands
from stream.cli import main
from stream.clock import MonotonicClock
from stream.dub import Dub
from stream.dub_job import DubJob
from stream.dub_translated import TranslatedVoice
from stream.errors import BackEndError, ConfigError
from stream.frames import NS_PER_MS, NS_PER_S, AudioChunk
from stream.media import ClipReader, Encoding, SoundReader, decode_sound
from stream.render import RenderOptions
from stream.soundtrack import Ducking
from stream.speech import chain
from stream.speech.back_ends import EMBEDDED
from stream.speech.chain import Chain
from stream.speech.offline import FitConfig, WholeDub, find_turns, fitting_speed, levelled, recognise, speak
from stream.speech.protocol import Caps, Clause, Recognition, SpokenChunk, TranslatedClause, Voice, Word
from tests.stream.clip_maker import SAMPLE, make_clip, make_sound
from tests.stream.fake_faces import FakeFinder
from tests.stream.fake_generator import FakeGenerator

pytestmark = pytest.mark.unit

S, MS = NS_PER_S, NS_PER_MS
CAPS = Caps("scripted", "Apache-2.0", commercial=True, quality="good", languages=("en", "es", "ca"), voices=("low",))


def clause(clause_id: int, start_ms: int, end_ms: int, text: str = "word") -> Clause:
    return Clause(clause_id, "en", (Word(text, start_ms * MS, end_ms * MS),))


class ScriptedRecogniser:
    """Hears one word a turn, as long as the turn, unless it is told to fail in that turn."""

    caps = CAPS

    def __init__(self, fails_in: int | None = None) -> None:
        self._turn = 0
        self._fails_in = fails_in
        self._from_ns: int | None = None
        self.turns = 0

    def push(self, chunk: AudioChunk) -> Sequence[Recognition]:
        self._from_ns = chunk.pts_ns if self._from_ns is None else self._from_ns
        self._until_ns = chunk.end_ns
        return []

    def flush(self) -> Sequence[Recognition]:
        start_ns, self._from_ns = self._from_ns or 0, None
        self.turns += 1
        if self.turns == self._fails_in:
            raise BackEndError("it fell over")
        word = Word(f"turn{self.turns}.", start_ns, self._until_ns)
        return [Recognition(self._until_ns, (word,), language="en", endpoint=True)]

    def close(self) -> None:
        pass


class ScriptedTranslator:
    """Puts the language before the words; "unknown" it does not translate."""

    caps = CAPS
    pairs = frozenset({("en", "es"), ("en", "ca")})

    def translate(self, clause: Clause, language: str) -> TranslatedClause:
        if clause.text == "unknown":
            raise BackEndError("no such word")
        text = f"{language} {clause.text}"
        return TranslatedClause(clause.clause_id, text, language, clause.start_ns, clause.end_ns, "good")

    def cancel(self, clause_id: int) -> None:
        pass

    def close(self) -> None:
        pass


class ScriptedSpeaker:
    """Hums for a given time, whatever the text, with silence before and behind."""

    caps = CAPS

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds = seconds

    def speak(
        self,
        clause_id: int,
        text: str,  # noqa: ARG002 - the signature of a speaker
        language: str,  # noqa: ARG002
        *,
        rate: float = 1.0,  # noqa: ARG002
        voice: Voice | None = None,  # noqa: ARG002
    ) -> Iterator[SpokenChunk]:
        time_s = np.arange(round(self._seconds * 24_000)) / 24_000
        hum = (0.2 * np.sin(2 * np.pi * 150 * time_s)).astype(np.float32)
        quiet = np.zeros(2400, np.float32)
        samples = np.concatenate([quiet, hum, quiet])
        yield SpokenChunk(clause_id, 0, 24_000, samples[:5000])
        yield SpokenChunk(clause_id, 5000 * S // 24_000, 24_000, samples[5000:])

    def cancel(self, clause_id: int) -> None:
        pass

    def close(self) -> None:
        pass


def spoken(clauses: Sequence[Clause], seconds: float = 1.0, end_ms: int = 10_000) -> WholeDub:
    return speak(
        clauses,
        "es",
        ScriptedTranslator(),
        ScriptedSpeaker(seconds),
        window=LIPGAN_WINDOW,
        end_ns=end_ms * MS,
        level=0.1,
    )


def real_speech() -> NDArray[np.float32]:
    return decode_sound(SAMPLE.parent / "voice.wav", "voice", rate_hz=16_000)


# -- fitting -------------------------------------------------------------------------------------------

SPEEDS = [
    pytest.param(0, 2000, 2000, 3000, 1.0, id="as long as its clause"),
    pytest.param(0, 2000, 2400, 3000, 1.0, id="the tail takes a little more"),
    pytest.param(0, 2000, 2400, 2000, 1.2, id="no tail where the next clause follows"),
    pytest.param(0, 2000, 1800, 3000, 0.9, id="a shorter one is slowed down"),
    pytest.param(0, 2000, 500, 3000, 0.85, id="but not more than that"),
    pytest.param(0, 2000, 5000, 8000, 1.3, id="a long one is not hurried where a pause follows"),
    pytest.param(0, 2000, 4200, 2000, 1.4, id="hurried only as far as the next clause needs it"),
    pytest.param(0, 2000, 9000, 2000, 1.5, id="never faster than the cap"),
    pytest.param(2500, 2000, 1000, 9000, 1.3, id="one that begins after its clause has ended makes up for it"),
]


@pytest.mark.parametrize(("start_ms", "end_ms", "duration_ms", "next_ms", "expected"), SPEEDS)
def test_speed_fits_a_dub_to_its_clause(
    start_ms: int, end_ms: int, duration_ms: int, next_ms: int, expected: float
) -> None:
    speed = fitting_speed(
        FitConfig(),
        clause(1, 0, end_ms),
        start_ns=start_ms * MS,
        duration_ns=duration_ms * MS,
        next_ns=next_ms * MS,
    )
    assert speed == pytest.approx(expected, abs=0.001)


def test_a_dub_begins_with_its_clause_or_behind_the_one_before() -> None:
    dub = spoken([clause(1, 1000, 1500), clause(2, 1500, 2500), clause(3, 5000, 6000)])
    starts = [line.start_ns for line in dub.lines]
    assert starts[0] == 1000 * MS
    assert 0 <= starts[1] - dub.lines[0].end_ns < 12.5 * MS
    assert starts[2] == 5000 * MS
    assert [line.text for line in dub.lines] == ["es word"] * 3


def test_isochrony_is_the_share_of_the_dub_within_its_clause_and_half_a_second() -> None:
    assert spoken([clause(1, 1000, 2000)]).isochrony() == 1.0
    late = spoken([clause(1, 1000, 1100)], seconds=3.9)
    assert late.isochrony() == pytest.approx(0.6 / 3.0, rel=0.02)  # at 1.3 times the speed


def test_a_clause_that_fails_is_left_out_and_named() -> None:
    dub = spoken([clause(1, 0, 1000), clause(2, 2000, 3000, "unknown"), clause(3, 4000, 5000)])
    assert [line.clause.clause_id for line in dub.lines] == [1, 3]
    assert dub.failures == ("'unknown' at 2.0 s was not dubbed: no such word",)
    assert not dub.track.speaks(1700 * MS, 3900 * MS)


def test_a_speaker_without_a_sound_fails_the_clause() -> None:
    dub = spoken([clause(1, 0, 1000)], seconds=0.0)
    assert dub.lines == ()
    assert "made no sound" in dub.failures[0]


@pytest.mark.parametrize(("level", "expected"), [(0.1, 0.1), (1e-6, 0.4 / 2**0.5 / 4), (0.9, 0.9 / 2**0.5)])
def test_a_dub_is_as_loud_as_the_speaker_within_limits(level: float, expected: float) -> None:
    hum = (0.4 * np.sin(np.arange(48_000) * 0.02)).astype(np.float32)
    assert np.std(levelled(hum, level)) == pytest.approx(expected, rel=0.01)


# -- hearing -------------------------------------------------------------------------------------------


def test_turns_are_found_where_somebody_speaks() -> None:
    quiet = np.zeros(32_000, np.float32)
    speech = real_speech()
    turns = find_turns(np.concatenate([quiet, speech, quiet]))
    assert 1.5 * S < turns[0][0] < 2.6 * S
    assert turns[-1][1] < 2 * S + len(speech) * S // 16_000 + 0.3 * S
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(turns))
    assert find_turns(np.zeros(48_000, np.float32)) == []


def test_a_turn_that_the_recogniser_fails_on_costs_only_itself() -> None:
    quiet = np.zeros(32_000, np.float32)
    samples = np.concatenate([real_speech(), quiet, real_speech()])
    whole = recognise(samples, "en", ScriptedRecogniser())
    heard = recognise(samples, "en", ScriptedRecogniser(fails_in=1))
    assert (heard.lost, whole.lost) == (1, 0)
    assert [each.text for each in heard.clauses] == [each.text for each in whole.clauses][1:]


# -- sound and lips ------------------------------------------------------------------------------------


def test_the_original_is_ducked_within_spans_with_ramps_and_untouched_elsewhere() -> None:
    ducking = Ducking(0.15, ((1 * S, 2 * S), (2200 * MS, 3 * S)))
    gains = ducking.gains(0, 5 * 48_000)
    at = {ms: float(gains[ms * 48]) for ms in (0, 840, 925, 1000, 1500, 2100, 3000, 3075, 3160, 4900)}
    assert at == pytest.approx(
        {0: 1, 840: 1, 925: 0.575, 1000: 0.15, 1500: 0.15, 2100: 0.15, 3000: 0.15, 3075: 0.575, 3160: 1, 4900: 1},
        abs=0.01,
    )
    pieces = np.concatenate([ducking.gains(first, 1000) for first in range(0, 48_000, 1000)])
    assert np.array_equal(pieces, gains[:48_000])
    assert np.all(Ducking(0.0, ()).gains(0, 10) == 1.0)


def test_lips_are_closed_where_only_the_original_speaks_and_its_own_where_nobody_does() -> None:
    dub = spoken([clause(1, 1000, 3000), clause(2, 6000, 6500)])
    voice = TranslatedVoice(dub)
    assert voice.mel(500 * MS) is None
    assert voice.mel(900 * MS) is not None  # fades in before the dub
    assert voice.mel(1500 * MS).max() > SILENCE  # type: ignore[union-attr]
    assert np.all(voice.mel(2700 * MS) == SILENCE)
    assert voice.mel(4500 * MS) is None
    assert voice.mel(dub.lines[1].end_ns - MS) is not None
    assert voice.mel(dub.lines[1].end_ns + MS) is None


def test_made_lips_fade_out_behind_the_dub_and_the_rest_is_the_clips_own(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", pts=range(50), sound_s=2.0)
    voice = TranslatedVoice(spoken([clause(1, 400, 1000)], seconds=0.6))
    job = DubJob(
        source=source,
        voice=voice,
        output=tmp_path / "out.mkv",
        ducking=Ducking(0.0, voice.spans),
        render=RenderOptions(badge=""),
        encoding=Encoding(quality=0),
    )
    figures = asyncio.run(Dub(job, FakeGenerator(), FakeFinder).run())
    pairs = zip(ClipReader(source).frames(), ClipReader(tmp_path / "out.mkv").frames(), strict=True)
    changed = [n for n, (one, other) in enumerate(pairs) if not np.array_equal(one.planes[2], other.planes[2])]
    # From 150 ms before the clause on, in steps of 40 ms; the dub ends behind picture 25, three more fade out.
    assert (changed[0], changed[-1]) == (7, 28)
    assert (figures.made, figures.passed) == (len(changed), {"no_voice": 50 - len(changed)})
    own, heard = decode_sound(source, "in"), decode_sound(tmp_path / "out.mkv", "out")
    before, after = slice(2400, 9600), slice(57_600, 90_000)
    assert np.std(heard[before]) == pytest.approx(np.std(own[before]), rel=0.1)
    assert np.std(heard[after]) == pytest.approx(np.std(own[after]), rel=0.1)


# -- the command ---------------------------------------------------------------------------------------


class FakeLoaded(FakeGenerator):
    manifest = SimpleNamespace(name="fake", checkpoint=SimpleNamespace(sha256="0" * 64))


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[ScriptedRecogniser]:
    """Everything but the media is scripted; the recognisers that were opened."""
    opened: list[ScriptedRecogniser] = []

    def open_chain(
        _source: str, targets: Sequence[str], _clock: object, _back_ends: object, *, untranslated: bool
    ) -> Chain:
        assert not untranslated
        opened.append(ScriptedRecogniser())
        translators = {target: ScriptedTranslator() for target in targets}
        return Chain(opened[-1], translators, ScriptedSpeaker(), ("a note",), Counter())

    monkeypatch.setattr(dub_commands, "open_chain", open_chain)
    monkeypatch.setattr(dub_commands, "open_generator", lambda *_args, **_options: FakeLoaded())
    monkeypatch.setattr(dub_commands, "open_face_finder", lambda *_args, **_options: FakeFinder())
    return opened


def run(*arguments: object) -> int:
    try:
        return main([str(each) for each in arguments])
    except SystemExit as end:
        return int(end.code or 0)


def test_two_languages_share_one_recognition(
    tmp_path: Path, fakes: list[ScriptedRecogniser], capsys: pytest.CaptureFixture[str]
) -> None:
    out, captions, said = tmp_path / "out.mp4", tmp_path / "c.vtt", tmp_path / "said.srt"
    made = run("dub", SAMPLE, "--to", "es,ca", "-o", out, "--captions", captions, "--source-captions", said)
    printed = capsys.readouterr()
    assert made == 0, printed.err
    assert len(fakes) == 1
    names = {"out.es.mp4", "out.ca.mp4", "c.es.vtt", "c.ca.vtt", "said.srt"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert "ca turn1." in (tmp_path / "c.ca.vtt").read_text()
    assert "turn1." in said.read_text()
    assert "a note" in printed.err
    assert f"es: {fakes[0].turns} of {fakes[0].turns} clauses dubbed" in printed.out
    with_label = ClipReader(tmp_path / "out.es.mp4")
    assert with_label.format.width > 0


def test_an_output_in_wav_is_the_sound_alone(tmp_path: Path, fakes: list[ScriptedRecogniser]) -> None:
    out = tmp_path / "out.wav"
    assert run("dub", SAMPLE, "--to", "es", "-o", out) == 0
    assert len(fakes) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out.wav"]
    reader = SoundReader(SAMPLE)
    length = reader.read_rest().shape[1]
    reader.close()
    with wave.open(str(out)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 48_000)
        assert abs(file.getnframes() - length) < 10


WRONG = [
    (["--to", "es", "--voice", "a.wav"], "not allowed with"),
    ([], "the following arguments are required: --voice or --to"),
    (["--voice", "a.wav", "--captions", "c.vtt"], "--captions goes with --to"),
    (["--voice", "a.wav", "--from", "en"], "--from goes with --to"),
    (["--to", "es", "--mix-original", "-10"], "with --to give --duck"),
    (["--to", "es", "--duck", "2"], "'2' is not a gain, expected 0 to 1"),
    (["--to", "es,"], "'es,' is no list of languages"),
    (["--to", "es,es"], "names a language twice"),
    (["--to", "es", "--captions", "c.txt"], "expected one of .vtt, .srt"),
    (["--to", "es", "--speaker-voice", "lowe"], "has no voice 'lowe': did you mean 'low'?"),
]


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(("arguments", "expected"), WRONG)
def test_wrong_arguments_are_refused_before_any_work(
    tmp_path: Path, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("dub", SAMPLE, *arguments, "-o", tmp_path / "out.mp4") == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("fakes")
def test_a_clip_in_which_nobody_speaks_or_nothing_is_heard_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tone = make_clip(tmp_path / "tone.mp4", sound_s=0.4)
    assert run("dub", tone, "--to", "es", "-o", tmp_path / "out.mp4") == 2
    assert "tone.mp4: nobody speaks in it" in capsys.readouterr().err
    silent = make_clip(tmp_path / "silent.mp4")
    assert run("dub", silent, "--to", "es", "-o", tmp_path / "out.mp4") == 2
    assert "silent.mp4 has no sound" in capsys.readouterr().err
    sound = make_sound(tmp_path / "sound.wav", real_speech(), 16_000)
    assert run("dub", sound, "--to", "es", "-o", tmp_path / "out.mp4") == 2
    assert "sound.wav has no picture" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


def test_outputs_do_not_destroy_inputs_or_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = make_sound(tmp_path / "in.wav", real_speech(), 16_000)
    assert run("dub", sound, "--to", "es", "-o", sound, "--overwrite") == 2
    assert "both an input and an output" in capsys.readouterr().err
    both = tmp_path / "c.vtt"
    options = ["--captions", both, "--source-captions", both]
    assert run("dub", sound, "--to", "es", "-o", tmp_path / "out.wav", *options) == 2
    assert "is to hold two things" in capsys.readouterr().err


LACKS = [
    (
        "en",
        "xx",
        r"scripted has no pair en to xx; installed: en to ca, en to es\. Name one .*apt-cache search apertium",
    ),
    ("en", "en", r"'en' is what is spoken already"),
    ("de", "es", r"no recogniser here hears 'de'\. .*: visavis models get whisper-base"),
]


@pytest.mark.parametrize(("source", "target", "complaint"), LACKS)
def test_a_pair_that_is_missing_is_refused_with_what_is_there(
    monkeypatch: pytest.MonkeyPatch, source: str, target: str, complaint: str
) -> None:
    for name, fake in (("Recogniser", ScriptedRecogniser), ("Translator", ScriptedTranslator)):
        monkeypatch.setattr(chain, f"Process{name}", lambda *_arguments, fake=fake: fake())
    monkeypatch.setattr(chain, "ProcessSpeaker", lambda *_arguments: ScriptedSpeaker())
    with pytest.raises(ConfigError, match=complaint):
        chain.open_chain(source, [target], MonotonicClock(), EMBEDDED, untranslated=False)


# -- the real chain ------------------------------------------------------------------------------------


def test_a_real_recording_is_dubbed_by_the_real_chain(material: Path, tmp_path: Path) -> None:
    out, captions, said = tmp_path / "out.wav", tmp_path / "es.vtt", tmp_path / "en.vtt"
    options = ["--captions", captions, "--source-captions", said]
    assert run("dub", material / "speech" / "jfk.flac", "--to", "es", "-o", out, *options) == 0
    assert "country" in said.read_text()
    assert "puede" in captions.read_text()
    heard = decode_sound(out, "out")
    assert len(heard) == pytest.approx(11 * 48_000, rel=0.01)
