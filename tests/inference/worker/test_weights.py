"""No byte that was not published reaches a state dict, a folder or a memory file."""

import json
import mmap
import os
import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from p2phub.errors import (
    DamagedBlobError,
    EngineError,
    MalformedError,
    NotFoundError,
    P2PHubError,
    UnsafePathError,
    WrongBytesError,
)
from p2phub.inference.spec import Adapter, ModelSpec
from p2phub.inference.worker.verified import Arrivals
from p2phub.inference.worker.weights import Weights
from tests.inference.worker.release_files import PIECE, model_file, safetensors, spec_of
from tests.inference.worker.test_verified import flip

INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def numbers(seed: int, *shape: int):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


FIRST = {"embed": numbers(1, 300, 1000), "norm": numbers(2, 7)}
SECOND = {"head": numbers(3, 1000, 400), "bias": numbers(4, 1)}
ALL = FIRST | SECOND
PLACES = dict.fromkeys(FIRST, SHARDS[0]) | dict.fromkeys(SECOND, SHARDS[1])


@pytest.fixture
def spec(tmp_path):
    return model(tmp_path)


def model(folder, **changed: bytes) -> ModelSpec:
    """A small model in two shards, with what else comes with one."""
    files = {
        SHARDS[0]: save(FIRST),
        SHARDS[1]: save(SECOND),
        INDEX: json.dumps({"weight_map": PLACES}).encode(),
        "config.json": b'{"model_type": "tiny"}',
        "onnx/config.json": b"{}",
        "modeling.py": b"raise SystemExit",
        "code/native.so": b"ELF",
        "training_args.bin": b"pickle",
    }
    return spec_of(*(model_file(folder, name, data) for name, data in (files | changed).items()))


def equal(found, expected) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in expected
    )


def swapped(spec: ModelSpec, name: str, **changed: object) -> ModelSpec:
    files = tuple(replace(f, **changed) if f.name == name else f for f in spec.files)
    return replace(spec, files=files)


class TestStateDict:
    @pytest.mark.parametrize("dtype", [None, "float32", "float64"])
    def test_shards_are_joined(self, spec, dtype):
        with Weights(spec) as weights:
            found = weights.state_dict(dtype=dtype)
        wanted = torch.float64 if dtype == "float64" else torch.float32
        assert equal(found, {name: tensor.to(wanted) for name, tensor in ALL.items()})

    @pytest.mark.parametrize("shard", SHARDS)
    @pytest.mark.parametrize("dtype", [None, "float64"])
    def test_a_flipped_bit_in_any_piece_gives_no_tensor_at_all(self, tmp_path, shard, dtype):
        spec = model(tmp_path)
        table = spec.find(shard).table()
        for piece in range(table.count):
            flip(spec.find(shard).where, table.offset(piece + 1) - 1)
            with Weights(spec) as weights, pytest.raises(DamagedBlobError, match=f"piece {piece} "):
                weights.state_dict(dtype=dtype)
            flip(spec.find(shard).where, table.offset(piece + 1) - 1)
        with Weights(spec) as weights:
            assert len(weights.state_dict(dtype=dtype)) == len(ALL)

    def test_a_file_that_is_cut_short_is_named(self, spec):
        os.truncate(spec.find(SHARDS[1]).where, 2 * PIECE)
        with Weights(spec) as weights, pytest.raises(DamagedBlobError, match=SHARDS[1]):
            weights.state_dict()

    def test_a_disk_that_changes_after_the_headers_were_read_does_not_load(self, spec):
        with Weights(spec) as weights:
            assert len(weights.headers()) == 2
            flip(spec.find(SHARDS[0]).where, 3 * PIECE)
            with pytest.raises(DamagedBlobError):
                weights.state_dict()

    def test_a_disk_that_changes_after_the_load_changes_nothing(self, spec):
        with Weights(spec) as weights:
            found = weights.state_dict()
            for shard in SHARDS:
                os.truncate(spec.find(shard).where, 0)
            assert equal(found, ALL)

    def test_tensors_outlive_the_weights(self, spec):
        weights = Weights(spec)
        found = weights.state_dict()
        weights.close()
        weights.close()
        assert equal(found, ALL)

    def test_the_files_need_no_index(self, spec):
        spec = replace(spec, files=tuple(f for f in spec.files if f.name != INDEX))
        with Weights(spec) as weights:
            assert equal(weights.state_dict(), ALL)

    def test_a_missing_shard_is_named(self, spec):
        spec = replace(spec, files=tuple(f for f in spec.files if f.name != SHARDS[1]))
        with Weights(spec) as weights, pytest.raises(NotFoundError, match=SHARDS[1]):
            weights.state_dict()

    def test_a_tensor_that_is_only_in_the_index_is_named(self, tmp_path):
        index = json.dumps({"weight_map": PLACES | {"lost": SHARDS[0]}}).encode()
        spec = model(tmp_path, **{INDEX: index})
        with Weights(spec) as weights, pytest.raises(MalformedError, match="lost is in none"):
            weights.state_dict()

    def test_a_tensor_that_two_files_have_is_refused(self, tmp_path):
        spec = model(tmp_path, **{SHARDS[1]: save(SECOND | {"embed": FIRST["embed"] + 1})})
        with Weights(spec) as weights, pytest.raises(MalformedError, match=f"embed of {SHARDS[1]}"):
            weights.state_dict()

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x08",
            b"GGUF" + bytes(100),
            b"not weights, but as long as such a file is",
            safetensors(
                {"a": ("F32", [2], bytes(8))},
                a={"dtype": "F32", "shape": [9], "data_offsets": [0, 8]},
            ),
            safetensors(
                {"a": ("F32", [2], bytes(8))},
                b={"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
            ),
            safetensors({"a": ("F32", [2], bytes(8))}) + b"x",
            (99 << 20).to_bytes(8, "little") + b'{"a": 1}',
        ],
    )
    def test_a_header_that_lies_is_refused(self, tmp_path, data):
        spec = spec_of(model_file(tmp_path, "model.safetensors", data))
        with Weights(spec) as weights, pytest.raises(MalformedError):
            weights.state_dict()

    def test_a_part_lies_in_its_folder(self, tmp_path):
        spec = spec_of(
            model_file(tmp_path, "model.safetensors", save(FIRST)),
            model_file(tmp_path, "dense/model.safetensors", save(SECOND)),
        )
        with Weights(spec) as weights:
            assert equal(weights.state_dict(under="dense"), SECOND)
            assert equal(weights.state_dict(), FIRST)

    def test_an_adapter_has_files_of_its_own(self, spec, tmp_path):
        file = model_file(tmp_path / "lora", "adapter_model.safetensors", save(SECOND))
        with Weights(spec) as weights, weights.beside(Adapter("lora", (file,))) as beside:
            assert equal(beside.state_dict(), SECOND)
            assert not equal(weights.state_dict(), SECOND)

    def test_how_far_it_has_come_is_told(self, spec):
        told = []
        with Weights(spec, tell=lambda *said: told.append(said)) as weights:
            weights.state_dict()
            total = sum(spec.find(shard).content.size for shard in SHARDS)
            assert told[-1] == ("reading weights", total, total)
            assert weights.read_bytes == total

    def test_no_file_stays_open(self, spec):
        before = len(os.listdir("/proc/self/fd"))
        with Weights(spec) as weights:
            weights.headers()
            flip(spec.find(SHARDS[1]).where, 9 * 4096)
            with pytest.raises(DamagedBlobError):
                weights.state_dict()
            weights.memory_file(SHARDS[0])
        assert len(os.listdir("/proc/self/fd")) == before


