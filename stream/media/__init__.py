"""Media files, read and written frame by frame: with `stream/transport` the only code here that imports av.

Ticks of a `time_base` end at this door; behind it times are integer
nanoseconds after the first instant of the file.
"""

from stream.media.clip import ClipFormat, ClipReader
from stream.media.sound import SoundReader, decode_sound, resample
from stream.media.survey import Survey, picture_times_ns, survey
from stream.media.writer import ClipWriter, Encoding

__all__ = [
    "ClipFormat",
    "ClipReader",
    "ClipWriter",
    "Encoding",
    "SoundReader",
    "Survey",
    "decode_sound",
    "picture_times_ns",
    "resample",
    "survey",
]
