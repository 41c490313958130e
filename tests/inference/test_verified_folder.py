"""A folder for a server: wrong bytes, code, a disk that changes meanwhile, one that is full."""

import errno
import os

import pytest
import trio

from p2phub.errors import DamagedBlobError, EngineError, UnsupportedError
from p2phub.inference import verified_folder as module
from p2phub.inference.private_folder import PrivateFolder
from p2phub.inference.spec import ModelSpec, RunOptions
from p2phub.inference.verified_folder import verified_folder
from p2phub.testing.files import random_bytes
from tests.inference.worker.release_files import model_file

WEIGHTS = random_bytes("weights", 3_000_000)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "sub/tokenizer.json": b"[]"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where private folders are made."""
    found = tmp_path / "private"
    found.mkdir()
    monkeypatch.setattr(module, "PrivateFolder", lambda: PrivateFolder(found))
    return found


def spec_of(tmp_path, files=FILES, **options):
    made = tuple(model_file(tmp_path / "blobs", name, data) for name, data in files.items())
    return ModelSpec("r", "lab/x", "vllm", "text-generation", made, RunOptions(**options))


def content(where):
    with open(where, "rb") as file:
        return file.read()


def put(where, data):
    with open(where, "wb") as file:
        file.write(data)


def unheard(what, done, total):
    pass


async def test_the_folder_has_every_file_by_its_name_and_goes_without_the_weights(tmp_path, place):
    steps = []
    spec = spec_of(tmp_path)
    made = await verified_folder(spec, lambda *step: steps.append(step))
    assert {name: content(made.path / name) for name in FILES} == FILES
    assert (made.path / "model.safetensors").is_symlink()
    assert not (made.path / "config.json").is_symlink()
    assert made.path.stat().st_mode & 0o777 == 0o700
    assert (made.read_bytes, made.weight_bytes) == (3_000_004, 3_000_000)
    assert steps[-1] == ("checking files", 3_000_004, 3_000_004)
    made.require_unchanged()
    made.remove()
    assert list(place.iterdir()) == []
    assert content(spec.find("model.safetensors").where) == WEIGHTS


@pytest.mark.parametrize("name", list(FILES))
@pytest.mark.parametrize("harm", ["flipped", "shorter", "longer", "gone"])
async def test_a_wrong_byte_anywhere_is_told_and_leaves_no_folder(tmp_path, place, name, harm):
    spec = spec_of(tmp_path)
    where = spec.find(name).where
    data = bytearray(FILES[name])
    if harm == "flipped":
        data[-1] ^= 1
    elif harm == "shorter":
        del data[-1]
    elif harm == "longer":
        data += b"x"
    put(where, data)
    if harm == "gone":
        os.unlink(where)
    with pytest.raises(DamagedBlobError, match=name):
        await verified_folder(spec, unheard)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("name", ["pytorch_model.bin", "x.pkl", "model.py", "a.pyc", "a.SO"])
async def test_what_runs_code_is_not_in_it(tmp_path, place, name):
    with pytest.raises(UnsupportedError, match="may run code"):
        await verified_folder(spec_of(tmp_path, {name: b"x"}), unheard)
    assert list(place.iterdir()) == []


async def test_python_of_a_publisher_that_may_run_code_is_a_copy(tmp_path, place):
    spec = spec_of(tmp_path, {"model.py": b"x = 1"}, allow_remote_code=True)
    made = await verified_folder(spec, unheard)
    assert not (made.path / "model.py").is_symlink()
    made.remove()


@pytest.mark.parametrize("harm", ["rewritten", "replaced", "gone"])
async def test_weights_that_change_while_the_server_loads_are_found_out(tmp_path, place, harm):
    spec = spec_of(tmp_path)
    where = spec.find("model.safetensors").where
    made = await verified_folder(spec, unheard)
    if harm == "rewritten":  # with the same bytes, size and time: nobody can tell what was read
        before = os.stat(where)
        put(where, WEIGHTS)
        os.utime(where, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        os.unlink(where)
    if harm == "replaced":
        put(where, WEIGHTS)
    with pytest.raises(DamagedBlobError, match="changed while"):
        made.require_unchanged()
    made.remove()


async def test_who_gives_up_leaves_no_folder(tmp_path, place, monkeypatch):
    monkeypatch.setattr(module, "TELL_EVERY", 1)
    with trio.CancelScope() as scope:
        await verified_folder(spec_of(tmp_path), lambda *step: scope.cancel())
    assert scope.cancelled_caught
    assert list(place.iterdir()) == []


async def test_a_full_disk_is_told(tmp_path, place, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PrivateFolder, "write", full)
    with pytest.raises(EngineError, match="No space left"):
        await verified_folder(spec_of(tmp_path), unheard)
    assert list(place.iterdir()) == []
