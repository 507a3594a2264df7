"""What the configs of networks have in common: they come from a file's header."""

from collections.abc import Mapping
from typing import Any


def known_fields(kind: type[Any], values: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """Fields for a dataclass.

    Args:
        kind: The dataclass.
        values: From a header.
        what: Whose they are, for the message.

    Raises:
        ValueError: A field is unknown.
    """
    if unknown := values.keys() - kind.__dataclass_fields__.keys():
        raise ValueError(f"unknown fields {sorted(unknown)} for {what}")
    return values
