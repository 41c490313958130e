"""A model in a server of its own, behind a real node: its pedigree, its end, and a node's end."""

import json
import os
from pathlib import Path

import openai
import pytest

from p2phub.testing.files import make_safetensors
from p2phub.testing.processes import gone
from tests.inference.fake_vllm import fake_vllm
from tests.scenarios.processes import machines

pytestmark = [pytest.mark.slow, pytest.mark.budget(200)]

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A publisher's machine whose models run in a server, a model, and what the server was told."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(CONFIG))
    (model / "model.safetensors").write_bytes(make_safetensors({"a": ("F32", (400_000,))}))
    (model / "pytorch_model.bin").write_bytes(b"a pickle")
    told = tmp_path / "told.json"
    words = f"{fake_vllm(tmp_path)} --told={told}"
    settings = {"INFERENCE_ENGINE": "vllm", "INFERENCE_VLLM": words, "INFERENCE_DEVICE": "cpu"}
    with machines(tmp_path) as made:
        lab = made.publisher("lab", **settings)
        lab.done("publish", model, "x")
        yield lab, told


def ask(daemon, words):
    client = openai.OpenAI(base_url=f"{daemon.gateway}/v1", api_key="any", max_retries=0)
    with client:
        asked = [{"role": "user", "content": words}]
        made = client.chat.completions.with_raw_response.create(model="lab/x", messages=asked)
    return made.headers, made.parse().choices[0].message.content


def test_an_answer_has_its_pedigree_and_a_release_that_is_taken_back_ends_the_server(scene):
    lab, told = scene
    with lab.running() as daemon:
        headers, text = ask(daemon, "hello there")
        heard = json.loads(told.read_text())
        digest = lab.done("info", "lab/x")["digest"]
        assert (text.strip(), headers["p2phub-release"]) == ("hello there", digest)
        assert headers["p2phub-verdict"] == "verified"
        assert set(heard["files"]) == {"config.json", "model.safetensors"}
        assert heard["environment"]["HF_ENDPOINT"] == daemon.gateway
        (row,) = lab.run("ps").objects
        assert (row["engine"], row["device"], row["pid"]) == ("vllm", "cpu", heard["pid"])
        os.kill(heard["pid"], 9)
        assert gone([heard["child"]])
        assert ask(daemon, "again")[1].strip() == "again"
        heard = json.loads(told.read_text())
        lab.done("key", "revoke", "--release", "lab/x", "--withdraw", "--reason", "a mistake")
        assert gone([heard["pid"], heard["child"]])
        with pytest.raises(openai.APIStatusError):
            ask(daemon, "and now")


def test_a_node_that_is_killed_leaves_no_server_and_the_next_one_no_folder(scene):
    lab, told = scene
    daemon = lab.daemon()
    ask(daemon, "hello")
    heard = json.loads(told.read_text())
    place = Path(heard["environment"]["TMPDIR"]).parent
    daemon.kill()
    assert gone([heard["pid"], heard["child"]])
    assert place.is_dir()
    with lab.running() as daemon:
        assert not place.exists()
        assert ask(daemon, "hello")[1].strip() == "hello"
    heard = json.loads(told.read_text())
    assert gone([heard["pid"], heard["child"]])
    assert not Path(heard["environment"]["TMPDIR"]).parent.exists()
