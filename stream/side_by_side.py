"""The original and the dubbed picture next to each other, with the dubbed sound."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from stream.frames import NS_PER_S, Planes, VideoFrame
from stream.media import ClipReader, ClipWriter, Encoding, SoundReader, survey


def write_side_by_side(left: Path, right: Path, output: Path, encoding: Encoding) -> None:
    """Join two clips of the same size and pts; the sound and the metadata are those of the right one.

    Raises:
        MediaError: One of them cannot be read, or the output cannot be written.
    """
    found, reader = survey(right), ClipReader(right)
    both = replace(reader.format, width=2 * reader.format.width)
    sound, heard_ns = SoundReader(right, channels=1), 0
    label = found.metadata.get("comment", "synthetic")
    tags = {key: value for key, value in found.metadata.items() if key != "comment"}
    with ClipWriter(output, both, channels=1, tags=tags, label=label, encoding=encoding) as writer:
        for a, b in zip(ClipReader(left).frames(), reader.frames(), strict=False):
            writer.write_picture(VideoFrame(b.pts_ns, 0, b.format, _joined(a.planes, b.planes), b.colour))
            writer.write_sound(sound.read(_samples(b.pts_ns) - _samples(heard_ns)))
            heard_ns = b.pts_ns
        writer.write_sound(sound.read(max(0, _samples(found.pictures_ns) - _samples(heard_ns))))
        writer.finish()
    sound.close()


def _samples(pts_ns: int) -> int:
    return round(pts_ns * 48_000 / NS_PER_S)


def _joined(left: Planes, right: Planes) -> Planes:
    y, u, v = (np.hstack(pair) for pair in zip(left, right, strict=True))
    return y, u, v
