"""How a command gets a passphrase or a recovery phrase, and how a phrase is shown, once.

A person at a terminal is asked, and what is typed does not show. A program names a file that only
its owner can read. Nothing secret is an argument (other users see those), an environment variable,
or read from a pipe, and nothing secret is printed anywhere but on a terminal.
"""

import argparse
import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from p2phub.cli.output import Output
from p2phub.cli.session import Session
from p2phub.errors import NotFoundError, RefusedError, UsageError
from p2phub.trust.hidden import SecretBytes, SecretText

if TYPE_CHECKING:
    from p2phub.formats.publisher import Root
    from p2phub.store.keyring import Keyring
    from p2phub.trust.secrets import RootSecret

MAX_SECRET_FILE: Final = 8192
"""Bytes of a file with a passphrase or a phrase."""
_WORDS_IN_A_LINE: Final = 4


def add_passphrase_file(parser: argparse.ArgumentParser, what: str = "of the root key") -> None:
    """The option `--passphrase-file`, as `arguments.passphrase_file`."""
    parser.add_argument(
        "--passphrase-file",
        metavar="FILE",
        type=Path,
        help=f"the passphrase {what}, one line in a file that only you can read",
    )


def add_phrase_file(parser: argparse.ArgumentParser, what: str = "the recovery phrase") -> None:
    """The option `--phrase-file`, as `arguments.phrase_file`."""
    parser.add_argument("--phrase-file", metavar="FILE", type=Path, help=what)


def at_terminal(output: Output) -> bool:
    """Whether a person can be asked: both ends are a terminal and nobody wants JSON."""
    return not output.json and sys.stdin.isatty() and output.err.isatty()


def ask_passphrase(
    session: Session, file: Path | None, *, what: str = "the root key"
) -> SecretText:
    """The passphrase that `what` is locked with: from `file`, or typed on a terminal.

    Raises `RefusedError` where nobody can be asked, or for a file that others can read.
    """
    if file is not None:
        return _line(read_secret(file), file)
    _require_terminal(session.output, "a passphrase", "--passphrase-file")
    return _typed(f"Passphrase of {what}: ")


def ask_new_passphrase(
    session: Session, file: Path | None, *, what: str = "the root key"
) -> SecretText | None:
    """A passphrase to lock `what` with from now on; None if a person leaves it empty.

    A person types it twice, and is asked again if it is too short or too long or the two differ.
    Raises `UsageError` for such a one in a file, and as `ask_passphrase`.
    """
    from p2phub.trust.sealing import check_passphrase

    if file is not None:
        passphrase = _line(read_secret(file), file)
        check_passphrase(passphrase)
        return passphrase
    _require_terminal(session.output, "a new passphrase", "--passphrase-file")
    while True:
        passphrase = _typed(f"New passphrase for {what}: ", needed=False)
        if not passphrase:
            return None
        problem = _problem_of(passphrase)
        if problem is None:
            return passphrase
        print(f"{problem}. Try again.", file=session.output.err, flush=True)


def ask_phrase(session: Session, file: Path | None) -> SecretText:
    """A recovery phrase as somebody wrote it, unchecked: from `file`, or typed on a terminal.

    Raises `RefusedError` where nobody can be asked, or for a file that others can read.
    """
    if file is not None:
        lines = read_secret(file).splitlines()
        return SecretText(" ".join(line for line in lines if not line.startswith("#")))
    _require_terminal(session.output, "the recovery phrase", "--phrase-file")
    return _typed("Recovery phrase, 24 words: ")


