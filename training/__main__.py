"""`python -m training COMMAND`: the offline side, one command per step."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from training.config import ConfigError
from training.data.clips import MaterialError

if TYPE_CHECKING:
    from training.data.pair_makers import PairMaker
    from training.data.photo_pairs import PairSet
    from training.pix2pix import Pix2PixConfig


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
    _add_cuhk_pairs(commands.add_parser("cuhk-pairs", help="CUHK's sketches and photos as folders of pairs"))
    _add_face_squares(commands.add_parser("face-squares", help="photos cut to their faces, for filters of the face"))
    _add_camvid(commands.add_parser("camvid-layouts", help="CamVid's annotations and photos as folders of layouts"))
    _add_pix2pix(commands.add_parser("pix2pix", help="train a filter from pairs, or from photos and a pair maker"))
    _add_portrait_layouts(
        commands.add_parser("portrait-layouts", help="layouts and photos of persons who do not exist")
    )
    _add_distil_filter(commands.add_parser("distil-filter", help="teach a filter to a smaller network, on planes"))
    _add_oasis(commands.add_parser("oasis", help="train a filter from semantic layouts and photos"))
    _add_segmenter(commands.add_parser("segmenter", help="train what reads layouts from photos, for evaluate-filter"))
    _add_evaluate_portraits(
        commands.add_parser("evaluate-portraits", help="measure drawn persons who should not exist")
    )
    _add_export_filter(commands.add_parser("export-filter", help="turn a filter's checkpoint into gated engines"))
    _add_steady(commands.add_parser("steady", help="lay what keeps a filter steady in time around its network"))
    _add_evaluate_filter(commands.add_parser("evaluate-filter", help="measure a filter on persons it never saw"))
    _add_compare(commands.add_parser("compare-filters", help="train recipes alike and measure them on the same pairs"))
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
    prepare(parsed.material, parsed.cache, lambda: FaceFollower(networks), _say, recordings, parsed.crop_px)


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
        parsed.material, parsed.cache, lambda: FaceFollower(networks), _say, clips=clips, crop_px=parsed.crop_px
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
        _say(f"wrote {checkpoint}")


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
    _say(f"wrote {checkpoint}")


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
    _say(f"wrote {distil(config, parsed.teacher, parsed.cache, parsed.run, resume=parsed.resume)}")


def _add_cuhk_pairs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cuhk", type=Path, required=True, help="folder with train/ and test/")
    parser.add_argument("--out", type=Path, required=True, help="gets train/A, train/B, test/A and test/B")
    parser.set_defaults(command=_cuhk_pairs)


def _cuhk_pairs(parsed: argparse.Namespace) -> None:
    from training.data.cuhk import write_cuhk_pairs

    counts = write_cuhk_pairs(parsed.cuhk, parsed.out)
    _say(", ".join(f"{count} pairs in {split}" for split, count in counts.items()))


def _add_face_squares(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="folders of photos and clips")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size-px", type=int, default=256, help="side of the squares")
    parser.set_defaults(command=_face_squares)


def _face_squares(parsed: argparse.Namespace) -> None:
    from models.landmarks import LandmarkNetworks
    from training.data.face_squares import write_face_squares

    networks = LandmarkNetworks(threads=1)
    written, left_out = write_face_squares(networks, parsed.photos, parsed.out, parsed.size_px)
    _say(f"{written} faces, {left_out} pictures without one or that cannot be read")


def _add_camvid(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--camvid", type=Path, required=True, help="folder with train/, trainannot/, val/ ...")
    parser.add_argument("--out", type=Path, required=True, help="gets train/layouts, train/photos, val/layouts ...")
    parser.set_defaults(command=_camvid)


def _camvid(parsed: argparse.Namespace) -> None:
    from training.data.camvid import write_camvid_layouts

    counts = write_camvid_layouts(parsed.camvid, parsed.out)
    _say(", ".join(f"{count} pairs in {split}" for split, count in counts.items()))


def _add_pix2pix(parser: argparse.ArgumentParser) -> None:
    from training.data.pair_makers import PAIR_MAKERS

    makers = "; ".join(f"{name}: {maker.about}" for name, maker in PAIR_MAKERS.items())
    parser.add_argument("--config", default="pix2pix", help="name in training/configs or path of a .toml")
    parser.add_argument("--pairs", type=Path, help="folder with A/ and B/, or of pictures side by side")
    parser.add_argument("--photos", type=Path, nargs="+", default=[], help="folders of photos and clips instead")
    parser.add_argument("--maker", help=f"what makes a pair of a photo; default: the config's. {makers}")
    parser.add_argument("--run", type=Path, required=True, help="folder for log, checkpoint and contact sheets")
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    parser.add_argument("--steps", type=int, help="default: the config's")
    parser.add_argument("--start", type=Path, help="checkpoint.pt of a run whose generator a new run begins with")
    parser.add_argument("--export", metavar="NAME", help="write engines too, to models/filters/NAME")
    parser.add_argument("--filters", type=Path, help="folder for --export; default: models/filters")
    parser.add_argument("--devices", type=int, default=1, help="processes, one a GPU; they share each batch")
    parser.add_argument("--accelerator", choices=["auto", "cuda", "cpu"], default="auto")
    _add_precisions(parser)
    parser.set_defaults(command=_pix2pix)


def _pix2pix(parsed: argparse.Namespace) -> None:
    from training.config import read_config
    from training.loop import launched
    from training.pix2pix import Pix2PixConfig, pairs_of, train_filter

    config = read_config(Pix2PixConfig, parsed.config)
    config = replace(
        config,
        pairs=replace(config.pairs, maker=parsed.maker or config.pairs.maker),
        run=replace(config.run, steps=parsed.steps or config.run.steps),
    )
    config.check()
    pairs, maker = pairs_of(config.pairs, parsed.pairs, parsed.photos)
    fabric = launched(bf16=config.run.bf16, devices=parsed.devices, accelerator=parsed.accelerator)
    say = _say if fabric.is_global_zero else lambda _: None
    checkpoint = train_filter(
        config, pairs, maker, parsed.run, resume=parsed.resume, start=parsed.start, fabric=fabric, say=say
    )
    say(f"wrote {checkpoint}")
    if parsed.export and fabric.is_global_zero:
        _export_filter_of(checkpoint, config, pairs, maker, parsed)


def _add_distil_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, help="name in training/configs or path of a .toml")
    parser.add_argument("--teacher", type=Path, required=True, help="filter.safetensors of the filter to learn from")
    parser.add_argument("--pairs", type=Path, help="folder with A/ and B/, or of pictures side by side")
    parser.add_argument("--photos", type=Path, nargs="+", default=[], help="folders of photos, spoilt by a pair maker")
    parser.add_argument("--run", type=Path, required=True, help="folder for log, checkpoint and contact sheets")
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    parser.add_argument("--export", metavar="NAME", help="write engines too, to models/filters/NAME")
    parser.add_argument("--filters", type=Path, help="folder for --export; default: models/filters")
    _add_precisions(parser)
    parser.set_defaults(command=_distil_filter)


def _distil_filter(parsed: argparse.Namespace) -> None:
    from training.config import read_config
    from training.distil_filter import distil_filter
    from training.pix2pix import Pix2PixConfig, pairs_of

    config = read_config(Pix2PixConfig, parsed.config)
    pairs, maker = pairs_of(config.pairs, parsed.pairs, parsed.photos)
    checkpoint = distil_filter(config, pairs, maker, parsed.teacher, parsed.run, resume=parsed.resume, say=_say)
    _say(f"wrote {checkpoint}")
    if parsed.export:
        _export_filter_of(checkpoint, config, pairs, maker, parsed)


def _export_filter_of(
    checkpoint: Path, config: Pix2PixConfig, pairs: PairSet, maker: PairMaker, parsed: argparse.Namespace
) -> None:
    from models.filter_catalogue import FILTERS
    from training.export_filter import export_run
    from training.pix2pix import filter_of_run

    network, _, step = filter_of_run(checkpoint)
    filters: Path = parsed.filters or FILTERS
    precisions = tuple(parsed.precisions)
    export_run(network, config, pairs, maker, parsed.export, _say, filters=filters, precisions=precisions)
    _say(f"wrote {filters / parsed.export}, trained for {step} steps")


def _add_portrait_layouts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--portraits", type=Path, required=True, help="folder of photographs of one face each")
    parser.add_argument("--clips", type=Path, nargs="*", default=[], help="clips, or folders of them, that lend poses")
    parser.add_argument("--out", type=Path, required=True, help="folder for layouts/ and photos/")
    parser.add_argument("--count", type=int, default=1500, help="pairs; appearances take turns")
    parser.set_defaults(command=_portrait_layouts)


def _portrait_layouts(parsed: argparse.Namespace) -> None:
    from training.data.portrait_layouts import make_portrait_layouts

    written = make_portrait_layouts(parsed.portraits, parsed.clips, parsed.out, count=parsed.count, say=_say)
    _say(f"wrote {written} pairs to {parsed.out}")


def _add_oasis(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default="oasis", help="name in training/configs or path of a .toml")
    parser.add_argument("--pairs", type=Path, required=True, help="folder with layouts/ (class ids) and photos/")
    parser.add_argument("--run", type=Path, required=True, help="folder for log, checkpoint and contact sheets")
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    parser.add_argument("--steps", type=int, help="default: the config's")
    parser.add_argument("--export", metavar="NAME", help="write engines too, to models/filters/NAME")
    parser.add_argument("--filters", type=Path, help="folder for --export; default: models/filters")
    parser.add_argument("--devices", type=int, default=1, help="processes, one a GPU; they share each batch")
    parser.add_argument("--accelerator", choices=["auto", "cuda", "cpu"], default="auto")
    parser.set_defaults(command=_oasis)


def _oasis(parsed: argparse.Namespace) -> None:
    from models.filter_catalogue import FILTERS
    from training.config import read_config
    from training.data.layout_pairs import read_layouts
    from training.export_oasis import export_oasis
    from training.loop import launched
    from training.oasis import OasisTraining, oasis_of_run, train_oasis

    config = read_config(OasisTraining, parsed.config)
    config = replace(config, run=replace(config.run, steps=parsed.steps or config.run.steps))
    config.check()
    pairs = read_layouts(parsed.pairs, config.layouts.classes)
    fabric = launched(bf16=config.run.bf16, devices=parsed.devices, accelerator=parsed.accelerator)
    say = _say if fabric.is_global_zero else lambda _: None
    checkpoint = train_oasis(config, pairs, parsed.run, resume=parsed.resume, fabric=fabric, say=say)
    say(f"wrote {checkpoint}")
    if parsed.export and fabric.is_global_zero:
        filters: Path = parsed.filters or FILTERS
        export_oasis(oasis_of_run(checkpoint)[0], config, pairs, parsed.export, say, filters=filters)
        say(f"wrote {filters / parsed.export}")


def _add_segmenter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default="camvid_segmenter", help="name in training/configs or path of a .toml")
    parser.add_argument("--pairs", type=Path, required=True, help="folder with layouts/ (class ids) and photos/")
    parser.add_argument("--test", type=Path, help="likewise, never learnt from: scores of real photos, the ceiling")
    parser.add_argument("--run", type=Path, required=True, help="folder for log, checkpoint and scores.json")
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    parser.add_argument("--steps", type=int, help="default: the config's")
    parser.set_defaults(command=_segmenter)


def _segmenter(parsed: argparse.Namespace) -> None:
    from training.config import read_config
    from training.data.layout_pairs import read_layouts
    from training.evaluate_layouts import score_segmenter
    from training.segmenter import SegmenterTraining, segmenter_of_run, train_segmenter

    config = read_config(SegmenterTraining, parsed.config)
    config = replace(config, run=replace(config.run, steps=parsed.steps or config.run.steps))
    pairs = read_layouts(parsed.pairs, config.layouts.classes)
    checkpoint = train_segmenter(config, pairs, parsed.run, resume=parsed.resume, say=_say)
    _say(f"wrote {checkpoint}")
    if parsed.test is not None:
        test = read_layouts(parsed.test, config.layouts.classes)
        score_segmenter(segmenter_of_run(checkpoint)[:2], test, parsed.run, _say)


def _add_evaluate_portraits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", type=Path, required=True, help="folder by portrait-layouts")
    parser.add_argument("--portraits", type=Path, required=True, help="the photographs that were blended")
    parser.add_argument("--checkpoint", type=Path, help="checkpoint.pt of a run of oasis; without it, the photos")
    parser.add_argument("--config", default="layout_to_face", help="name in training/configs or path of a .toml")
    parser.add_argument("--identity", type=Path, help="own identity network; default: the shipped one")
    parser.add_argument("--out", type=Path, required=True, help="folder for portraits.json and a sheet")
    parser.set_defaults(command=_evaluate_portraits)


def _evaluate_portraits(parsed: argparse.Namespace) -> None:
    import json

    from training.config import read_config
    from training.data.layout_pairs import read_layouts
    from training.evaluate_portraits import evaluate_portraits
    from training.oasis import OasisTraining, oasis_of_run
    from training.own_identity import SHIPPED_WEIGHTS, load_identity

    checkpoint: Path | None = parsed.checkpoint
    config = read_config(OasisTraining, parsed.config) if checkpoint is None else oasis_of_run(checkpoint)[1]
    pairs, identity = (
        read_layouts(parsed.pairs, config.layouts.classes),
        load_identity(parsed.identity or SHIPPED_WEIGHTS),
    )
    figures = evaluate_portraits(pairs, config, parsed.portraits, identity, parsed.out, _say, checkpoint=checkpoint)
    _say(json.dumps(figures))


def _add_precisions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--precisions", nargs="+", default=["fp32", "int8"], help="engines to make; default: both")


def _add_export_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint.pt of a run of pix2pix")
    parser.add_argument("--config", help="name or path of a .toml whose [served] counts; default: the run's")
    parser.add_argument("--pairs", type=Path, help="folder that the run learnt from")
    parser.add_argument("--photos", type=Path, nargs="+", default=[], help="folders that the run learnt from instead")
    parser.add_argument("--export", metavar="NAME", required=True, help="name of the filter")
    parser.add_argument("--filters", type=Path, help="default: models/filters")
    _add_precisions(parser)
    parser.set_defaults(command=_export_filter)


def _export_filter(parsed: argparse.Namespace) -> None:
    from training.config import read_config
    from training.pix2pix import Pix2PixConfig, filter_of_run, pairs_of

    _, config, _ = filter_of_run(parsed.checkpoint)
    if parsed.config is not None:
        config = replace(config, served=read_config(Pix2PixConfig, parsed.config).served)
    pairs, maker = pairs_of(config.pairs, parsed.pairs, parsed.photos)
    _export_filter_of(parsed.checkpoint, config, pairs, maker, parsed)


def _add_steady(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, help="checkpoint.pt of a run with [network] steady_channels")
    parser.add_argument("--steadying", type=Path, help="steadying.safetensors of a filter instead")
    parser.add_argument("--network", type=Path, required=True, help="filter.safetensors of the filter to make steady")
    parser.add_argument("--config", required=True, help="name or path of a .toml: the filter's [pairs] and [served]")
    parser.add_argument("--pairs", type=Path, help="folder that the filter learnt from")
    parser.add_argument("--photos", type=Path, nargs="+", default=[], help="folders that it learnt from instead")
    parser.add_argument("--export", metavar="NAME", required=True, help="name of the filter")
    parser.add_argument("--filters", type=Path, help="default: models/filters")
    _add_precisions(parser)
    parser.set_defaults(command=_steady)


def _steady(parsed: argparse.Namespace) -> None:
    from models.filter_catalogue import FILTERS
    from training.config import read_config
    from training.export_filter import export_run, made_steady
    from training.pix2pix import Pix2PixConfig, pairs_of

    config = read_config(Pix2PixConfig, parsed.config)
    pairs, maker = pairs_of(config.pairs, parsed.pairs, parsed.photos)
    filters: Path = parsed.filters or FILTERS
    network = made_steady(parsed.network, parsed.checkpoint, parsed.steadying, filters / parsed.export)
    served = replace(config.served, source="planes" if network.planes else "picture")
    config, precisions = replace(config, served=served), tuple(parsed.precisions)
    export_run(network, config, pairs, maker, parsed.export, _say, filters=filters, precisions=precisions)
    _say(f"wrote {filters / parsed.export}")


def _add_evaluate_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, help="checkpoint.pt of a run, whose held-back persons are measured")
    parser.add_argument("--name", help="a filter as it is shipped instead; --config says what it was trained on")
    parser.add_argument("--filters", type=Path, help="where --name lies; default: models/filters")
    parser.add_argument("--precision", help="fp32, bf16 or int8; default: the filter's own")
    parser.add_argument("--config", help="name in training/configs or path of a .toml; default: the run's")
    parser.add_argument("--pairs", type=Path, help="folder with A/ and B/, or of pictures side by side")
    parser.add_argument("--photos", type=Path, nargs="+", default=[], help="folders of photos instead")
    parser.add_argument("--all", action="store_true", help="measure all pictures: they are not those of the training")
    parser.add_argument("--segmenter", type=Path, help="checkpoint.pt of segmenter, for a run of oasis")
    parser.add_argument("--clips", type=Path, nargs="+", default=[], help="films on which flicker is measured too")
    parser.add_argument("--out", type=Path, required=True, help="folder for evaluation.json and evaluation.jpg")
    parser.set_defaults(command=_evaluate_filter)


def _evaluate_filter(parsed: argparse.Namespace) -> None:
    from training.config import read_config
    from training.efficientnet_lite import has_weights, load_efficientnet
    from training.evaluate_filter import evaluate_filter
    from training.filter_subject import run_subject, shipped_subject
    from training.oasis import is_oasis
    from training.pix2pix import Pix2PixConfig, pairs_of

    if (parsed.checkpoint is None) == (parsed.name is None):
        raise ConfigError("pass either --checkpoint RUN/checkpoint.pt or --name FILTER")
    if parsed.checkpoint is not None and is_oasis(parsed.checkpoint):
        _evaluate_layouts(parsed)
        return
    if parsed.segmenter is not None:
        raise ConfigError("--segmenter reads layouts, and only a run of oasis draws from them")
    if parsed.checkpoint is not None:
        subject, config = run_subject(parsed.checkpoint)
    else:
        subject = shipped_subject(parsed.name, parsed.precision, parsed.filters)
        config = read_config(Pix2PixConfig, parsed.config or f"filter_{parsed.name}").pairs
    if parsed.config is not None:
        config = read_config(Pix2PixConfig, parsed.config).pairs
    pairs, maker = pairs_of(config, parsed.pairs, parsed.photos)
    held = pairs if parsed.all else pairs.split(config.held_every)[1]
    if not held.pairs:
        raise ConfigError("nobody was held back; pass --all with pictures that the filter was not trained on")
    for each in held.left_out:
        _say(f"left out: {each.name} {each.reason}")
    eye = load_efficientnet() if has_weights() else None
    evaluate_filter(subject, held, maker, config, parsed.out, _say, clips=parsed.clips, eye=eye)


def _evaluate_layouts(parsed: argparse.Namespace) -> None:
    from training.data.layout_pairs import read_layouts
    from training.efficientnet_lite import has_weights, load_efficientnet
    from training.evaluate_layouts import evaluate_layouts
    from training.oasis import batches_of, oasis_of_run
    from training.oasis_losses import settle_statistics
    from training.segmenter import segmenter_of_run

    if parsed.pairs is None:
        raise ConfigError("a run of oasis is measured on --pairs FOLDER with layouts/ and photos/")
    generator, config, _ = oasis_of_run(parsed.checkpoint)
    pairs = read_layouts(parsed.pairs, config.layouts.classes)
    learnt, held = (pairs, pairs) if parsed.all else pairs.split(config.layouts.held_every)
    if not held.pairs:
        raise ConfigError("nothing was held back; pass --all with layouts that were not trained on")
    settle_statistics(generator, batches_of(learnt, config))
    segmenter = segmenter_of_run(parsed.segmenter)[:2] if parsed.segmenter is not None else None
    eye = load_efficientnet() if has_weights() else None
    name = parsed.checkpoint.parent.name
    evaluate_layouts(generator, config, held, parsed.out, _say, name=name, segmenter=segmenter, eye=eye)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", type=Path, required=True, help="what is learnt from: A/ and B/, or side by side")
    parser.add_argument("--test", type=Path, required=True, help="pairs that no recipe sees, likewise")
    parser.add_argument(
        "--recipe",
        required=True,
        action="append",
        help="name in training/configs or path of a .toml; the first is the base",
    )
    parser.add_argument("--minutes", type=float, default=0.0, help="of processor time, for each recipe")
    parser.add_argument("--steps", type=int, default=0, help="of each recipe instead")
    parser.add_argument("--direction", default="AtoB", help="AtoB or BtoA, of every recipe")
    parser.add_argument("--seed", type=int, default=2017, help="of every recipe")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs, comparison.json, .md and .jpg")
    parser.set_defaults(command=_compare)


def _compare(parsed: argparse.Namespace) -> None:
    from training.compare_filters import Budget, compare_filters
    from training.config import read_config
    from training.data.photo_pairs import read_pairs
    from training.efficientnet_lite import load_efficientnet
    from training.pix2pix import Pix2PixConfig

    recipes = {}
    for each in parsed.recipe:
        config = read_config(Pix2PixConfig, each)
        pairs = replace(config.pairs, direction=parsed.direction)
        recipes[Path(each).stem] = replace(config, pairs=pairs, run=replace(config.run, seed=parsed.seed))
    learnt, test = (read_pairs(folder, parsed.direction) for folder in (parsed.pairs, parsed.test))
    budget = Budget(parsed.steps, parsed.minutes)
    compare_filters(recipes, learnt, test, budget, load_efficientnet(), parsed.out, _say)


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
        _say,
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
    _say(f"wrote {checkpoint}")


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
    publish(weights, parsed.cache, parsed.out, _say)


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
        _say,
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

    _say(f"wrote {train_identity(parsed.cache, parsed.out or SHIPPED_WEIGHTS.parent, _say)}")


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
    phone_sheet(parsed.material, parsed.cache, [ours, engine_subject(parsed.baseline, None)], parsed.out, _say)


def _add_export(parser: argparse.ArgumentParser) -> None:
    from training import export

    export.add_arguments(parser)
    parser.set_defaults(command=_export)


def _export(parsed: argparse.Namespace) -> None:
    from training import export

    export.run(parsed, _say)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
