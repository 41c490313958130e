"""Model signatures and the package `model-signing` of PyPI, in both directions.

The package lives in a virtual environment of its own: its dependencies (sigstore, tuf, protobuf 7)
are many and pinned tightly, and nothing of p2phub needs them. It is made once and kept in pytest's
cache; MODEL_SIGNING_PYTHON names an interpreter that has the package already.
"""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from p2phub.formats.digest import sha256
from p2phub.formats.ids import PublisherId
from p2phub.formats.oms import about
from p2phub.node.offline import layout_of, open_offline
from p2phub.node.values import PublishRequest, PullRequest
from p2phub.node.verify_oms import ModelCheck
from p2phub.store.keyring import OMS, Keyring
from p2phub.trust.model_keys import ModelKey, to_pem
from p2phub.trust.model_signatures import sign_statement
from tests.scenarios.nodes import new_publisher, node, settings

pytestmark = pytest.mark.slow

PACKAGES = ("model-signing==1.1.1", "pyOpenSSL")  # 1.1.1 does not ask for pyOpenSSL, and needs it
KEY = ModelKey(b"k" * 32)
FILES = {
    "README.md": b"# a model\n",
    "config.json": b"{}",
    "model 1 of 2 é 测试.safetensors": bytes(range(256)) * 50,
    "onnx/deep/er/model.onnx": b"o" * 4000,
    "onnx-q4/model.onnx": b"q",
    "onnx.txt": b"sorted between",
    "tokenizer/empty.txt": b"",
    ".gitattributes": b"*.onnx lfs\n",
}
SIGN = """
import json, pathlib, sys
import model_signing
folder, key, how = pathlib.Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
method = how.pop("method")
hashing = model_signing.hashing.Config()
(hashing.use_shard_serialization if method == "shards" else hashing.use_file_serialization)(**how)
hashing.set_ignored_paths(paths=[pathlib.Path("model.sig")])
signing = model_signing.signing.Config().use_elliptic_key_signer(private_key=key)
signing.set_hashing_config(hashing).sign(folder, folder / "model.sig")
"""
WAYS = [
    {"method": "files", "hashing_algorithm": "sha256"},
    {"method": "files", "hashing_algorithm": "blake2"},
    {"method": "files", "hashing_algorithm": "blake3"},
    {"method": "shards", "hashing_algorithm": "sha256", "shard_size": 1000},
    {"method": "shards", "hashing_algorithm": "blake2", "shard_size": 4000},
    {"method": "shards", "hashing_algorithm": "sha256"},
]


def run(*words, code=0):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def theirs(request):
    """An interpreter that has the package."""
    if "MODEL_SIGNING_PYTHON" in os.environ:
        return Path(os.environ["MODEL_SIGNING_PYTHON"])
    folder = request.config.cache.mkdir("-".join(PACKAGES).replace("==", "-"))
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        run(sys.executable, "-m", "venv", "--clear", folder)
        install = [python, "-m", "pip", "install", "--quiet", *PACKAGES]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
            pytest.skip(f"{PACKAGES[0]} cannot be installed here: {last}")
        ready.touch()
    return python


@pytest.fixture
def check(theirs, tmp_path):
    """Whether the package verifies a folder; what it says."""

    def verify(folder, key=None, *options, ok=True):
        pem = tmp_path / "public.pem"
        pem.write_bytes(to_pem(KEY.public) if key is None else key)
        command = [theirs, "-m", "model_signing", "verify", "key", folder, *options]
        given = ["--signature", folder / "model.sig", "--public_key", pem]
        said = run(*command, *given, code=0 if ok else 1)
        assert ("Verification succeeded" in said) == ok, said
        return said

    return verify


@pytest.fixture
def ours(tmp_path):
    """What `verify --oms` finds for a folder, with the key given."""

    def verify(folder, key=None, **asked):
        pem = to_pem(KEY.public) if key is None else key
        with open_offline(settings(), tmp_path / "nobody") as offline:
            return offline.verify_model(ModelCheck(str(folder), key=pem, **asked))

    return verify


def write(folder, files):
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def signed_by_us(folder, files=FILES):
    listed = [(tuple(path.split("/")), sha256(data)) for path, data in files.items()]
    statement = about("x", listed, PublisherId(bytes(32)), sha256(b"a delegation"))
    return write(folder, files | {"model.sig": sign_statement(statement, KEY)})


def new_key(tmp_path, curve):
    """A private key of openssl's, and its public half."""
    private, public = tmp_path / "private.pem", tmp_path / "their.pem"
    run("openssl", "ecparam", "-name", curve, "-genkey", "-noout", "-out", private)
    run("openssl", "ec", "-in", private, "-pubout", "-out", public)
    return private, public.read_bytes()


def signed_by_them(theirs, folder, private, how, files=FILES):
    write(folder, files)
    run(theirs, "-c", SIGN, folder, private, json.dumps(how))
    return folder


CHANGES = {
    "one byte changed": lambda folder: (folder / "config.json").write_bytes(b"{\x00"),
    "a file added": lambda folder: (folder / "onnx" / "more.bin").write_bytes(b""),
    "a file removed": lambda folder: (folder / "README.md").unlink(),
    "a file renamed": lambda folder: (folder / "README.md").rename(folder / "readme.md"),
    "a file moved": lambda folder: (folder / "README.md").rename(folder / "onnx" / "README.md"),
    "two files swapped": lambda folder: swap(folder / "README.md", folder / "config.json"),
}


def swap(one, other):
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


