"""Clips on a card: the same pictures as the processor's, whatever fails and wherever; files whole or not at all."""

from pathlib import Path

import av
import numpy as np
import pytest

from stream.errors import ConfigError, MediaError
from stream.media import ClipReader, ClipWriter
from stream.media.codec_device import CPU, Codecs
from tests.stream.card_stand_in import Card
from tests.stream.clip_maker import make_clip
from tests.stream.test_cli import complaint
from tests.stream.test_cli import run as visavis
from tests.stream.test_dub import dub, voice_file

pytestmark = pytest.mark.unit


def same_pictures(reader: ClipReader, source: Path) -> bool:
    """Whether times and planes are the processor's, bit for bit."""
    ours, plain = list(reader.frames()), list(ClipReader(source).frames())
    return len(ours) == len(plain) and all(
        a.pts_ns == b.pts_ns and all(np.array_equal(x, y) for x, y in zip(a.planes, b.planes, strict=True))
        for a, b in zip(ours, plain, strict=True)
    )


def copy(source: Path, output: Path, codecs: Codecs) -> ClipWriter:
    reader = ClipReader(source)
    with ClipWriter(output, reader.format, channels=1, tags={}, label="synthetic=test", codecs=codecs) as writer:
        for frame in reader.frames():
            writer.write_picture(frame)
        writer.finish()
    return writer


def test_a_clip_on_the_card_is_bit_for_bit_the_processors(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", colour={"colorspace": 1, "color_range": 1})
    reader = ClipReader(source, Card().codecs())
    assert reader.format == ClipReader(source).format
    assert same_pictures(reader, source)
    assert (reader.on_card, reader.side, reader.fallbacks, reader.damaged) == (10, "nvidia", 0, 0)


def test_a_turned_clip_on_the_card_is_upright_too(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", rotation=90)
    reader = ClipReader(source, Card().codecs())
    assert (reader.format.width, reader.format.height) == (48, 64)
    assert same_pictures(reader, source)


@pytest.mark.parametrize("packet", [0, 1, 5, 10])
def test_a_card_that_fails_in_a_clip_costs_no_picture(tmp_path: Path, packet: int) -> None:
    """Packet 0 is the last one that the clip's format takes; how many those are depends on FFmpeg's threads."""
    source = make_clip(tmp_path / "in.mp4")
    looked = Card()
    ClipReader(source, looked.codecs())
    reader = ClipReader(source, Card(fails_at={"r": looked.calls["r"] + packet}).codecs())
    assert same_pictures(reader, source)
    assert (reader.side, reader.fallbacks, reader.damaged) == ("cpu", 1, 0)


def test_a_card_that_does_not_open_a_clip_leaves_it_to_the_processor(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4")
    reader = ClipReader(source, Card(refuses=("file",)).codecs())
    assert same_pictures(reader, source)
    assert (reader.side, reader.fallbacks, reader.on_card) == ("cpu", 1, 0)


def test_a_file_that_is_no_clip_is_refused_in_the_same_words_with_a_card(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    source.write_text("no clip")
    told = []
    for codecs in (CPU, Card().codecs()):
        with pytest.raises(MediaError) as raised:
            ClipReader(source, codecs)
        told.append(str(raised.value))
    assert told[0] == told[1]


def test_what_the_card_does_not_know_is_the_processors_and_counted_so(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", pix_fmt="yuv422p")
    reader = ClipReader(source, Card().codecs())
    assert same_pictures(reader, source)
    assert (reader.on_card, reader.side) == (0, "nvidia")


def test_an_encoder_that_refuses_a_clips_size_leaves_it_to_the_processor(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4")
    writer = copy(source, tmp_path / "out.mp4", Card(refuses=("h264_nvenc",)).codecs())
    assert writer.encoder == "libx264"
    assert writer.note.startswith("NVENC cannot encode out.mp4, 64x48 (")
    assert len(list(ClipReader(tmp_path / "out.mp4").frames())) == 10


def test_an_odd_clip_is_written_by_the_processor_and_said(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", width=65, codec="ffv1")
    writer = copy(source, tmp_path / "out.mp4", Card().codecs())
    assert writer.encoder == "libvpx-vp9"
    assert "odd" in writer.note


@pytest.mark.parametrize("width", [64, 65])
def test_the_card_alone_refuses_a_clip_that_it_cannot_encode(tmp_path: Path, width: int) -> None:
    source = make_clip(tmp_path / "in.mkv", width=width, codec="ffv1")
    with pytest.raises(ConfigError, match="Give --codecs auto or --codecs cpu"):
        copy(source, tmp_path / "out.mp4", Card(refuses=("h264_nvenc",)).codecs(strict=True))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_an_encoder_that_fails_in_the_file_leaves_none_and_names_the_remedy(tmp_path: Path) -> None:
    """The trial passes; the encoder of the file itself is the installed FFmpeg's, whose card is not here."""
    source = make_clip(tmp_path / "in.mp4")
    with pytest.raises(MediaError, match=r"by NVENC.*--codecs cpu"):
        copy(source, tmp_path / "out.mp4", _without_a_card())
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def _without_a_card() -> Codecs:
    """A card number that no machine has."""
    return Codecs(encode="nvidia", card=4096, open=Card().open)


def test_a_dub_counts_who_decoded_and_says_who_did_not_encode(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", sound_s=0.4)
    codecs = Card(refuses=("h264_nvenc",)).codecs()
    figures = dub(source, voice_file(tmp_path), tmp_path / "out.mp4", codecs=codecs)
    assert (figures.on_card, figures.pictures, figures.encoder) == (10, 10, "libx264")
    assert [each for each in figures.warnings if "NVENC" in each] == list(figures.warnings)


def test_a_dub_whose_card_fails_is_whole_and_says_so(tmp_path: Path) -> None:
    """FFmpeg's threads hold up to 16 packets before the first picture, so it fails 30 packets after the first look."""
    source = make_clip(tmp_path / "in.mp4", pts=range(40), sound_s=1.6)
    looked = Card()
    ClipReader(source, looked.codecs())
    card = Card(fails_at={"r": looked.calls["r"] + 30}, refuses=("h264_nvenc",))
    figures = dub(source, voice_file(tmp_path, 1.6), tmp_path / "out.mp4", codecs=card.codecs())
    assert figures.pictures == 40
    assert 0 < figures.on_card < 30
    assert f"the processor decoded {40 - figures.on_card} of 40 pictures, NVDEC the others" in figures.warnings
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(list(container.decode(video=0))) == 40


def test_the_command_refuses_a_card_that_is_not_there_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.media.codec_device._DRIVER", "libno-such-driver.so.1")
    source = make_clip(tmp_path / "in.mp4")
    arguments = ["--voice", voice_file(tmp_path), "-o", tmp_path / "out.mp4"]
    assert visavis("dub", source, *arguments, "--codecs", "nvidia") == 2
    assert "there is no NVIDIA driver" in complaint(capsys)
    assert not (tmp_path / "out.mp4").exists()


def test_the_command_that_finds_out_says_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "visavis.toml"
    monkeypatch.setattr("stream.media.codec_device._DRIVER", "libno-such-driver.so.1")
    config.write_text('[codecs]\ndevice = "auto"\n')
    assert visavis("dub", tmp_path / "in.mp4", "--voice", "v.wav", "-o", tmp_path / "o.mp4", "--config", config) == 2
    assert "visavis: pictures are decoded by the processor" in capsys.readouterr().err