def ask_root(
    session: Session,
    keyring: "Keyring",
    passphrase_file: Path | None,
    phrase_file: Path | None,
    newest: "Root | None" = None,
) -> "RootSecret":
    """What makes the root keys: from a phrase if its file is given, else what is kept here, with
    the passphrase if it is locked, else from the phrase that somebody types.

    What is kept here from before the root was replaced, and does not make `newest`, is passed over.
    Raises as `ask_passphrase` and `ask_phrase`, `Keyring.root` and `Master.from_phrase`. Whether a
    phrase makes the keys of this publisher is for the caller to check.
    """
    from p2phub.trust.secrets import Master, RootSecret

    if phrase_file is None:
        kept = keyring.root(lambda: ask_passphrase(session, passphrase_file))
        if kept is not None and (newest is None or kept.makes(newest.v, newest.keys.keys)):
            return kept
        if kept is not None:
            session.output.warn(
                "the root that is kept on this machine is an older one; `p2phub key lock` keeps the"
                " newest instead"
            )
    return RootSecret(Master.from_phrase(ask_phrase(session, phrase_file)))


def confirm(session: Session, question: str) -> bool:
    """Whether a person at the terminal types yes. Raises `RefusedError` where there is none."""
    if not at_terminal(session.output):
        raise RefusedError(
            f"this needs a yes from a person, and there is no terminal to ask on: {question}",
            remedy="run it on a terminal",
        )
    print(f"{question} [yes/no] ", end="", file=session.output.err, flush=True)
    return sys.stdin.readline().strip().lower() in ("yes", "y")


def show_phrase(session: Session, phrase: str) -> None:
    """Print the phrase on the terminal, numbered, a few words in a line.

    Raises `RefusedError` where standard error is no terminal.
    """
    err, words = session.output.err, SecretText(phrase).split()
    if not at_terminal(session.output):
        raise RefusedError(
            "a recovery phrase is printed on a terminal only", remedy="give --phrase-file FILE"
        )
    print("\nThe recovery phrase of this publisher:\n", file=err)
    for at in range(0, len(words), _WORDS_IN_A_LINE):
        row = enumerate(words[at : at + _WORDS_IN_A_LINE], at + 1)
        print("   " + "".join(f"{number:2}. {word:<10}" for number, word in row), file=err)
    print(file=err, flush=True)


def read_secret(file: Path) -> SecretText:
    """The text of a file that only its owner can read.

    Raises `NotFoundError`, `RefusedError`, or `UsageError` for what is no text of that kind.
    """
    from p2phub.store.private_file import read_private

    data = read_private(file, MAX_SECRET_FILE)
    if data is None:
        raise NotFoundError(f"there is no file {file}", remedy="write the secret there, mode 0600")
    text = _decoded(data)
    if text is None or not text.strip():
        raise UsageError(f"{file} holds no UTF-8 text", remedy="write the secret there, as text")
    return text


def _decoded(data: SecretBytes) -> SecretText | None:
    try:
        return SecretText(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return None


def _line(text: SecretText, file: Path) -> SecretText:
    line = SecretText(text.removesuffix("\n").removesuffix("\r"))
    if "\n" in line:
        raise UsageError(
            f"{file} has more than one line", remedy="let it hold the passphrase and nothing else"
        )
    return line


def _problem_of(passphrase: SecretText) -> str | None:
    """What is wrong with a new passphrase, which is typed again if nothing else is."""
    from p2phub.trust.sealing import check_passphrase

    try:
        check_passphrase(passphrase)
    except UsageError as error:
        return error.message
    again = _typed("The same passphrase again: ", needed=False)
    return None if again == passphrase else "The two passphrases differ"


def _typed(prompt: str, *, needed: bool = True) -> SecretText:
    try:
        text = SecretText(getpass.getpass(prompt))
    except EOFError:
        raise UsageError("the input ended", remedy="run the command again") from None
    if needed and not text:
        raise UsageError("nothing was typed", remedy="run the command again")
    return text


def _require_terminal(output: Output, what: str, option: str) -> None:
    if not at_terminal(output):
        raise RefusedError(
            f"{what} is needed, and there is no terminal to ask on",
            remedy=f"give it with {option} FILE, a file that only you can read",
        )
