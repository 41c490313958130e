"""What a command works with: the global options, the settings, and a node to ask.

A command that needs the network asks the node that runs for this home, or one that is started for
it and stopped after. A command that only looks asks the node that runs, or reads the store itself.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2phub.cli.output import Output
from p2phub.client.running import find_running
from p2phub.errors import ConfigError

if TYPE_CHECKING:
    from p2phub.client.calls import Call
    from p2phub.client.connection import Connection
    from p2phub.config import Config
    from p2phub.node.offline import Offline


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the command line."""

    home: Path
    output: Output
    verbose: bool = False

    def config(self) -> "Config":
        """The settings: node.toml of the home folder, the environment over it."""
        from p2phub import config

        path = self.home / "node.toml"
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            text = ""
        except NotADirectoryError:
            raise ConfigError(
                f"{self.home} cannot be a home folder: a file is in the way",
                remedy="Name another folder: --home DIR, or P2PHUB_HOME.",
            ) from None
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{path} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#x}",
                remedy="Save it as UTF-8.",
            ) from None
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read: {error.strerror or error}",
                remedy="Make it a file that this user may read.",
            ) from error
        return config.load(text, os.environ)

    @contextmanager
    def node(self) -> Iterator["Connection"]:
        """The node that runs, or one that is started now and stopped at the end of the block."""
        from p2phub.client.connection import Connection
        from p2phub.client.embedded import reach

        running, embedded = reach(self.home, verbose=self.verbose)
        try:
            connection = Connection(running)
            try:
                yield connection
            finally:
                connection.close()
        finally:
            if embedded is not None:
                embedded.stop()

    @contextmanager
    def offline(self) -> Iterator["Offline"]:
        """The store itself, to look at while no node runs."""
        from p2phub.node.offline import open_offline

        with open_offline(self.config(), self.home) as offline:
            yield offline

    def answer(self, call: "Call[Any]") -> Mapping[str, Any] | None:
        """The answer of the node that runs; None if none does."""
        running = find_running(self.home)
        if running is None:
            return None
        from p2phub.client.connection import Connection

        connection = Connection(running)
        try:
            return connection.answer(call)
        finally:
            connection.close()


def as_objects(values: Sequence[object]) -> list[dict[str, Any]]:
    """Values of the node as the JSON objects that a running node would have sent."""
    from p2phub.node.values import as_json

    return [as_json(each) for each in values]
