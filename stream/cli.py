"""The command `visavis`: one line of error and an exit code that a script can use.

0 done, 2 the user or operator must change something, 1 our own fault, 130 interrupted.
Only here is the environment read.
"""

import argparse
import asyncio
import difflib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from models.engine import EngineError
from stream.errors import ConfigError, MediaError

EXIT_DONE, EXIT_OURS, EXIT_YOURS, EXIT_INTERRUPTED = 0, 1, 2, 130

_FILTERED = ("strength", "wipe", "region", "order")
"""What of a filter can be said beside its name."""

_NESTED = ("engines", "models")
"""Commands that have commands below them."""


class _Parser(argparse.ArgumentParser):
    """An argument parser that complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_YOURS, f"{self.prog}: {message}. See: {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: Arguments without the program's name; those of the process if None.
    """
    parser = _make_parser()
    given = list(sys.argv[1:] if argv is None else argv)
    arguments, unknown = parser.parse_known_args(given)
    if unknown:
        command = " ".join([arguments.command, *([arguments.action] if arguments.command in _NESTED else [])])
        return _complain(_about_unknown(parser, command, unknown))
    _log_as_wanted(arguments)
    checks = {"dub": _about_dub, "filter": _about_filter}
    if arguments.command in checks and (wrong := checks[arguments.command](arguments)):
        _parsers_below(parser)[arguments.command].error(wrong)
    try:
        return _run(arguments)
    except (ConfigError, MediaError, EngineError) as error:
        return _complain(str(error), debug=arguments.debug)
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("visavis: interrupted, nothing was written", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last resort: one line instead of a traceback
        if arguments.debug:
            traceback.print_exc()
        print(
            f"visavis: internal error, {type(error).__name__}: {error}. Please report it, with --debug", file=sys.stderr
        )
        return EXIT_OURS


def _log_as_wanted(arguments: argparse.Namespace) -> None:
    """A server logs what went wrong; a command that ends says it in its last line, and the log is for --debug."""
    quiet = logging.WARNING if arguments.command == "run" else logging.CRITICAL
    logging.basicConfig(level=logging.INFO if arguments.debug else quiet, format="%(levelname)s %(message)s")


def _run(arguments: argparse.Namespace) -> int:
    """Import what the command needs, and only that: `--help` must not wait for an engine."""
    if arguments.command == "run":
        return _serve(arguments)
    if arguments.command == "engines":
        return _engines(arguments)
    if arguments.command == "models":
        return _models(arguments)
    if arguments.command == "filter":
        return _filter(arguments)
    from stream import dub_commands

    return dub_commands.run(arguments, _cache_folder(), _imported_folder(), _models_folder(), _own_filters())


def _engines(arguments: argparse.Namespace) -> int:
    from stream import build_commands, engine_commands, import_commands

    if arguments.action == "import":
        return import_commands.run(arguments, _imported_folder())
    run = build_commands.run if arguments.action == "build" else engine_commands.run
    return run(arguments, _imported_folder(), _cache_folder())


def _models(arguments: argparse.Namespace) -> int:
    from stream import model_commands

    return model_commands.run(arguments, _models_folder())


def _filter(arguments: argparse.Namespace) -> int:
    from stream import filter_commands

    return filter_commands.run(arguments, _cache_folder(), _own_filters())


def _serve(arguments: argparse.Namespace) -> int:
    import dataclasses

    from stream.config import load_config
    from stream.engine_commands import take_engine
    from stream.server import serve

    config = take_engine(load_config(arguments.config), arguments.engine, _imported_folder())
    given = {key: getattr(arguments, key) for key in ("host", "port") if getattr(arguments, key) is not None}
    config = dataclasses.replace(config, server=dataclasses.replace(config.server, **given))
    if arguments.backend:
        config = dataclasses.replace(config, engine=dataclasses.replace(config.engine, backend=arguments.backend))
    serve(config, _models_folder(), cache_folder=_cache_folder(), own_filters=_own_filters())
    return EXIT_DONE


def _cache_folder() -> Path:
    from models.catalogue import default_cache_folder

    return default_cache_folder(os.environ)


def _models_folder() -> Path:
    from stream.speech.store import models_folder

    return models_folder(os.environ)


def _own_filters() -> Path:
    from models.filter_catalogue import user_filters_folder

    return user_filters_folder(os.environ)


def _imported_folder() -> Path:
    from models.catalogue import imported_folder

    return imported_folder(os.environ)


def _complain(message: str, *, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    print(f"visavis: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_YOURS


def _about_unknown(parser: argparse.ArgumentParser, command: str, unknown: list[str]) -> str:
    """Name the first argument that is not known, and the nearest option that is."""
    first = unknown[0].split("=")[0]
    for word in command.split():
        parser = _parsers_below(parser)[word]
    known = [option for action in parser._actions for option in action.option_strings]
    near = difflib.get_close_matches(first, known, n=1, cutoff=0.6)
    advice = f"did you mean {near[0]}?" if near else f"see visavis {command} --help"
    return f"{command} has no argument {first!r}: {advice}"


def _about_filter(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the arguments of `filter` together."""
    if arguments.list:
        return None
    needed = {"IN": arguments.source, "-o/--output": arguments.output, "--filter": arguments.filter}
    missing = [name for name, given in needed.items() if given is None]
    return f"the following arguments are required: {', '.join(missing)} (or --list)" if missing else None


def _about_dub(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the arguments of `dub` together."""
    if arguments.voice is None and arguments.to is None:
        return "the following arguments are required: --voice or --to"
    if arguments.filter is None and (given := [name for name in _FILTERED if getattr(arguments, name) is not None]):
        return f"--filter-{given[0]} goes with --filter"
    if arguments.to is not None:
        return "--mix-original goes with --voice; with --to give --duck" if arguments.mix_original is not None else None
    for name in ("source_language", "captions", "source_captions", "speaker_voice", "duck"):
        if getattr(arguments, name) is not None:
            return f"{'--from' if name == 'source_language' else '--' + name.replace('_', '-')} goes with --to"
    return None


def _parsers_below(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    below: dict[str, argparse.ArgumentParser] = next(
        action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    return below


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="visavis", description="A real face, re-voiced: its lips follow another voice.")
    parser.add_argument("--version", action="version", version=f"visavis {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_dub(commands)
    _add_filter(commands)
    _add_demo(commands)
    _add_engines(commands)
    _add_models(commands)
    return parser


def _version() -> str:
    try:
        return metadata.version("visavis")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _command(
    commands: "argparse._SubParsersAction[_Parser]", name: str, about: str, *, nested: bool = False
) -> argparse.ArgumentParser:
    description = about[0].upper() + about[1:] + "."
    parser = commands.add_parser(name, help=about, description=description, allow_abbrev=False)
    # A command below a command must not take back what was said before its name.
    unsaid = argparse.SUPPRESS if nested else False
    parser.add_argument("--debug", action="store_true", default=unsaid, help="show tracebacks and more log lines")
    return parser


def _add_run(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _command(commands, "run", "serve the page on which a camera or the sample clip is re-voiced live")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file; every key is optional")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=_port, help="port to listen on (default 8080)")
    _add_engine(parser)
    _add_backend(parser)


def _add_dub(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _command(commands, "dub", "give a clip another voice, or another language, and lips that follow it")
    parser.add_argument("source", type=Path, metavar="IN", help="the clip: MP4, MOV, MKV or what else FFmpeg reads")
    spoken = parser.add_mutually_exclusive_group()
    spoken.add_argument("--voice", type=Path, metavar="FILE", help="any file with sound")
    spoken.add_argument("--to", type=_languages, metavar="LANG", help="translate what is said, for example es or es,ca")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help=".mp4, .m4v, .mov or .mkv; with --to also .wav"
    )
    _add_translating(parser)
    parser.add_argument(
        "--mix-original", type=_decibel, metavar="DB", help="keep the clip's sound under the voice, for example -18"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write figures as JSON")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.add_argument(
        "--keep-going", action="store_true", help="dub what is there of a clip cut short; write one without a face"
    )
    _add_making(parser)
    parser.add_argument("--filter", metavar="NAME", help="filter the pictures too; see visavis filter --list")
    _add_laying(parser, "--filter-")
    parser.add_argument(
        "--filter-order", dest="order", choices=("before", "after"), help="the lips are made (default after)"
    )


def _add_filter(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _command(commands, "filter", "lay a filter on a clip, which keeps its sound, or list the filters")
    parser.add_argument("source", type=Path, nargs="?", metavar="IN", help="the clip")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help=".mp4, .m4v, .mov or .mkv")
    parser.add_argument("--filter", metavar="NAME", help="the filter")
    parser.add_argument("--list", action="store_true", help="list the filters that are here, one line each")
    _add_laying(parser, "--")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write figures as JSON")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.add_argument(
        "--keep-going", action="store_true", help="filter what is there of a clip cut short; write one without a face"
    )
    mark = parser.add_mutually_exclusive_group()
    mark.add_argument("--badge", metavar="TEXT", help='text of the visible mark (default "AI filter")')
    mark.add_argument("--no-badge", action="store_true", help="no visible mark; the file's metadata still says it")
    parser.add_argument("--quality", type=_quality, default=20.0, metavar="0-51", help="lower is better (default 20)")
    _add_codecs(parser)
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file: codecs, filters, faces")


def _add_laying(parser: argparse.ArgumentParser, prefix: str) -> None:
    """Add how a filter is laid on."""
    parser.add_argument(
        f"{prefix}strength", dest="strength", type=_share, metavar="0-1", help="how much of it there is (default 1)"
    )
    parser.add_argument(
        f"{prefix}wipe",
        dest="wipe",
        type=_share,
        metavar="0-1",
        help="share of the width that stays as it was, from the left (default 0)",
    )
    parser.add_argument(
        f"{prefix}region", dest="region", choices=("frame", "face"), help="where (default: what the filter is for)"
    )


def _add_translating(parser: argparse.ArgumentParser) -> None:
    """Add what goes with `--to`."""
    parser.add_argument("--from", dest="source_language", metavar="LANG", help="what is spoken (default en)")
    parser.add_argument("--captions", type=Path, metavar="FILE", help="write what the dub says, .vtt or .srt")
    parser.add_argument("--source-captions", type=Path, metavar="FILE", help="write what was said, .vtt or .srt")
    parser.add_argument("--speaker-voice", metavar="NAME", help="one of the speaker's voices")
    parser.add_argument(
        "--duck", type=_gain, metavar="0-1", help="gain of the clip's sound under the dub (default 0.15, 0 is off)"
    )


def _add_demo(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _command(commands, "demo", "dub the bundled clip with the bundled voice, and show both side by side")
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), metavar="DIR", help="folder (default out)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write figures as JSON")
    _add_making(parser)


def _add_making(parser: argparse.ArgumentParser) -> None:
    """Add what `dub` and `demo` share: the mark, the encoder, the engine."""
    mark = parser.add_mutually_exclusive_group()
    mark.add_argument("--badge", metavar="TEXT", help='text of the visible mark (default "AI lips")')
    mark.add_argument("--no-badge", action="store_true", help="no visible mark; the file's metadata still says it")
    parser.add_argument("--faces", choices=("all", "largest"), help="who speaks when there are several (default all)")
    parser.add_argument("--quality", type=_quality, default=20.0, metavar="0-51", help="lower is better (default 20)")
    _add_codecs(parser)
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file: codecs, engine, faces, render")
    _add_engine(parser)
    _add_backend(parser)
    parser.add_argument("--precision", help="fp32, bf16, int8, fp16 or fp8; see visavis engines list")


def _add_engines(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _command(commands, "engines", "show or check the networks that are here, import one, or build for a card")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=_Parser)
    _command(actions, "list", "list the networks that are here", nested=True)
    _command(actions, "check", "run each network that is here once", nested=True)
    _add_import(_command(actions, "import", "make an engine of a Wav2Lip or LipGAN checkpoint", nested=True))
    _add_build(_command(actions, "build", "build networks for the NVIDIA card of this machine", nested=True))


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="the networks (default: all that are here)")
    parser.add_argument(
        "--precision",
        nargs="+",
        default=["fp16", "int8"],
        metavar="PRECISION",
        help="some of fp16, int8, fp8 (default fp16 int8)",
    )
    parser.add_argument("--backend", default="tensorrt", help="for which back end: tensorrt (default)")


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="Wav2Lip's .pth, .pt or .safetensors, LipGAN's .h5"
    )
    parser.add_argument("--as", dest="format", required=True, metavar="KIND", help="wav2lip, lipgan or lipgan-residual")
    parser.add_argument("--name", help="what run and dub shall call it (default: the kind, or published- and the kind)")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="where it goes (default: the user's own engines)")
    parser.add_argument("--precisions", default="fp32", metavar="LIST", help="some of fp32,bf16,int8 (default fp32)")
    parser.add_argument(
        "--look-ahead",
        type=int,
        metavar="COLUMNS",
        help="mel columns of 12.5 ms heard after the picture (default: as the published code trains)",
    )
    parser.add_argument(
        "--identity",
        default="same_frame",
        metavar="WHICH",
        help="what says who speaks: same_frame, or reference for a mouth at rest (default same_frame)",
    )
    parser.add_argument("--accept-licence", action="store_true", help="you have read the weights' terms and keep them")
    parser.add_argument("--licence", metavar="TEXT", help="the terms, if the weights are not the published ones")


def _add_models(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _command(commands, "models", "show, fetch or verify models that hear, translate or speak")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=_Parser)
    _command(actions, "list", "list the models that can be fetched", nested=True)
    get = _command(actions, "get", "fetch a model; goes on where it was cut", nested=True)
    verify = _command(actions, "verify", "hold a model's files against their hashes", nested=True)
    for each in (get, verify):
        each.add_argument("name", metavar="NAME", help="the model; see visavis models list")
    get.add_argument(
        "--from", dest="offline", type=Path, metavar="FOLDER", help="take the files or the wheels from here, offline"
    )
    get.add_argument("--accept-non-commercial", action="store_true", help="take a model that has no commercial use")


def _add_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", metavar="NAME", help="the network; see visavis engines list (default lipgan_lite)")


def _add_codecs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--codecs", choices=("auto", "cpu", "nvidia"), help="who decodes and encodes (default cpu)")


def _add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backend", help="openvino, torch or tensorrt; see visavis engines list")


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, expected 0 to 65535")
    return int(text)


def _languages(text: str) -> tuple[str, ...]:
    languages = tuple(each.strip() for each in text.split(","))
    if not all(languages):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of languages, expected for example es or es,ca")
    if len(set(languages)) < len(languages):
        raise argparse.ArgumentTypeError(f"{text!r} names a language twice")
    return languages


def _share(text: str) -> float:
    return _number(text, 0.0, 1.0, "a share")


def _gain(text: str) -> float:
    return _number(text, 0.0, 1.0, "a gain")


def _decibel(text: str) -> float:
    return _number(text, -90.0, 12.0, "a gain in decibels")


def _quality(text: str) -> float:
    return _number(text, 0.0, 51.0, "a quality")


def _number(text: str, low: float, high: float, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}, expected {low:g} to {high:g}")
    return value
