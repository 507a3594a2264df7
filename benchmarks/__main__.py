"""`python -m benchmarks run NAME ...`: every measurement by one command."""

import importlib
import sys

NAMES = {
    "kernels": "pixels and sound around the networks, per operation",
    "engines": "the generator on every runtime and precision",
    "filters": "image filters: milliseconds per picture of every network, size and precision",
    "batcher": "many sessions on one engine thread: first come first served against the batcher",
    "gpu": "an NVIDIA card: kernels against their definitions, then kernels, networks and live sessions in time",
    "card_tick": "what the processor does for each face on a card, measured without one",
    "filtering": "live filters on a clip's pictures: cost of each, and a thousand switches between them",
    "faces": "landmarks: MediaPipe's package against its networks on the CPU engine",
    "codecs": "decoding and encoding a call's pictures, by the processor and by a card",
    "transport": "glass to glass through Chromium, ours against stock aiortc",
    "pipeline": "re-voice through WebRTC at a fixed offered rate",
    "dub": "speed of file mode on a clip",
    "dub_lips": "signed A/V offset between the lips of a dub and its sound, with controls",
    "dubbing": "live dubbing: lag, drift, isochrony and cost of the chain",
    "speech": "word error rate, commit lag, BLEU and chrF of the speech back ends",
    "resync": "dubbed clips before and after their lips are made again",
    "round_trip": "what a machine listener understands of a dub: BLEU and chrF",
    "av_offset": "signed A/V offset on clips whose truth is known",
    "soak": "connect and disconnect; memory, threads and tasks",
}


def main(argv: list[str]) -> int:
    """Run one benchmark; its own options follow its name."""
    if len(argv) < 2 or argv[0] != "run" or argv[1] not in NAMES:
        print("usage: python -m benchmarks run NAME [options]\n")
        print("\n".join(f"  {name:10} {what}" for name, what in NAMES.items()))
        return 0 if argv in ([], ["-h"], ["--help"]) else 2
    module = importlib.import_module(f"benchmarks.{argv[1]}")
    return int(module.main(argv[2:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
