"""How a wish for a filter is read from a request: strictly, with the remedy in each refusal."""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from stream.errors import ConfigError
from stream.filters import AREAS, ORDERS, Area, Chosen, Filter, FilterShelf, Order, lay
from stream.http_errors import Refusal

FILTER_FIELDS = ("filter", "filter_strength", "filter_wipe", "filter_order", "filter_region")

T = TypeVar("T", bound=str)


def read_filter_wish(
    fields: Mapping[str, Any], before: Chosen | None, shelf: FilterShelf, order: Order = "after"
) -> Chosen | None:
    """Read a wish from a query or a JSON object; what is not named stays as before.

    Args:
        fields: Those of the request; `filter` is "" for none.
        before: What is chosen now.
        shelf: What there is.
        order: Where neither the wish nor what is chosen says.

    Returns:
        What to choose; None for no filter.

    Raises:
        Refusal: 400, there is no such filter, or a value does not fit.
    """
    name = fields.get("filter", "" if before is None else before.name)
    if name == "" or name is None:
        if extra := [field for field in FILTER_FIELDS[1:] if field in fields and "filter" not in fields]:
            raise Refusal(400, f"{extra[0]} needs a filter: send filter with it, known ones are at /api/options")
        return None
    if not isinstance(name, str):
        raise Refusal(400, f"filter is {json.dumps(name)}, it must be a name, or an empty text for none")
    try:
        found = shelf.find(name)
    except ConfigError as error:
        raise Refusal(400, f"filter is {json.dumps(name)}: {error}") from error
    # Another filter keeps how the one before was laid on, but not on what it was made for; one that hides who is there
    # keeps nothing of it.
    kept = before if before is not None and (before.filter is found or not _hides(found)) else None
    area = found.manifest.region if kept is None or kept.filter is not found else kept.area
    try:
        return lay(
            found,
            strength=_share(fields, "filter_strength", 1.0 if kept is None else kept.strength),
            wipe=_share(fields, "filter_wipe", 0.0 if kept is None else kept.wipe),
            order=_one_of(fields, "filter_order", ORDERS, None if kept is None else kept.order),
            area=_one_of(fields, "filter_region", AREAS, cast("Area", area)),
            usual=order,
        )
    except ValueError as error:
        raise Refusal(400, f"filter is {json.dumps(name)}: {error}") from None


def _hides(found: Filter) -> bool:
    return found.manifest.region == "portrait"


def _share(fields: Mapping[str, Any], field: str, before: float) -> float:
    value = fields.get(field, before)
    try:
        share = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        share = math.nan
    if not 0.0 <= share <= 1.0:
        raise Refusal(400, f"{field} is {json.dumps(value)}, it must be a number from 0 to 1")
    return share


def _one_of(fields: Mapping[str, Any], field: str, known: tuple[T, ...], before: T | None) -> T | None:
    value = fields.get(field, before)
    if value is None and field not in fields:
        return None
    for each in known:
        if value == each:
            return each
    raise Refusal(400, f"{field} is {json.dumps(value)}, it must be {' or '.join(known)}")
