"""A folder of compiled networks that vouches for every byte it hands to the runtime.

OpenVINO notices a truncated blob but runs one with a flipped byte: the picture is then quietly wrong. So each blob
has its digest beside it, and one that does not match, or has none, is removed before OpenVINO looks.
"""

import logging
import tempfile
from pathlib import Path

from models.manifest import sha256_of

logger = logging.getLogger(__name__)

_BLOBS = "*.blob"


def usable_folder(folder: Path) -> Path | None:
    """Make the folder ready for a load.

    Returns:
        The folder, holding whole blobs only; None if no file can be made in it, which is said in the log.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        _remove_damaged(folder)
    except OSError as error:
        logger.warning("compiled networks are not kept, every start compiles them: %s (%s)", folder, error.strerror)
        return None
    return folder


def vouch(folder: Path) -> None:
    """Write the digests of new blobs; a blob that cannot be vouched for is compiled again at the next start."""
    blobs = list(folder.glob(_BLOBS))
    if not blobs:
        # OpenVINO says nothing when the disk is full.
        logger.warning("a compiled network was not kept: %s has no room for it", folder)
    try:
        for blob in blobs:
            if not _digest(blob).exists():
                partial = blob.with_suffix(".tmp")
                partial.write_text(sha256_of(blob))
                partial.replace(_digest(blob))
    except OSError as error:
        logger.warning("a compiled network was not kept: %s (%s)", folder, error.strerror)


def _remove_damaged(folder: Path) -> None:
    for blob in folder.glob(_BLOBS):
        digest = _digest(blob)
        if not digest.exists() or digest.read_text() != sha256_of(blob):
            logger.info("%s is damaged or unfinished; it is compiled again", blob)
            blob.unlink(missing_ok=True)
            digest.unlink(missing_ok=True)


def _digest(blob: Path) -> Path:
    return blob.with_suffix(".sha256")
