"""Pulls into an OCI layout and into Ollama's folder: what their own tools read, and our verdict."""

import hashlib
import json
import shutil

import pytest
import trio

from p2phub.errors import UsageError
from p2phub.node.values import PullRequest
from tests.real_models import smol_gguf
from tests.scenarios.nodes import consumer, model, new_publisher, node, publish, quiet

pytestmark = pytest.mark.slow


async def pull(running, to, layout, reference="lab/x", **more):
    return await running.pull(PullRequest(reference, to, layout=layout, **more), quiet)


def blob(to, digest):
    return to / "blobs" / digest.replace(":", "/")


async def test_an_oci_layout_holds_every_file_under_its_digest(tmp_path):
    folder, publisher = model(tmp_path / "model"), new_publisher(tmp_path / "a")
    to = tmp_path / "layout"
    async with node(tmp_path / "a") as lab:
        await publish(lab, folder)
        async with consumer(tmp_path / "b", lab, publisher) as user:
            done = await pull(user, to, "oci")
            assert (done.path, done.verdict) == (to, "verified")
            again = await pull(user, to, "oci")
            assert again.bytes_fetched == 0
            await pull(user, to, "oci", f"lab/x@{done.commit}")
    index = json.loads((to / "index.json").read_bytes())
    names = [
        each["annotations"]["org.opencontainers.image.ref.name"] for each in index["manifests"]
    ]
    assert names == ["lab/x:main", f"lab/x:{done.commit[:12]}"]
    manifest = json.loads(blob(to, index["manifests"][0]["digest"]).read_bytes())
    found = {}
    for layer in (*manifest["layers"], manifest["config"]):
        data = blob(to, layer["digest"]).read_bytes()
        assert layer["digest"] == "sha256:" + hashlib.sha256(data).hexdigest()
        assert layer["size"] == len(data)
        found[layer.get("annotations", {}).get("org.cncf.model.filepath")] = data
    found.pop(None)
    there = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    assert found == {name: path.read_bytes() for name, path in there.items()}
    assert not [each for each in to.iterdir() if each.name.startswith(".")]


async def said_by(*command):
    """What a program prints; it has to end well."""
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_skopeo_copies_the_layout(tmp_path):
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("skopeo is not installed")
    new_publisher(tmp_path / "a")
    to, copied = tmp_path / "layout", tmp_path / "copied"
    async with node(tmp_path / "a") as lab:
        made = await publish(lab, model(tmp_path / "model"))
        await lab.pull(PullRequest("x", to, layout="oci"), quiet)
    (entry,) = json.loads((to / "index.json").read_bytes())["manifests"]
    name = entry["annotations"]["org.opencontainers.image.ref.name"]
    told = await said_by(skopeo, "inspect", "--raw", f"oci:{to}:{name}")
    assert made.commit in json.loads(told)["annotations"]["org.p2phub.release"]
    await said_by(skopeo, "copy", "--insecure-policy", f"oci:{to}:{name}", f"oci:{copied}:again")
    blobs = [{each.name for each in (at / "blobs" / "sha256").iterdir()} for at in (to, copied)]
    assert blobs[0] == blobs[1]


async def test_ollama_finds_a_real_model_among_its_own(tmp_path):
    folder, publisher = tmp_path / "model", new_publisher(tmp_path / "a")
    folder.mkdir()
    shutil.copy(smol_gguf(), folder / "smol.gguf")
    (folder / "LICENSE").write_text("as you like")
    (folder / "README.md").write_text("# smol")
    (folder / "template.txt").write_text("{{ .Prompt }}")
    to = tmp_path / "models"
    async with node(tmp_path / "a") as lab:
        await publish(lab, folder)
        async with consumer(tmp_path / "b", lab, publisher) as user:
            done = await pull(user, to, "ollama")
            assert done.path == to / "manifests" / "p2phub" / "lab" / "x" / "main"
    manifest = json.loads(done.path.read_bytes())
    kinds = [each["mediaType"].rpartition(".")[2] for each in manifest["layers"]]
    assert kinds == ["model", "license", "template"]
    for told in (*manifest["layers"], manifest["config"]):
        data = (to / "blobs" / told["digest"].replace(":", "-")).read_bytes()
        assert told["digest"] == "sha256:" + hashlib.sha256(data).hexdigest()
        assert told["size"] == len(data)
    config = json.loads(data)
    assert (config["model_family"], config["model_type"], config["file_type"]) == (
        "llama",
        "134.52M",
        "Q4_1",
    )


async def test_what_cannot_go_there_is_told_before_anything_is_fetched(tmp_path):
    publisher = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as lab:
        await publish(lab, model(tmp_path / "model"))
        async with consumer(tmp_path / "b", lab, publisher) as user:
            with pytest.raises(UsageError, match="GGUF"):
                await pull(user, tmp_path / "models", "ollama")
            with pytest.raises(UsageError, match="folder"):
                await pull(user, None, "oci")
            assert not (tmp_path / "models").exists()
            assert not user._services.store.repos.local()
