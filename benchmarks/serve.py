"""Start a server to be measured: ours or stock aiortc's, with audio packets thrown away where asked.

`python -m benchmarks.serve visavis|stock --port N [--drop-audio 0.05] [--config FILE]`.
"""

import argparse
import dataclasses
import os
import random
import sys
from pathlib import Path
from typing import Any

from aiortc.rtcdtlstransport import RtpRouter

from benchmarks import stock
from stream.config import load_config

_OPUS_PAYLOAD_TYPE = 111  # Chromium's, and aiortc's


def drop_audio(share: float, seed: int = 1) -> None:
    """Throw away this share of the incoming Opus packets, from now on, in this process.

    They are lost between the network and the receiver, so jitter buffer,
    concealment and reports see what they would see on a lossy line.
    """
    generator = random.Random(seed)
    route = RtpRouter.route_rtp

    def lossy(router: RtpRouter, packet: Any) -> Any:  # noqa: ANN401 - untyped aiortc
        if packet.payload_type == _OPUS_PAYLOAD_TYPE and generator.random() < share:
            return None
        return route(router, packet)

    RtpRouter.route_rtp = lossy


def command(kind: str, *, drop_share: float = 0.0, config: Path | None = None) -> list[str]:
    """The command line that starts such a server; "{port}" is to be replaced."""
    line = [sys.executable, "-m", "benchmarks.serve", kind, "--port", "{port}"]
    if drop_share:
        line += ["--drop-audio", str(drop_share)]
    if config is not None:
        line += ["--config", str(config)]
    return line


def main(argv: list[str]) -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("kind", choices=["visavis", "stock"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--drop-audio", type=float, default=0.0, metavar="SHARE")
    parser.add_argument("--config", type=Path)
    asked = parser.parse_args(argv)
    if asked.drop_audio:
        drop_audio(asked.drop_audio)
    if asked.kind == "stock":
        return stock.serve(asked.port)
    from stream.server import serve
    from stream.speech.store import models_folder

    config = load_config(asked.config)
    config = dataclasses.replace(config, server=dataclasses.replace(config.server, port=asked.port))
    serve(config, models_folder(os.environ))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
