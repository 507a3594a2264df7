"""The commands of `python -m training` that make and measure filters."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from training.config import ConfigError
from training.console import say, silence

if TYPE_CHECKING:
    from training.data.pair_makers import PairMaker
    from training.data.photo_pairs import PairSet
    from training.pix2pix import Pix2PixConfig


def add_filter_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add them to a parser."""
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
    _add_compare_layouts(
        commands.add_parser("compare-layouts", help="likewise of layouts, read back by the same segmenter")
    )


def _add_cuhk_pairs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cuhk", type=Path, required=True, help="folder with train/ and test/")
    parser.add_argument("--out", type=Path, required=True, help="gets train/A, train/B, test/A and test/B")
    parser.set_defaults(command=_cuhk_pairs)


def _cuhk_pairs(parsed: argparse.Namespace) -> None:
    from training.data.cuhk import write_cuhk_pairs

    counts = write_cuhk_pairs(parsed.cuhk, parsed.out)
    say(", ".join(f"{count} pairs in {split}" for split, count in counts.items()))


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
    say(f"{written} faces, {left_out} pictures without one or that cannot be read")


def _add_camvid(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--camvid", type=Path, required=True, help="folder with train/, trainannot/, val/ ...")
    parser.add_argument("--out", type=Path, required=True, help="gets train/layouts, train/photos, val/layouts ...")
    parser.set_defaults(command=_camvid)


def _camvid(parsed: argparse.Namespace) -> None:
    from training.data.camvid import write_camvid_layouts

    counts = write_camvid_layouts(parsed.camvid, parsed.out)
    say(", ".join(f"{count} pairs in {split}" for split, count in counts.items()))


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
    tell = say if fabric.is_global_zero else silence
    checkpoint = train_filter(
        config, pairs, maker, parsed.run, resume=parsed.resume, start=parsed.start, fabric=fabric, say=tell
    )
    tell(f"wrote {checkpoint}")
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
    checkpoint = distil_filter(config, pairs, maker, parsed.teacher, parsed.run, resume=parsed.resume, say=say)
    say(f"wrote {checkpoint}")
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
    export_run(network, config, pairs, maker, parsed.export, say, filters=filters, precisions=precisions)
    say(f"wrote {filters / parsed.export}, trained for {step} steps")


def _add_portrait_layouts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--portraits", type=Path, required=True, help="folder of photographs of one face each")
    parser.add_argument("--clips", type=Path, nargs="*", default=[], help="clips, or folders of them, that lend poses")
    parser.add_argument("--out", type=Path, required=True, help="folder for layouts/ and photos/")
    parser.add_argument("--count", type=int, default=1500, help="pairs; appearances take turns")
    parser.set_defaults(command=_portrait_layouts)


def _portrait_layouts(parsed: argparse.Namespace) -> None:
    from training.data.portrait_layouts import make_portrait_layouts

    written = make_portrait_layouts(parsed.portraits, parsed.clips, parsed.out, count=parsed.count, say=say)
    say(f"wrote {written} pairs to {parsed.out}")


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
    _add_precisions(parser)
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
    tell = say if fabric.is_global_zero else silence
    checkpoint = train_oasis(config, pairs, parsed.run, resume=parsed.resume, fabric=fabric, say=tell)
    tell(f"wrote {checkpoint}")
    if parsed.export and fabric.is_global_zero:
        filters: Path = parsed.filters or FILTERS
        precisions = tuple(parsed.precisions)
        export_oasis(
            oasis_of_run(checkpoint)[0], config, pairs, parsed.export, tell, filters=filters, precisions=precisions
        )
        tell(f"wrote {filters / parsed.export}")


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
    checkpoint = train_segmenter(config, pairs, parsed.run, resume=parsed.resume, say=say)
    say(f"wrote {checkpoint}")
    if parsed.test is not None:
        test = read_layouts(parsed.test, config.layouts.classes)
        score_segmenter(segmenter_of_run(checkpoint)[:2], test, parsed.run, say)


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
    figures = evaluate_portraits(pairs, config, parsed.portraits, identity, parsed.out, say, checkpoint=checkpoint)
    say(json.dumps(figures))


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
    parser.add_argument("--caution", type=float, help="how quickly it lets go; default: as the run or the file has it")
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
    folder = filters / parsed.export
    network = made_steady(parsed.network, parsed.checkpoint, parsed.steadying, folder, caution=parsed.caution)
    served = replace(config.served, source="planes" if network.planes else "picture")
    config, precisions = replace(config, served=served), tuple(parsed.precisions)
    export_run(network, config, pairs, maker, parsed.export, say, filters=filters, precisions=precisions)
    say(f"wrote {filters / parsed.export}")


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
        say(f"left out: {each.name} {each.reason}")
    eye = load_efficientnet() if has_weights() else None
    evaluate_filter(subject, held, maker, config, parsed.out, say, clips=parsed.clips, eye=eye)


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
    evaluate_layouts(generator, config, held, parsed.out, say, name=name, segmenter=segmenter, eye=eye)


def _add_recipes(parser: argparse.ArgumentParser, seed: int) -> None:
    parser.add_argument(
        "--recipe",
        required=True,
        action="append",
        help="name in training/configs or path of a .toml; the first is the base",
    )
    parser.add_argument("--minutes", type=float, default=0.0, help="of processor time, for each recipe")
    parser.add_argument("--steps", type=int, default=0, help="of each recipe instead")
    parser.add_argument("--seed", type=int, default=seed, help="of every recipe")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs, comparison.json, .md and .jpg")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", type=Path, required=True, help="what is learnt from: A/ and B/, or side by side")
    parser.add_argument("--test", type=Path, required=True, help="pairs that no recipe sees, likewise")
    parser.add_argument("--direction", default="AtoB", help="AtoB or BtoA, of every recipe")
    _add_recipes(parser, 2017)
    parser.set_defaults(command=_compare)


def _compare(parsed: argparse.Namespace) -> None:
    from training.budget import Budget
    from training.compare_filters import compare_filters
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
    compare_filters(recipes, learnt, test, budget, load_efficientnet(), parsed.out, say)


def _add_compare_layouts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", type=Path, required=True, help="what is learnt from: layouts/ and photos/")
    parser.add_argument("--test", type=Path, required=True, help="likewise, and no recipe sees them")
    parser.add_argument("--segmenter", type=Path, required=True, help="checkpoint.pt of segmenter")
    _add_recipes(parser, 2021)
    parser.set_defaults(command=_compare_layouts)


def _compare_layouts(parsed: argparse.Namespace) -> None:
    from training.budget import Budget
    from training.compare_layouts import compare_layouts
    from training.config import read_config
    from training.data.layout_pairs import read_layouts
    from training.efficientnet_lite import load_efficientnet
    from training.oasis import OasisTraining
    from training.segmenter import segmenter_of_run

    recipes = {}
    for each in parsed.recipe:
        config = read_config(OasisTraining, each)
        recipes[Path(each).stem] = replace(config, run=replace(config.run, seed=parsed.seed))
    segmenter = segmenter_of_run(parsed.segmenter)[:2]
    learnt, test = (read_layouts(folder, segmenter[1].layouts.classes) for folder in (parsed.pairs, parsed.test))
    budget = Budget(parsed.steps, parsed.minutes)
    compare_layouts(recipes, learnt, test, budget, segmenter, load_efficientnet(), parsed.out, say)
