"""Checkpoints of other projects that can be imported: what each was trained on, and on which terms it is published.

Nothing here needs torch, so that the command line can name the formats without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kernels.mel import MelWindow

WAV2LIP_WINDOW = MelWindow(16, 11)
"""The 200 ms with which Wav2Lip is trained: from 40 ms before the picture to 160 ms after it.

`crop_audio_window` in `wav2lip_train.py` begins at column floor(80 (k - 1) / 25) for picture k, on the mean 3.6 columns
before it; 4 here, 5 ms earlier. `inference.py` begins at the picture itself, 40 ms late: there the lips lead.
"""

LIPGAN_TRAINED_WINDOW = MelWindow(27, 0)
"""The 337 ms with which LipGAN's mel branch is trained: all of it before the picture.

Branch `fully_pythonic`: `preprocess.py` stores picture k as number k - 4, `get_audio_segment` in `train.py` goes back
four more and begins at column floor(80 (k - 8) / 25): on the mean 26 columns before the picture, as here.
`batch_inference.py` begins at the picture itself, so that its lips lead by eight pictures.
"""

_LIPGAN_TERMS = "published LipGAN weights: no terms are stated for them (the code's is MIT); LRS2 is for research only"
_LRS2 = "LRS2 (BBC): research only"


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of published checkpoint.

    Attributes:
        title: What people call it.
        window: Mel columns that a picture was trained with.
        terms: On which terms the published weights stand.
        material: What they were trained on.
        trained_crop: What of a face they were trained to see; serving shows them its own crop instead.
    """

    title: str
    window: MelWindow
    terms: str
    material: str
    trained_crop: str


FORMATS: Mapping[str, Format] = {
    "wav2lip": Format(
        "Wav2Lip",
        WAV2LIP_WINDOW,
        "published Wav2Lip weights: personal and research use only, no commercial use",
        _LRS2,
        "the S3FD detector's box, stretched to a square",
    ),
    "lipgan": Format(
        "LipGAN, basic, mel",
        LIPGAN_TRAINED_WINDOW,
        _LIPGAN_TERMS,
        _LRS2,
        "the box of dlib's frontal detector, stretched to a square",
    ),
    "lipgan-residual": Format(
        "LipGAN, residual, mel",
        LIPGAN_TRAINED_WINDOW,
        _LIPGAN_TERMS,
        _LRS2,
        "the box of dlib's frontal detector, stretched to a square",
    ),
}
"""By the name that `visavis engines import --as` takes."""
