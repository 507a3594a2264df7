"""`python -m training COMMAND`: the offline side, one command per step."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from training.config import ConfigError
from training.console import say
from training.data.clips import MaterialError
from training.filter_commands import add_filter_commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors that the operator can mend end in one line and exit code 2."""
    parsed = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = parsed.command
    try:
        command(parsed)
    except _mendable() as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _mendable() -> tuple[type[Exception], ...]:
    from models.engine import EngineError
    from models.gate import ExportError

    return ConfigError, MaterialError, ExportError, EngineError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_prepare(commands.add_parser("prepare", help="clips and portraits to a cache of crops and mel"))
    _add_heads(commands.add_parser("heads", help="add synthetic talking heads to a cache"))
    _add_lipgan(commands.add_parser("lipgan", help="train a generator from a cache"))
    _add_ear(commands.add_parser("ear", help="teach a recogniser's first layers to hear for a generator"))
    _add_distil(commands.add_parser("distil", help="train a small generator from a larger one"))
    add_filter_commands(commands)
    _add_lookahead(
        commands.add_parser("lookahead", help="measure what sound after the picture is worth to drawn mouths")
    )
    _add_expert(commands.add_parser("expert", help="train the sync expert from a cache"))
    _add_expert_curve(commands.add_parser("expert-curve", help="freeze a sync expert and measure its shift curve"))
    _add_evaluate(commands.add_parser("evaluate", help="measure a generator on held-back clips"))
    _add_identity(commands.add_parser("identity", help="train the network that evaluate tells persons apart with"))
    _add_sheet(commands.add_parser("sheet", help="a contact sheet by phone: real, generator, baseline"))
    _add_export(commands.add_parser("export", help="turn a checkpoint into gated engines"))
    return parser


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--material", type=Path, required=True, help="folder that configs/clips.toml is relative to")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument(
        "--recordings",
        metavar="FOLDER[:LANGUAGE[:WEIGHT]]",
        action="append",
        default=[],
        help="folder of speech with a metadata.csv, its language as espeak-ng calls it (default: en)",
    )
    parser.add_argument("--crop-px", type=int, default=96, help="side of the crops, as the network takes them")
    parser.set_defaults(command=_prepare)


def _prepare(parsed: argparse.Namespace) -> None:
    from models.landmarks import LandmarkNetworks
    from training.data.faces import FaceFollower
    from training.data.prepare import prepare
    from training.data.speech import further_recordings

    networks = LandmarkNetworks(threads=2, blendshapes=True)
    recordings = [further_recordings(each) for each in parsed.recordings]
    prepare(parsed.material, parsed.cache, lambda: FaceFollower(networks), say, recordings, parsed.crop_px)


def _add_heads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--material", type=Path, required=True, help="folder with the portraits and the mesh")
    parser.add_argument("--cache", type=Path, required=True, help="written by prepare; its speech is what heads say")
    parser.add_argument("--count", type=int, default=1000, help="clips of 50 frames")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first; several cores take several stretches"
    )
    parser.add_argument("--crop-px", type=int, default=96, help="side of the crops, as the network takes them")
    parser.set_defaults(command=_heads)


def _heads(parsed: argparse.Namespace) -> None:
    from models.landmarks import LandmarkNetworks
    from training.data.faces import FaceFollower
    from training.data.head_clips import prepare_heads

    # Mesa's threads wait for each other where every core has work.
    os.environ.setdefault("LP_NUM_THREADS", "1")
    networks = LandmarkNetworks(threads=1)
    clips = range(parsed.first, parsed.first + parsed.count)
    prepare_heads(
        parsed.material, parsed.cache, lambda: FaceFollower(networks), say, clips=clips, crop_px=parsed.crop_px
    )


def _add_lipgan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default="lipgan", help="name in training/configs or path of a .toml")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder for log, checkpoints and contact sheets")
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    parser.add_argument("--start", type=Path, help="generator.safetensors that a new run begins with")
    parser.add_argument("--ear", type=Path, help="checkpoint.pt of `ear` whose ear a new run begins with")
    parser.add_argument("--devices", type=int, default=1, help="processes, one a GPU; they share each batch")
    parser.add_argument("--accelerator", choices=["auto", "cuda", "cpu"], default="auto")
    parser.set_defaults(command=_lipgan)


