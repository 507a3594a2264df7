"""What a listener asked for: which languages, and how the picture goes with the dub."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class DubWish:
    """What a listener asked for.

    Attributes:
        source: BCP 47 tag of what is spoken, or "auto".
        target: BCP 47 tag of what is to be heard.
        video: "live" shows the picture now and moves its lips to the dub that is heard; "together" holds the picture
            back until its dub is heard, so that gestures match.
        voice: A voice of the speaker; its own for the language when None.
        duck: Gain of the original under the dub, 0 to 1; 0 leaves it out.
    """

    source: str
    target: str
    video: Literal["live", "together"] = "live"
    voice: str | None = None
    duck: float = 0.15
