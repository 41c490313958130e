"""A conversation with a model on a terminal, or one question in a pipe.

Rules it keeps:
 * text of a model is shown without control characters: it cannot steer a terminal;
 * an answer that is stopped or fails is no part of what is said: the question is not either.
"""

import contextlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from p2phub.cli.models import answer
from p2phub.cli.output import Output
from p2phub.errors import P2PHubError, RevokedError

if TYPE_CHECKING:
    from p2phub.client.connection import Connection

PROMPT: Final = ">>> "
HELP: Final = "/clear forgets what was said; /bye, Ctrl-D or Ctrl-C leaves"


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


def converse(talk: Conversation) -> None:
    """Ask what is typed, line by line, until the person leaves."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - lines can be edited, and earlier ones called back
    while True:
        try:
            line = input(PROMPT).strip()
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return
        if line == "/bye":
            return
        if line == "/clear":
            talk.clear()
        elif line.startswith("/"):
            print(HELP, file=sys.stderr)
        elif line:
            _ask(talk, line)


def _ask(talk: Conversation, line: str) -> None:
    try:
        talk.ask(line)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    except RevokedError:
        raise
    except P2PHubError as error:
        print(f"error: {error.message}", file=sys.stderr)
