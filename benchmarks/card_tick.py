"""What one core does for each face of a tick on a card, measured without one: Python, copies, and what copies take.

The card is one that computes nothing (`benchmarks.on_card.idle`), so what it says of the card's own time is nothing.
Each number of faces is measured with pictures in memory and with such that stay on the card.
"""

import argparse
from pathlib import Path

from benchmarks.engines import Network
from benchmarks.harness import RESULTS, write_result
from benchmarks.on_card import live
from benchmarks.on_card.idle import IdleCard, IdleNetwork
from models.card_engine import CardEngine


def main(argv: list[str]) -> int:
    """Measure, print and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run card_tick", description=__doc__)
    parser.add_argument("--faces", type=int, nargs="*", default=[1, 8, 64])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--dry", action="store_true", help="write no file")
    asked = parser.parse_args(argv)
    manifest = Network("lipgan_lite").manifest()
    engine = CardEngine(IdleNetwork(manifest), IdleCard())
    rows = [
        row
        for stay in (False, True)
        for row in live.ticks(engine, manifest, faces=asked.faces, repeats=asked.repeats, stay=stay)
    ]
    for row in rows:
        figures = "  ".join(f"{name} {row[name]['p50']:.1f}/{row[name]['p95']:.1f}" for name in _SHOWN)
        where = "on the card" if row["stays_on_card"] else "in memory"
        print(
            f"{row['faces']:3} faces {where}, us each, p50/p95: {figures}  floor of copies {row['copy_floor_us']:.1f}"
        )
    if not asked.dry:
        print(write_result("card_tick", {"network": "lipgan_lite", "ticks": rows}, asked.results))
    engine.close()
    return 0


_SHOWN = ("python_us", "copies_us", "rest_us")