def _lipgan(parsed: argparse.Namespace) -> None:
    from training.config import load_config
    from training.lipgan import train
    from training.loop import launched

    config = load_config(parsed.config)
    fabric = launched(bf16=config.run.bf16, devices=parsed.devices, accelerator=parsed.accelerator)
    checkpoint = train(
        config, parsed.cache, parsed.run, resume=parsed.resume, start=parsed.start, ear=parsed.ear, fabric=fabric
    )
    if fabric.is_global_zero:
        say(f"wrote {checkpoint}")


def _add_ear(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default="ear", help="name in training/configs or path of a .toml")
    parser.add_argument("--cache", type=Path, required=True, help="written by prepare, with recordings")
    parser.add_argument("--recogniser", type=Path, required=True, help="folder of a faster-whisper tiny or tiny.en")
    parser.add_argument("--like", type=Path, help="generator.safetensors whose sound embedding is to be taken over")
    parser.add_argument("--run", type=Path, required=True, help="folder for log and checkpoint")
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    parser.set_defaults(command=_ear)


def _ear(parsed: argparse.Namespace) -> None:
    from training.config import read_config
    from training.ear import EarConfig, train_ear

    config = read_config(EarConfig, parsed.config)
    checkpoint = train_ear(config, parsed.cache, parsed.recogniser, parsed.run, like=parsed.like, resume=parsed.resume)
    say(f"wrote {checkpoint}")


def _add_distil(parser: argparse.ArgumentParser) -> None:
    from models.catalogue import WEIGHTS

    teacher = WEIGHTS / "lipgan" / "generator.safetensors"
    parser.add_argument("--config", default="distil", help="name in training/configs or path of a .toml")
    parser.add_argument("--teacher", type=Path, default=teacher, help="default: the shipped LipGAN's")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder for log, checkpoints and contact sheets")
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    parser.set_defaults(command=_distil)


def _distil(parsed: argparse.Namespace) -> None:
    from training.config import read_config
    from training.distil import DistilConfig, distil

    config = read_config(DistilConfig, parsed.config)
    say(f"wrote {distil(config, parsed.teacher, parsed.cache, parsed.run, resume=parsed.resume)}")


def _add_lookahead(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default="ear", help="of the ears: name in training/configs or path of a .toml")
    parser.add_argument("--cache", type=Path, required=True, help="written by prepare, with recordings")
    parser.add_argument("--recogniser", type=Path, required=True, help="folder of a faster-whisper tiny or tiny.en")
    parser.add_argument("--generator", type=Path, required=True, help="generator.safetensors that draws")
    parser.add_argument("--out", type=Path, required=True, help="folder for the ears, lookahead.json and lookahead.md")
    parser.add_argument("--steps", type=int, help="of each ear; default: the config's")
    parser.add_argument("--look-ahead-ms", type=int, nargs="+", help="default: 0 40 80 188")
    parser.add_argument("--quick", action="store_true", help="three seconds of each clip")
    parser.set_defaults(command=_lookahead)


def _lookahead(parsed: argparse.Namespace) -> None:
    from models.landmarks import LandmarkNetworks
    from training.config import read_config
    from training.ear import EarConfig
    from training.judges import Judges
    from training.lookahead import LOOK_AHEADS_MS, look_ahead

    config = read_config(EarConfig, parsed.config)
    look_ahead(
        replace(config, run=replace(config.run, steps=parsed.steps or config.run.steps)),
        parsed.cache,
        parsed.recogniser,
        parsed.generator,
        parsed.out,
        Judges(LandmarkNetworks(threads=1)),
        say,
        look_aheads_ms=parsed.look_ahead_ms or LOOK_AHEADS_MS,
        quick=parsed.quick,
    )


def _add_expert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default="expert", help="name in training/configs or path of a .toml")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder for log and checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    parser.set_defaults(command=_expert)


