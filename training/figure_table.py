"""Figures with intervals as a table in Markdown: a row for each method, a column for each figure."""

from __future__ import annotations

from collections.abc import Mapping

from training.intervals import Interval


def figure_table(rows: Mapping[str, Mapping[str, Interval]]) -> list[str]:
    """Lines of a table; a figure that a row does not have is left empty."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [["", *columns], ["---"] * (1 + len(columns))]
    lines += [[name, *(_cell(row.get(column)) for column in columns)] for name, row in rows.items()]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(figure: Interval | None) -> str:
    if figure is None:
        return ""
    return "{:.4f} ({:.4f} to {:.4f})".format(*figure)
