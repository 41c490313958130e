"""What people read data with, on `p2p://` paths: a publisher and a node that has nothing yet.

How much was fetched is what the reader's node has on its disk after it: whole pieces.
"""

import io
import json
import threading
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest

from p2phub.client import releases
from p2phub.client.filesystem import P2PFileSystem
from tests.scenarios.nodes import contents
from tests.scenarios.processes import Home, machines

np = pytest.importorskip("numpy", reason="needs p2phub[clients]")
pd = pytest.importorskip("pandas", reason="needs p2phub[clients]")
pa = pytest.importorskip("pyarrow", reason="needs p2phub[clients]")

pads = pytest.importorskip("pyarrow.dataset", reason="needs p2phub[clients]")
pq = pytest.importorskip("pyarrow.parquet", reason="needs p2phub[clients]")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.budget(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

MIB = 1 << 20
FILES, GROUPS, ROWS = 8, 16, 1000
"""Of a set: files, row groups in each, rows in each group. A row is about a KiB."""


def table(name: str, number: int, rows: int):
    """The rows of a file of a set: numbers to compare by, and text that hardly gets smaller."""
    random = np.random.default_rng([number, *name.encode()])
    words = [random.bytes(496).hex() for _ in range(rows)]
    numbers = np.arange(number * rows, (number + 1) * rows)
    return pa.table({"number": numbers, "weight": random.random(rows), "text": words})


def parquet_set(folder: Path, files: int = FILES, groups: int = GROUPS) -> Path:
    """Files of about a MiB for each row group; no two sets have a piece in common."""
    (folder / "data").mkdir(parents=True)
    for number in range(files):
        path = folder / "data" / f"{number:02}.parquet"
        pq.write_table(table(folder.name, number, groups * ROWS), path, row_group_size=ROWS)
    return folder


@dataclass
class Scene:
    publisher: Home
    consumer: Home
    folder: Path

    def published(self, name: str, folder: Path) -> int:
        """Publish a set; its size in bytes."""
        done = self.publisher.done("publish", folder, name, "--kind", "dataset")
        return done["bytes"]

    def held(self) -> int:
        """Bytes of files that the consumer's node has on its disk: whole files, and pieces."""
        found = [*(self.consumer.store / "blobs").rglob("*")]
        found += (self.consumer.store / "partial").rglob("data")
        return sum(512 * path.stat().st_blocks for path in found if path.is_file())


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filesystem")
    with machines(folder) as made, pytest.MonkeyPatch.context() as patch:
        publisher, consumer = made.publisher(), made.home("consumer")
        with publisher.running() as first, consumer.running(bootstrap=first.address):
            consumer.done("trust", "add", "lab", first.publisher_id)
            patch.setenv("P2PHUB_HOME", str(consumer.folder))
            patch.setenv("HF_HOME", str(folder / "huggingface"))
            patch.setattr(releases, "_made", {})
            fsspec.register_implementation("p2p", P2PFileSystem, clobber=True)
            P2PFileSystem.clear_instance_cache()
            yield Scene(publisher, consumer, folder)
            for known in releases._made.values():
                known.hub.close()


@pytest.fixture(scope="module")
def small(scene):
    """A set of one parquet file, and some others."""
    folder = parquet_set(scene.folder / "small", files=1)
    rows = table("rows", 0, 5).drop(["text"]).to_pandas()
    rows.to_csv(folder / "rows.csv", index=False)
    rows.to_csv(folder / "rows.csv.gz", index=False)
    rows.to_json(folder / "rows.jsonl", orient="records", lines=True)
    (folder / "nothing.txt").touch()
    scene.published("small", folder)
    return folder


def first_rows(scene, name, *, dealt=False, **options):
    """Stream ten rows of a set; the bytes that were fetched for them. `dealt`: by row groups."""
    datasets = pytest.importorskip("datasets", reason="needs p2phub[clients]")
    before = scene.held()
    files = f"p2p://lab/{name}/data/*.parquet"
    rows = datasets.load_dataset(
        "parquet", data_files=files, streaming=True, split="train", **options
    )
    rows = rows.reshard() if dealt else rows
    assert [row["number"] for row in rows.take(10)] == list(range(10))
    return scene.held() - before


def test_the_first_rows_of_a_set_of_large_files_fetch_less_than_a_twentieth_of_it(scene):
    size = scene.published("large", parquet_set(scene.folder / "large"))
    assert size > 100 * MIB
    small_reads = pa.CacheOptions(range_size_limit=MIB, prefetch_limit=0)
    options = pads.ParquetFragmentScanOptions(cache_options=small_reads)
    share = first_rows(scene, "large", fragment_scan_options=options) / size
    print(f"{share:.2%} of {size / MIB:.0f} MiB")
    assert 0 < share < 0.05
    # Left to itself pyarrow asks for a whole file (see below): not for two.
    assert first_rows(scene, "large") < 1.1 * size / FILES


def test_the_first_rows_of_a_set_that_is_dealt_out_by_row_groups_fetch_less(scene):
    size = scene.published("dealt", parquet_set(scene.folder / "dealt"))
    share = first_rows(scene, "dealt", dealt=True) / size
    print(f"{share:.2%} of {size / MIB:.0f} MiB")
    assert 0 < share < 0.05


class Watched(io.RawIOBase):
    """A file that notes what is asked of it."""

    def __init__(self, path):
        self._file, self.asked = path.open("rb"), []

    def readable(self):
        return True

    seekable = readable

    def seek(self, *where):
        return self._file.seek(*where)

    def tell(self):
        return self._file.tell()

    def read(self, count=-1):
        self.asked.append(count)
        return self._file.read(count)

    def close(self):
        self._file.close()
        super().close()


def test_what_pyarrow_asks_for_the_first_rows_is_one_read_of_all_row_groups(small):
    (path,) = (small / "data").iterdir()
    asked = {}
    for buffered in (True, False):
        options = pads.ParquetFragmentScanOptions(pre_buffer=buffered)
        with Watched(path) as file:
            made = pads.ParquetFileFormat(default_fragment_scan_options=options).make_fragment(file)
            batches = made.to_batches(batch_size=10, batch_readahead=0, fragment_readahead=0)
            assert len(next(iter(batches))) == 10
            del batches
            asked[buffered] = max(file.asked)
    assert asked[True] > 0.99 * path.stat().st_size  # its default; nothing can answer it with less
    assert asked[False] < 2 * MIB


def test_the_first_rows_of_a_set_of_many_files_fetch_less_than_a_twentieth_of_it(scene):
    size = scene.published("many", parquet_set(scene.folder / "many", files=32, groups=4))
    assert size > 100 * MIB
    share = first_rows(scene, "many") / size
    print(f"{share:.2%} of {size / MIB:.0f} MiB")
    assert 0 < share < 0.05


def test_a_streamed_set_is_read_to_its_end_by_several_workers(scene, small):
    datasets = pytest.importorskip("datasets", reason="needs p2phub[clients]")
    data = pytest.importorskip("torch.utils.data", reason="needs p2phub[inference]")
    name = "p2p://lab/small/data/*.parquet"
    rows = datasets.load_dataset("parquet", data_files=[name] * 2, streaming=True, split="train")
    loader = data.DataLoader(rows.select_columns(["number"]), batch_size=None, num_workers=2)
    assert len({row["number"] for row in loader}) == GROUPS * ROWS


def test_pandas_reads_what_it_reads_from_a_disk(scene, small):
    for name, read in (
        ("rows.csv", pd.read_csv),
        ("rows.csv.gz", pd.read_csv),
        ("data/00.parquet", pd.read_parquet),
    ):
        pd.testing.assert_frame_equal(read(f"p2p://lab/small/{name}"), read(small / name))
    lines = pd.read_json("p2p://lab/small/rows.jsonl", lines=True)
    pd.testing.assert_frame_equal(lines, pd.read_json(small / "rows.jsonl", lines=True))


def test_a_folder_is_copied_as_it_was_published(scene, small, tmp_path):
    fsspec.filesystem("p2p").get("lab/small", str(tmp_path / "copy"), recursive=True)
    assert contents(tmp_path / "copy") == contents(small)
    assert "nothing.txt" in contents(small)


def test_a_column_is_fetched_without_the_others(scene):
    size = scene.published("columns", parquet_set(scene.folder / "columns", files=1))
    before = scene.held()
    with fsspec.open("p2p://lab/columns/data/00.parquet") as file:
        found = pq.read_table(file, columns=["weight"])
    assert found.equals(table("columns", 0, GROUPS * ROWS).select(["weight"]))
    print(f"{(scene.held() - before) / size:.2%} of {size / MIB:.0f} MiB")
    assert 0 < scene.held() - before < size / 2


def test_pyarrow_reads_a_folder_as_one_set(scene, small):
    fs = fsspec.filesystem("p2p")
    found = pads.dataset("lab/small/data", filesystem=fs, format="parquet")
    above = found.to_table(columns=["number"], filter=pads.field("number") >= 15_000)
    assert above["number"].to_pylist() == list(range(15_000, GROUPS * ROWS))
    assert found.to_table().equals(pads.dataset(small / "data").to_table())


def test_duckdb_asks_many_row_groups_with_many_threads(scene, small):
    duckdb = pytest.importorskip("duckdb", reason="needs p2phub[clients]")
    with duckdb.connect() as db:
        db.register_filesystem(fsspec.filesystem("p2p"))
        db.execute("SET threads = 8")
        found = db.sql(
            "SELECT count(*), sum(number), md5(string_agg(text, '' ORDER BY number))"
            " FROM 'p2p://lab/small/data/*.parquet'"
        ).fetchall()
        rows = db.sql("SELECT max(number) FROM read_csv('p2p://lab/small/rows.csv')").fetchall()
    with duckdb.connect() as db:
        here = db.sql(
            "SELECT count(*), sum(number), md5(string_agg(text, '' ORDER BY number))"
            f" FROM '{small}/data/00.parquet'"
        ).fetchall()
    assert found == here
    assert rows == [(4,)]


def test_torch_reads_weights_through_an_open_file(scene):
    torch = pytest.importorskip("torch", reason="needs p2phub[inference]")
    from safetensors.torch import load, save_file

    folder = scene.folder / "weights"
    folder.mkdir()
    weights = {"a": torch.randn(512, 1024), "b": torch.arange(7)}
    torch.save(weights, folder / "weights.pt")
    save_file(weights, folder / "model.safetensors")
    scene.published("weights", folder)
    with fsspec.open("p2p://lab/weights/weights.pt") as file:
        found = torch.load(file, weights_only=True)
    again = load(fsspec.filesystem("p2p").cat_file("lab/weights/model.safetensors"))
    for each in (found, again):
        assert all(torch.equal(each[name], tensor) for name, tensor in weights.items())


def test_a_set_that_was_taken_back_is_refused_also_in_an_open_file(scene):
    folder = scene.folder / "taken"
    folder.mkdir()
    (folder / "rows.csv").write_bytes(b"a,b\n" * MIB)
    scene.published("taken", folder)
    fs = fsspec.filesystem("p2p", listings_expiry_time=0)
    file = fs.open("lab/taken/rows.csv", cache_type="none")
    assert file.read(4) == b"a,b\n"
    words = ("--release", "lab/taken", "--withdraw", "--reason", "it was somebody's mail")
    scene.publisher.done("key", "revoke", *words)
    _wait_until_refused(file)
    with pytest.raises(PermissionError, match="somebody's mail"):
        file.read(4)
    with pytest.raises(PermissionError, match="somebody's mail"):
        pd.read_csv("p2p://lab/taken/rows.csv", storage_options={"listings_expiry_time": 0})


def _wait_until_refused(file, seconds: float = 30.0):
    """News take a moment to come."""
    told = threading.Event()
    for _ in range(int(seconds / 0.1)):
        try:
            file.read(4)
        except PermissionError:
            return
        told.wait(0.1)
    raise AssertionError("it is read as if nothing had been said")


def test_a_ref_that_moves_while_rows_come_mixes_no_two_releases(scene):
    folder = scene.folder / "moving"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps({"n": 1}) + "\n" for _ in range(400_000)))
    scene.published("moving", folder)
    fs = fsspec.filesystem("p2p", listings_expiry_time=0)
    with fs.open("lab/moving/rows.jsonl") as file:
        seen = {file.readline()}
        (folder / "rows.jsonl").write_text(
            "".join(json.dumps({"n": 2}) + "\n" for _ in range(500_000))
        )
        scene.published("moving", folder)
        assert fs.head("lab/moving/rows.jsonl", 8) == b'{"n": 2}'
        seen |= set(file)
    assert seen == {b'{"n": 1}\n'}