def _expert(parsed: argparse.Namespace) -> None:
    from training.expert import load_expert_config, train_expert

    checkpoint = train_expert(load_expert_config(parsed.config), parsed.cache, parsed.run, resume=parsed.resume)
    say(f"wrote {checkpoint}")


def _add_expert_curve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, help="checkpoint.pt of a run, whose weights are frozen into --out")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of expert.safetensors, and for curve.json, .md and .png"
    )
    parser.set_defaults(command=_expert_curve)


def _expert_curve(parsed: argparse.Namespace) -> None:
    from training.sync_report import EXPERT_FILE, publish

    weights: Path = parsed.out / EXPERT_FILE
    if parsed.checkpoint is not None:
        from models.sync_expert import save_expert
        from training.expert import expert_of_run

        parsed.out.mkdir(parents=True, exist_ok=True)
        save_expert(weights, *expert_of_run(parsed.checkpoint))
    publish(weights, parsed.cache, parsed.out, say)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    from training import judges

    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, help="checkpoint.pt of a run; without it, the shipped engine")
    parser.add_argument("--name", default="lipgan", help="the shipped engine's name")
    parser.add_argument("--precision", help="fp32, bf16 or int8; default: the engine's own")
    parser.add_argument("--identity", choices=["same_frame", "reference", "open_mouth"], help="default: as served")
    parser.add_argument("--quick", action="store_true", help="the first three seconds of each clip")
    parser.add_argument("--show-measured", action="store_true", help="pictures of clips that may not be published too")
    parser.add_argument("--raw", action="store_true", help="measure drawn crops instead of the frames they go into")
    parser.add_argument("--out", type=Path, required=True, help="folder for evaluation.json, .md, .jpg and .mp4")
    judges.add_arguments(parser)
    parser.set_defaults(command=_evaluate)


def _evaluate(parsed: argparse.Namespace) -> None:
    from training.evaluate import evaluate
    from training.judges import judges_of
    from training.subject import checkpoint_subject, engine_subject

    given: Path | None = parsed.checkpoint
    subject = checkpoint_subject(given) if given else engine_subject(parsed.name, parsed.precision)
    if parsed.identity:
        subject = replace(subject, identity=parsed.identity)
    evaluate(
        parsed.cache,
        subject,
        judges_of(parsed),
        parsed.out,
        say,
        quick=parsed.quick,
        raw=parsed.raw,
        show_measured=parsed.show_measured,
    )


def _add_identity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", type=Path, required=True, help="with portraits, by prepare")
    parser.add_argument("--out", type=Path, help="folder for weights and figures; default: where evaluate looks")
    parser.set_defaults(command=_identity)


def _identity(parsed: argparse.Namespace) -> None:
    from training.own_identity import SHIPPED_WEIGHTS, train_identity

    say(f"wrote {train_identity(parsed.cache, parsed.out or SHIPPED_WEIGHTS.parent, say)}")


def _add_sheet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--material", type=Path, required=True, help="folder that configs/clips.toml is relative to")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, help="checkpoint.pt of a run; without it, the shipped engine")
    parser.add_argument("--name", default="lipgan_lite", help="the shipped engine's name")
    parser.add_argument("--baseline", default="lipgan", help="a shipped engine to show below it")
    parser.add_argument("--out", type=Path, required=True, help="JPEG to write")
    parser.set_defaults(command=_sheet)


def _sheet(parsed: argparse.Namespace) -> None:
    from training.phone_sheet import phone_sheet
    from training.subject import checkpoint_subject, engine_subject

    given: Path | None = parsed.checkpoint
    ours = checkpoint_subject(given) if given else engine_subject(parsed.name, None)
    phone_sheet(parsed.material, parsed.cache, [ours, engine_subject(parsed.baseline, None)], parsed.out, say)


def _add_export(parser: argparse.ArgumentParser) -> None:
    from training import export

    export.add_arguments(parser)
    parser.set_defaults(command=_export)


def _export(parsed: argparse.Namespace) -> None:
    from training import export

    export.run(parsed, say)


if __name__ == "__main__":
    sys.exit(main())
