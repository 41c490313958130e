"""What a new revision costs where the old one is: the bytes that changed, and little else.

The budgets are for 256 MiB; they hold here for 16 MiB where changes are whole tensors. In a text
file one piece changes with the row that was inserted, however large the file is.
"""

import json
import os
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from p2phub.formats.limits import MAX_PIECE
from p2phub.network.data_server import DataServer
from p2phub.node.library import Library
from p2phub.node.values import PublishRequest, Pulled, PullRequest

from .nodes import MIB, consumer, contents, new_publisher, node, quiet

pytestmark = pytest.mark.slow

SIZE = 16 * MIB
Tensors = dict[str, bytes]


def write(path: Path, tensors: Mapping[str, bytes]) -> None:
    """A safetensors file."""
    entries, end = {}, 0
    for name, data in tensors.items():
        entries[name] = {"dtype": "U8", "shape": [len(data)]}
        entries[name]["data_offsets"] = [end, end + len(data)]
        end += len(data)
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.writelines(tensors.values())


def model(folder: Path, size: int) -> Tensors:
    """Four shards of twenty tensors each, `size` bytes in all."""
    folder.mkdir()
    tensors = {f"layer.{n:02}": os.urandom(size // 80) for n in range(80)}
    for shard in range(4):
        write_shard(folder, tensors, shard)
    return tensors


def write_shard(folder: Path, tensors: Tensors, shard: int) -> None:
    names = sorted(tensors)[20 * shard : 20 * shard + 20]
    write(folder / f"model-{shard}.safetensors", {name: tensors[name] for name in names})


# ---------------------------------------------------------------- changes: how many bytes changed


def another_shard(folder: Path, tensors: Tensors) -> int:
    """One of four shards has other tensors."""
    for name in sorted(tensors)[20:40]:
        tensors[name] = os.urandom(len(tensors[name]))
    write_shard(folder, tensors, 1)
    return sum(len(tensors[name]) for name in sorted(tensors)[20:40])


def some_tensors(folder: Path, tensors: Tensors) -> int:
    """One tensor of twenty, in each shard."""
    for shard in range(4):
        name = sorted(tensors)[20 * shard + 3 * shard + 1]
        tensors[name] = os.urandom(len(tensors[name]))
        write_shard(folder, tensors, shard)
    return 4 * len(tensors["layer.00"])


def other_shards(folder: Path, tensors: Tensors) -> int:
    """The same tensors in three files, in another order."""
    for path in folder.glob("*.safetensors"):
        path.unlink()
    names = random.Random(1).sample(sorted(tensors), len(tensors))
    for part in range(3):
        write(folder / f"new-{part}.safetensors", {name: tensors[name] for name in names[part::3]})
    return 0


CHANGES = [another_shard, some_tensors, other_shards]


def rows(size: int) -> Iterator[bytes]:
    numbers, done = random.Random(2), 0
    while done < size:
        row = b'{"text": "%x"}\n' % numbers.getrandbits(1600)
        done += len(row)
        yield row


class Wire:
    """What the data planes of this process were asked for and have sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.servers: list[DataServer] = []
        self.documents, self.files = 0, 0
        start, document, opened = DataServer.start, Library.document, Library.open

        def started(server, *given):
            self.servers.append(server)
            return start(server, *given)

        def asked(library, *given):
            self.documents += 1
            return document(library, *given)

        def file(library, *given):
            self.files += 1
            return opened(library, *given)

        monkeypatch.setattr(DataServer, "start", started)
        monkeypatch.setattr(Library, "document", asked)
        monkeypatch.setattr(Library, "open", file)

    @property
    def sent(self) -> int:
        return sum(server.bytes_sent for server in self.servers)

    def reset(self) -> None:
        self.documents = self.files = 0
        self._before = self.sent

    @property
    def cost(self) -> int:
        """Bytes since `reset`."""
        return self.sent - self._before


@pytest.fixture
def wire(monkeypatch):
    return Wire(monkeypatch)


async def revise(
    tmp_path: Path, wire: Wire, folder: Path, change: Callable[[], int]
) -> tuple[int, Pulled]:
    """Publish, pull, change, publish, pull: how many bytes changed, and the second pull."""
    publisher = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as a, consumer(tmp_path / "b", a, publisher) as b:
        await a.publish(PublishRequest(folder, "x"), quiet)
        await b.pull(PullRequest("lab/x"), quiet)
        changed = change()
        await a.publish(PublishRequest(folder, "x"), quiet)
        wire.reset()
        pulled = await b.pull(PullRequest("lab/x"), quiet)
        assert contents(pulled.path) == contents(folder)
        return changed, pulled


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
async def test_a_revision_costs_its_changed_tensors(tmp_path, wire, change):
    tensors = model(tmp_path / "in", SIZE)
    changed, pulled = await revise(
        tmp_path, wire, tmp_path / "in", lambda: change(tmp_path / "in", tensors)
    )
    assert changed <= pulled.bytes_fetched <= wire.cost <= 1.01 * changed + 0.005 * SIZE
    assert pulled.bytes_fetched + pulled.bytes_linked == pulled.bytes_total


async def test_tensors_with_the_same_bytes_cross_the_wire_once(tmp_path, wire):
    folder = tmp_path / "in"
    folder.mkdir()
    embedding, norm = os.urandom(3 * MIB), os.urandom(100_000)
    tied = {"embed": embedding, "head": embedding, **{f"norm.{n}": norm for n in range(20)}}
    write(folder / "model.safetensors", tied | {"zeros": bytes(8 * MIB)})
    publisher = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as a, consumer(tmp_path / "b", a, publisher) as b:
        await a.publish(PublishRequest(folder, "x"), quiet)
        wire.reset()
        pulled = await b.pull(PullRequest("lab/x"), quiet)
        assert contents(pulled.path) == contents(folder)
    different = 3 * MIB + 100_000 + MIB
    assert different <= pulled.bytes_fetched <= wire.cost <= 1.01 * different + 0.005 * SIZE
    assert pulled.bytes_fetched + pulled.bytes_linked == pulled.bytes_total


async def test_a_row_that_is_inserted_costs_its_piece(tmp_path, wire):
    folder = tmp_path / "in"
    folder.mkdir()
    lines = list(rows(SIZE))
    (folder / "train.jsonl").write_bytes(b"".join(lines))

    def insert() -> int:
        lines.insert(len(lines) // 2, b'{"text": "new"}\n')
        (folder / "train.jsonl").write_bytes(b"".join(lines))
        return len(lines[len(lines) // 2])

    _, pulled = await revise(tmp_path, wire, folder, insert)
    assert pulled.bytes_fetched <= 2 * MAX_PIECE
    assert wire.cost <= 2 * MAX_PIECE + 0.005 * SIZE


async def test_a_repo_of_files_that_are_all_here_is_not_asked_for(tmp_path, wire):
    model(tmp_path / "in", SIZE)
    publisher = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as a, consumer(tmp_path / "b", a, publisher) as b:
        await a.publish(PublishRequest(tmp_path / "in", "x"), quiet)
        await b.pull(PullRequest("lab/x"), quiet)
        await a.publish(PublishRequest(tmp_path / "in", "y"), quiet)
        wire.reset()
        pulled = await b.pull(PullRequest("lab/y"), quiet)
    assert (pulled.bytes_fetched, pulled.bytes_linked) == (0, pulled.bytes_total)
    assert wire.files == 0
    assert wire.cost <= 0.01 * SIZE


async def test_a_far_publisher_is_asked_for_tables_and_not_for_pieces(tmp_path, wire):
    """However far it is: a round trip for each file, none for a piece."""
    tensors = model(tmp_path / "in", SIZE)
    await revise(tmp_path, wire, tmp_path / "in", lambda: other_shards(tmp_path / "in", tensors))
    assert wire.files <= 3  # the headers are new: one piece, or two, of each file
    assert wire.documents <= 3 + 10  # tables, and the documents of the release
