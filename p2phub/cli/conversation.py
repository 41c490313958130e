"""A conversation with a model on a terminal, or one question in a pipe.

Rules it keeps:
 * text of a model is shown without control characters: it cannot steer a terminal;
 * an answer that is stopped or fails is no part of what is said: the question is not either.
"""

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from p2phub.cli.models import answer
from p2phub.cli.output import Output
from p2phub.errors import P2PHubError, RevokedError

if TYPE_CHECKING:
    from p2phub.client.connection import Connection

PROMPT: Final = ">>> "
MORE: Final = "... "
MARK: Final = '"""'
HELP: Final = f"""\
/clear forgets what was said
{MARK} begins a text of several lines, and ends it
Ctrl-C stops an answer; /bye, Ctrl-D or Ctrl-C twice leaves"""
LEAVE: Final = "Ctrl-C again, Ctrl-D or /bye leaves"


class Conversation:
    """What was said to a model so far. `options`: as the OpenAI API has them."""

    def __init__(
        self,
        output: Output,
        node: "Connection",
        model: str,
        options: Mapping[str, Any],
        system: str | None = None,
    ) -> None:
        self._output, self._node, self._model = output, node, model
        self._options = options
        self._system = [{"role": "system", "content": system}] if system else []
        self.said: list[dict[str, str]] = []
        """Questions and answers in turns."""

    def clear(self) -> None:
        """Forget what was said."""
        self.said.clear()

    def ask(self, text: str) -> None:
        """Ask, and show the answer as it comes. Raises what the model raises."""
        question = {"role": "user", "content": text}
        messages = [*self._system, *self.said, question]
        pieces: list[str] = []
        with answer(self._node, self._model, messages, self._options) as (pedigree, texts):
            try:
                for piece in texts:
                    pieces.append(piece)
                    if not self._output.json:
                        self._output.text(piece)
            finally:
                if pieces and not self._output.json:
                    self._output.text("\n")
        whole = "".join(pieces)
        self.said += [question, {"role": "assistant", "content": whole}]
        if self._output.json:
            self._output.record({"model": self._model, "text": whole, **pedigree})


def converse(talk: Conversation, prepare: Callable[[], object] = lambda: None) -> None:
    """Ask what is typed until the person leaves.

    `prepare` is called before each question: it brings the model back into memory if it is not
    there any more, and shows how that goes.
    """
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - lines can be edited, and earlier ones called back
    asked_to_leave = False
    while True:
        try:
            if not _turn(talk, prepare):
                return
            asked_to_leave = False
        except EOFError:
            print(file=sys.stderr)
            return
        except KeyboardInterrupt:
            print(file=sys.stderr)
            if asked_to_leave:
                return
            asked_to_leave = True
            print(LEAVE, file=sys.stderr)


def _turn(talk: Conversation, prepare: Callable[[], object]) -> bool:
    """Read a question, and answer it; whether the person stays."""
    text = _typed()
    if text == "/bye":
        return False
    if text == "/clear":
        talk.clear()
    elif text.startswith("/") and "\n" not in text:
        print(HELP, file=sys.stderr)
    elif text:
        _ask(talk, text, prepare)
    return True


def _typed() -> str:
    """What is typed: a line, or all lines between two marks."""
    line = input(PROMPT).strip()
    if not line.startswith(MARK):
        return line
    lines = [line.removeprefix(MARK)]
    while not lines[-1].rstrip().endswith(MARK):
        lines.append(input(MORE))
    return "\n".join(lines).rstrip().removesuffix(MARK).strip()


def _ask(talk: Conversation, text: str, prepare: Callable[[], object]) -> None:
    try:
        prepare()
        talk.ask(text)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    except RevokedError:
        raise
    except P2PHubError as error:
        print(f"error: {error.message}", file=sys.stderr)