class TestOursWithTheirs:
    def test_what_we_sign_verifies_and_our_part_of_it_is_passed_over(self, tmp_path, check):
        folder = signed_by_us(tmp_path / "m")
        assert b"p2phub" in base64.b64decode(
            json.loads((folder / "model.sig").read_text())["dsseEnvelope"]["payload"]
        )
        check(folder)

    def test_a_thousand_files(self, tmp_path, check):
        files = {f"part {n % 7}/{n:04} ø.bin": b"%d" % n for n in range(1000)}
        check(signed_by_us(tmp_path / "m", files))

    @pytest.mark.parametrize("change", CHANGES)
    def test_what_was_changed_fails_with_both(self, tmp_path, check, ours, change):
        folder = signed_by_us(tmp_path / "m")
        assert ours(folder).verdict == "verified"
        CHANGES[change](folder)
        assert "mismatch" in check(folder, ok=False)
        assert ours(folder).verdict == "corrupt"

    @pytest.mark.parametrize("at", [0.3, 0.6, 0.9])
    def test_a_changed_signature_fails_with_both(self, tmp_path, check, ours, at):
        folder = signed_by_us(tmp_path / "m")
        data = bytearray((folder / "model.sig").read_bytes())
        data[int(len(data) * at)] ^= 1
        (folder / "model.sig").write_bytes(data)
        check(folder, ok=False)
        assert ours(folder).verdict == "corrupt"

    def test_another_key_fails_with_both(self, tmp_path, check, ours):
        folder, other = signed_by_us(tmp_path / "m"), to_pem(ModelKey(b"o" * 32).public)
        assert "Key mismatch" in check(folder, other, ok=False)
        assert ours(folder, other).verdict == "untrusted key"

    async def test_a_release_as_it_was_published_and_as_it_was_pulled(self, tmp_path, check):
        """The snapshot is a folder of links, as in a cache of Hugging Face."""
        home = tmp_path / "home"
        new_publisher(home)
        write(tmp_path / "folder", FILES)
        async with node(home) as running:
            request = PublishRequest(tmp_path / "folder", "x", oms=True)
            await running.publish(request, lambda event: None)
            plain = await running.pull(PullRequest("x", tmp_path / "out"), lambda event: None)
            linked = await running.pull(PullRequest("x"), lambda event: None)
        pem = to_pem(ModelKey(Keyring(layout_of(settings(), home)).load(OMS)).public)
        check(plain.path, pem)
        check(linked.path, pem, "--allow_symlinks")


class TestTheirsWithOurs:
    @pytest.mark.parametrize("how", WAYS, ids=lambda how: "-".join(map(str, how.values())))
    def test_every_way_of_hashing(self, tmp_path, theirs, ours, how):
        private, public = new_key(tmp_path, "prime256v1")
        folder = signed_by_them(theirs, tmp_path / "m", private, how)
        found = ours(folder, public)
        assert found.verdict == "verified", found.steps
        (folder / "onnx/deep/er/model.onnx").write_bytes(b"o" * 3999 + b"x")
        assert ours(folder, public).verdict == "corrupt"

    @pytest.mark.parametrize("how", [WAYS[0], WAYS[3]], ids=["files", "shards"])
    @pytest.mark.parametrize("change", CHANGES)
    def test_what_was_changed_fails(self, tmp_path, theirs, ours, how, change):
        private, public = new_key(tmp_path, "prime256v1")
        folder = signed_by_them(theirs, tmp_path / "m", private, how)
        if (change, how["method"]) == ("a file added", "shards"):
            (folder / "more.bin").write_bytes(b"x")  # of empty files shards say nothing
        else:
            CHANGES[change](folder)
        assert ours(folder, public).verdict == "corrupt"

    @pytest.mark.parametrize("curve", ["prime256v1", "secp384r1", "secp521r1"])
    def test_every_curve(self, tmp_path, theirs, ours, curve):
        private, public = new_key(tmp_path, curve)
        folder = signed_by_them(theirs, tmp_path / "m", private, WAYS[0])
        assert ours(folder, public).verdict == "verified"
        assert ours(folder).verdict == "untrusted key"

    def test_a_thousand_files(self, tmp_path, theirs, ours):
        private, public = new_key(tmp_path, "prime256v1")
        files = {f"part {n % 7}/{n:04} ø.bin": b"%d" % n for n in range(1000)}
        folder = signed_by_them(theirs, tmp_path / "m", private, WAYS[0], files)
        found = ours(folder, public)
        assert found.verdict == "verified"
        assert any("all 1000 files" in step.detail for step in found.steps)

    def test_the_command_of_the_package_and_a_key_of_ours(self, tmp_path, theirs, ours):
        """What `model_signing sign key` writes by default, outside of the folder."""
        private, public = new_key(tmp_path, "prime256v1")
        folder, signature = write(tmp_path / "m", FILES), tmp_path / "outside.sig"
        given = ["--private_key", private, "--signature", signature]
        run(theirs, "-m", "model_signing", "sign", "key", folder, *given)
        assert ours(folder, public, signature=signature).verdict == "verified"

    def test_a_cache_of_links(self, tmp_path, theirs, ours):
        private, public = new_key(tmp_path, "prime256v1")
        write(tmp_path / "blobs", FILES)
        for path in FILES:
            link = tmp_path / "m" / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(tmp_path / "blobs" / path)
        given = ["--private_key", private, "--signature", tmp_path / "m" / "model.sig"]
        command = [theirs, "-m", "model_signing", "sign", "key", tmp_path / "m"]
        run(*command, *given, "--allow_symlinks")
        assert ours(tmp_path / "m", public, allow_symlinks=True).verdict == "verified"
        assert ours(tmp_path / "m", public).verdict == "corrupt"
