"""The command line: finds the command, loads its file, runs it, and turns errors into exit codes.

Only the command that is asked for is imported, and it imports what it needs when it runs, so that
`p2phub --help` is quick. Global options may stand before or after the command.

Every error of the tree becomes `error: …` and `hint: …` on standard error (with `--json` the error
object on standard output) and its exit code. A bug is not caught: `sys.excepthook` apologises for
it in one line, with the traceback under `--verbose`.
"""

import argparse
import importlib
import io
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Final, NoReturn

from p2phub import __version__
from p2phub.cli.output import Output
from p2phub.cli.session import Session
from p2phub.client.running import home_folder
from p2phub.errors import P2PHubError, UsageError

INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141
"""What a shell shows for a program whose reader went away."""

COMMANDS: Final = {
    "init": "make this machine's identity, settings and store",
    "node": "run the daemon",
    "status": "what the node is doing",
    "peers": "who the node is connected to",
    "connect": "connect to a peer",
    "id": "who this node is",
    "publish": "sign a folder as a release and announce it",
    "pull": "fetch and verify a release",
    "adopt": "use and give out what lies in a Hugging Face cache",
    "swap": "take what is on a stick, and give what the other sites that it visits lack",
    "bundle": "carry releases to where no network reaches, and take them in there",
    "quarantine": "what came in bundles and waits to be let in, and who lets it in",
    "audit": "what crossed the gate to other networks, and whether the log of it is whole",
    "search": "search the local catalog",
    "info": "what is known about a release",
    "ls": "the repos on this disk, or the files of one",
    "verify": "read every byte again and check it",
    "serve": "load models and answer requests to them",
    "run": "ask a model, once or in a conversation",
    "embed": "turn texts into vectors with a model",
    "fit": "how much memory a model needs here",
    "ps": "the models that are in memory",
    "env": "point the tools of Hugging Face at this node",
    "shell": "a shell in which they are",
    "rm": "drop a release from this disk",
    "trust": "who may say what: aliases of publishers",
    "key": "your own keys: who may publish in your name, and what was taken back",
    "update": "install another version of p2phub from a release, without a network",
    "token": "tokens for other programs and machines, and what each may do",
}


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose mistakes are errors of ours."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, remedy=f"See `{self.prog} --help`.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    before, verb, after = _split(words)
    output = Output(json="--json" in words, quiet="--quiet" in words or "-q" in words)
    verbose = "--verbose" in words or "-v" in words
    if arguments is None:
        sys.excepthook = _apology(output, verbose=verbose or verb == "node")
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
    try:
        return _run(before, verb, after, output)
    except P2PHubError as error:
        output.error(error)
        return error.exit
    except KeyboardInterrupt:
        output.error(Interrupted())
        return INTERRUPTED
    except BrokenPipeError:
        # What is left in the buffer of standard output must not be written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _run(before: list[str], verb: str | None, after: list[str], output: Output) -> int:
    for word in (*before, verb or "", *after):
        if any("\ud800" <= each <= "\udfff" for each in word):
            raise UsageError(f"{word!r} is not UTF-8 text", remedy="Rename it, or type it anew.")
    options = argparse.Namespace(home=None, json=False, quiet=False, verbose=False)
    main_parser = _main_parser()
    main_parser.parse_args(before, options)
    if verb is None:
        main_parser.print_help()
        return 0
    if verb not in COMMANDS:
        raise UsageError(f'there is no command "{verb}"', remedy="See `p2phub --help`.")
    command = _load(verb)
    if hasattr(command, "VERBS"):
        verb, inner, after = _one_of(verb, command, after, options)
        if inner is None:
            return 0
        command = inner
    parser = Parser(prog=f"p2phub {verb}", description=command.__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_arguments(parser)
    _add_global_options(parser)
    parser.parse_args(after, options)
    home = home_folder(options.home, os.environ)
    session = Session(home, output, verbose=options.verbose)
    status: int = command.run(options, session)
    return status


def _split(words: list[str]) -> tuple[list[str], str | None, list[str]]:
    """What stands before the command, the command, and what stands after it.

    >>> _split(["--home", "h", "pull", "lab/x", "--json"])
    (['--home', 'h'], 'pull', ['lab/x', '--json'])
    """
    position = 0
    while position < len(words) and words[position].startswith("-"):
        position += 2 if words[position] == "--home" else 1
    verb = words[position] if position < len(words) else None
    return words[:position], verb, words[position + 1 :]


def _one_of(
    verb: str, group: ModuleType, words: list[str], options: argparse.Namespace
) -> tuple[str, ModuleType | None, list[str]]:
    """Which command of a group is meant, its file and its words; no file if only help was wanted.

    A group has `VERBS` (what each of its commands does) and `FOLDER` (where their files are).
    """
    before, inner, after = _split(words)
    if inner is None:
        parser = _table_of(f"p2phub {verb}", group.__doc__ or "", group.VERBS)
        parser.parse_args(before, options)
        parser.print_help()
        return verb, None, []
    if inner not in group.VERBS:
        raise UsageError(
            f'there is no command "{verb} {inner}"', remedy=f"See `p2phub {verb} --help`."
        )
    command = importlib.import_module(f"{group.FOLDER}.{inner.replace('-', '_')}")
    return f"{verb} {inner}", command, [*before, *after]


def _load(verb: str) -> ModuleType:
    return importlib.import_module(f"p2phub.cli.commands.{verb}")


def _main_parser() -> Parser:
    about = "A hub for machine-learning models with no company in the middle."
    parser = _table_of("p2phub", about, COMMANDS)
    parser.add_argument("--version", action="version", version=f"p2phub {__version__}")
    return parser


def _table_of(prog: str, about: str, commands: Mapping[str, str]) -> Parser:
    """A parser whose help is the table of `commands`."""
    width = max(map(len, commands))
    table = "\n".join(f"  {verb:<{width}}  {summary}" for verb, summary in commands.items())
    parser = Parser(
        prog=prog,
        usage=f"{prog} [options] COMMAND …",
        description=about,
        epilog=f"commands:\n{table}\n\n`{prog} COMMAND --help` tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_global_options(parser)
    return parser


def _add_global_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("global options")
    suppressed = argparse.SUPPRESS
    group.add_argument(
        "--home",
        type=Path,
        default=suppressed,
        metavar="DIR",
        help="the node's folder (P2PHUB_HOME, or ~/.p2phub)",
    )
    group.add_argument(
        "--json", action="store_true", default=suppressed, help="JSON on standard output"
    )
    group.add_argument(
        "-q", "--quiet", action="store_true", default=suppressed, help="results and errors only"
    )
    group.add_argument(
        "-v", "--verbose", action="store_true", default=suppressed, help="tell what is done"
    )


class Interrupted(P2PHubError):
    """Control-C, told like an error."""

    exit, code = INTERRUPTED, "interrupted"

    def __init__(self) -> None:
        super().__init__("interrupted", remedy="Run it again: it goes on from where it was.")


class Bug(P2PHubError):
    """What a person is told of an exception that nobody expected."""

    code = "internal"

    def __init__(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        super().__init__(
            f"p2phub met a bug of its own, sorry: {type(error).__name__}: {error}",
            remedy="Run it again with --verbose and report what it prints.",
        )


Hook = Callable[[type[BaseException], BaseException, TracebackType | None], None]


def _apology(output: Output, *, verbose: bool) -> Hook:
    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if verbose:
            traceback.print_exception(kind, error, trace)
        output.error(Bug(error))

    return hook
