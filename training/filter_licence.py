"""What a filter's manifest says about the terms of its weights and of what they were trained on."""

from __future__ import annotations

from models.manifest import Licence

AS_ITS_DATA = "as its data"
SEE_THE_FOLDER = "see the folder that it was trained on"


def licence_of(weights: str, data: str) -> Licence:
    """From `[served]` of a config.

    Args:
        weights: Licence of the weights.
        data: Kinds of material with their licences, a semicolon between two.
    """
    return Licence(weights, tuple(each.strip() for each in data.split(";") if each.strip()))