class TestArriving:
    """The model is loaded while it is fetched."""

    @pytest.fixture
    def arriving(self, spec):
        data = {f.name: Path(f.where).read_bytes() for f in spec.files}
        files = tuple(replace(f, complete=f.name not in SHARDS) for f in spec.files)
        for shard in SHARDS:
            os.truncate(spec.find(shard).where, 0)
        return replace(spec, files=files), data

    @pytest.fixture
    def arrivals(self):
        made = Arrivals()
        yield made
        made.fail(EngineError("the test is over"))

    def start(self, spec, arrivals):
        outcome = []

        def run():
            try:
                with Weights(spec, arrivals) as weights:
                    outcome.append(weights.state_dict())
            except P2PHubError as error:
                outcome.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread, outcome

    def parts(self, data):
        for name in SHARDS:
            yield from (
                (name, at, min(at + PIECE // 2, len(data[name])))
                for at in range(0, len(data[name]), PIECE // 2)
            )

    def put(self, spec, data, part):
        name, start, stop = part
        with open(spec.find(name).where, "r+b") as out:
            out.seek(start)
            out.write(data[name][start:stop])

    @pytest.mark.parametrize("shuffled", [False, True])
    def test_it_is_whole_with_the_last_byte(self, arriving, arrivals, shuffled):
        spec, data = arriving
        parts = list(self.parts(data))
        if shuffled:
            random.Random(5).shuffle(parts)
        thread, outcome = self.start(spec, arrivals)
        for part in parts:
            assert not outcome
            self.put(spec, data, part)
            arrivals.ready(*part)
        thread.join()
        assert equal(outcome[0], ALL)

    def test_what_came_is_read_while_an_earlier_file_is_still_missing(self, arriving, arrivals):
        spec, data = arriving
        first, second = SHARDS
        outcome = []
        with Weights(spec, arrivals) as weights:
            thread = threading.Thread(target=lambda: outcome.append(weights.state_dict()))
            thread.start()
            for part in ((first, 0, PIECE), (second, 0, len(data[second]))):
                self.put(spec, data, part)
                arrivals.ready(*part)
            while weights.read_bytes < len(data[second]) - PIECE:
                assert thread.is_alive()
            assert not outcome
            self.put(spec, data, (first, PIECE, len(data[first])))
            arrivals.ready(first, PIECE, len(data[first]))
            thread.join()
        assert equal(outcome[0], ALL)

    def test_a_wrong_byte_in_the_last_shard_gives_nothing_out(self, arriving, arrivals):
        spec, data = arriving
        thread, outcome = self.start(spec, arrivals)
        last = data[SHARDS[1]]
        bad = data | {SHARDS[1]: last[:-1] + bytes([last[-1] ^ 1])}
        for part in self.parts(bad):
            self.put(spec, bad, part)
            arrivals.ready(*part)
        thread.join()
        assert [type(each) for each in outcome] == [WrongBytesError]

    def test_a_file_moves_to_its_place_when_it_is_whole(self, arriving, arrivals):
        spec, data = arriving
        thread, outcome = self.start(spec, arrivals)
        for name in SHARDS:
            where = spec.find(name).where
            self.put(spec, data, (name, 0, len(data[name])))
            os.rename(where, where + ".blob")
            arrivals.moved(name, where + ".blob")
            arrivals.ready(name, 0, len(data[name]))
        thread.join()
        assert equal(outcome[0], ALL)

    def test_a_fetch_that_ends_early_ends_the_load(self, arriving, arrivals):
        spec, data = arriving
        thread, outcome = self.start(spec, arrivals)
        for part in list(self.parts(data))[:-1]:
            self.put(spec, data, part)
            arrivals.ready(*part)
        arrivals.fail(EngineError("the fetch was cancelled"))
        thread.join()
        assert str(outcome[0]) == "the fetch was cancelled"

    def test_a_wrong_piece_ends_the_waiting_for_all_others(self, arriving, arrivals):
        spec, data = arriving
        thread, outcome = self.start(spec, arrivals)
        name = SHARDS[0]
        bad = {name: data[name][:PIECE] + bytes(PIECE)}
        self.put(spec, bad, (name, 0, 2 * PIECE))
        arrivals.ready(name, 0, 4 * PIECE)
        thread.join()
        assert type(outcome[0]) is WrongBytesError


class TestFolder:
    def test_it_holds_the_small_files_and_no_weights_and_no_code(self, spec):
        with Weights(spec) as weights:
            place = weights.folder()
            assert place == weights.folder()
            found = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
            assert found == {INDEX, "config.json", "onnx/config.json"}
            assert place.stat().st_mode & 0o777 == 0o700
            assert (place / "config.json").read_bytes() == b'{"model_type": "tiny"}'
        assert not place.exists()

    def test_python_files_are_there_only_if_they_may_run(self, spec):
        allowed = replace(spec, options=replace(spec.options, allow_remote_code=True))
        with Weights(allowed) as weights:
            assert (weights.folder() / "modeling.py").exists()
            assert not (weights.folder() / "code").exists()

    def test_a_small_file_that_changed_is_not_written(self, spec):
        flip(spec.find("config.json").where, 3)
        with Weights(spec) as weights:
            for _ in range(2):
                with pytest.raises(DamagedBlobError, match=r"config\.json"):
                    weights.folder()

    def test_a_long_small_file_is_written_whole(self, tmp_path):
        data = random.Random(1).randbytes(5 * PIECE)
        with Weights(spec_of(model_file(tmp_path, "tokenizer.json", data))) as weights:
            assert (weights.folder() / "tokenizer.json").read_bytes() == data

    @pytest.mark.parametrize("path", [("..", "x.json"), ("/etc", "x"), ("a/b",), ()])
    def test_a_path_that_leaves_the_folder_is_refused(self, spec, path):
        with pytest.raises(UnsafePathError):
            Weights(swapped(spec, "config.json", path=path))


class TestMemoryFile:
    @pytest.fixture
    def gguf(self, tmp_path):
        return random.Random(2).randbytes(9 * PIECE * 4 + 3)

    @pytest.fixture
    def weights(self, tmp_path, gguf):
        with Weights(spec_of(model_file(tmp_path, "model.gguf", gguf))) as made:
            yield made

    def test_it_holds_the_bytes_and_is_made_once(self, weights, gguf):
        descriptor = weights.memory_file("model.gguf")
        assert descriptor == weights.memory_file("model.gguf")
        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            assert file.read() == gguf
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[:] == gguf

    def test_nobody_can_change_it(self, weights):
        descriptor = weights.memory_file("model.gguf")
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 1)
        with pytest.raises(PermissionError):
            mmap.mmap(descriptor, 0)
        again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
        with os.fdopen(again, "wb", buffering=0) as out, pytest.raises(PermissionError):
            out.write(b"x")

    @pytest.mark.parametrize("piece", [0, 7, 36])
    def test_a_wrong_piece_leaves_none(self, weights, piece):
        file = weights.spec.files[0]
        flip(file.where, file.table().offset(piece))
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(DamagedBlobError, match=f"piece {piece} "):
            weights.memory_file("model.gguf")
        assert len(os.listdir("/proc/self/fd")) == before

    def test_a_file_that_is_not_there_is_named(self, weights):
        with pytest.raises(NotFoundError, match=r"other\.gguf"):
            weights.memory_file("other.gguf")
