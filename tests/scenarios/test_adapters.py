"""Adapters between real processes: three machines, one engine, and what is taken back."""

import json
import time
from contextlib import contextmanager

import openai
import pytest
from safetensors.torch import save_file

from tests.inference.worker.lora_files import config_of, tensors_of
from tests.inference.worker.tiny_text import make_model, make_tokenizer
from tests.scenarios.processes import Home, machines

ONE_THREAD = {"OMP_NUM_THREADS": "1", "INFERENCE_THREADS": "1", "INFERENCE_DEVICE": "cpu"}
LOADS = 120
"""Seconds for a process with torch to start and load, on a machine that does much else."""
BASE, SONNET, HAIKU = "lab/base", "poet/sonnet", "poet/haiku"

pytestmark = [pytest.mark.slow, pytest.mark.budget(400)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A base, another model of the same shape, and two adapters of it, as peft saves them."""
    made = tmp_path_factory.mktemp("adapters")
    tokenizer = make_tokenizer()
    models = {}
    for name, seed in (("base", 3), ("other", 4)):
        models[name] = make_model(len(tokenizer), seed=seed)
        models[name].save_pretrained(made / name)
        tokenizer.save_pretrained(made / name)
    for name, seed in (("sonnet", 1), ("haiku", 2)):
        folder = made / name
        folder.mkdir()
        said = config_of(base_model_name_or_path="lab/other", target_modules=["q_proj", "v_proj"])
        (folder / "adapter_config.json").write_text(json.dumps(said))
        save_file(tensors_of(models["base"], seed=seed), folder / "adapter_model.safetensors")
        (folder / "README.md").write_text("---\nbase_model: lab/other\n---\n")
    return made


@contextmanager
def three_machines(tmp_path, folders):
    """Who signed the base, who signed the adapters, and somebody who knows neither's files."""
    with machines(tmp_path) as made:
        lab, poet = made.publisher("lab"), made.publisher("poet")
        user = made.home("user", **ONE_THREAD)
        with lab.running() as first, poet.running(first.address) as second:
            poet.done("trust", "add", "maker", first.publisher_id)
            lab.done("publish", folders / "base", "base")
            lab.done("publish", folders / "other", "other")
            with user.running(first.address) as third:
                user.done("connect", second.address)
                user.done("trust", "add", "lab", first.publisher_id)
                user.done("trust", "add", "poet", second.publisher_id)
                for name in ("sonnet", "haiku"):
                    poet.done("publish", folders / name, name, "--base", "maker/base")
                yield lab, poet, user, third


def client_of(daemon) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{daemon.gateway}/v1", api_key="any", max_retries=0, timeout=LOADS
    )


def said(client, model: str):
    """An answer without chance, and the headers that came with it."""
    raw = client.chat.completions.with_raw_response.create(
        model=model,
        messages=[{"role": "user", "content": "the cat"}],
        temperature=0,
        max_tokens=12,
    )
    return raw.parse().choices[0].message.content, raw.headers


def served(home: Home, *words: str):
    """`p2phub run`, which brings and loads what it needs; the last that it tells."""
    told = home.run("run", *words, "--temperature", "0", "--max-tokens", "12", seconds=LOADS)
    assert told.code == 0, told
    return told.last


def test_two_adapters_and_their_base_answer_from_one_engine(tmp_path, folders):
    with three_machines(tmp_path, folders) as (lab, poet, user, daemon):
        base = lab.done("info", "base")["digest"]
        (lineage,) = poet.done("info", "sonnet")["lineage"]
        assert (lineage["relation"], lineage["release"]) == ("adapter", base)
        assert lineage["ref"] == "maker/base@main"

        first = served(user, SONNET, "the cat")
        assert first["base_release"] == base
        assert first["release"] == poet.done("info", "sonnet")["digest"]
        served(user, HAIKU, "the cat")
        with client_of(daemon) as client:
            listed = {each.id: each.parent for each in client.models.list().data}
            assert listed == {BASE: None, SONNET: BASE, HAIKU: BASE}
            answers = {name: said(client, name) for name in (BASE, SONNET, HAIKU)}
            assert said(client, BASE)[0] == answers[BASE][0]
            assert len({text for text, _ in answers.values()}) == 3
            assert answers[SONNET][0] == first["text"]
            assert answers[SONNET][1]["p2phub-base-release"] == base
            assert answers[SONNET][1]["p2phub-publisher"] != answers[BASE][1]["p2phub-publisher"]
            assert answers[BASE][1]["p2phub-release"] == base
        rows = user.run("ps").objects
        assert [row["id"] for row in rows] == [BASE, SONNET, HAIKU]
        assert len({row["pid"] for row in rows}) == 1

        plain, adapted = user.done("fit", BASE), user.done("fit", SONNET)
        size = (folders / "sonnet" / "adapter_model.safetensors").stat().st_size
        assert adapted["weight_bytes"] - plain["weight_bytes"] == size
        assert (adapted["ref"], adapted["release"]) == (f"{SONNET}@main", first["release"])

        refused = user.refused(2, "serve", "lab/other", "--adapter", SONNET)
        assert base in refused["message"]
        assert lab.done("info", "other")["digest"] in refused["message"]


def test_an_adapter_that_is_taken_back_answers_no_more_and_its_base_goes_on(tmp_path, folders):
    with three_machines(tmp_path, folders) as (lab, poet, user, daemon):
        served(user, SONNET, "the cat")
        with client_of(daemon) as client:
            before, _ = said(client, BASE)
            poet.done("key", "revoke", "--release", "sonnet", "--withdraw", "--reason", "a mistake")
            end = time.monotonic() + LOADS
            while SONNET in {row["id"] for row in user.run("ps").objects}:
                assert time.monotonic() < end
                time.sleep(0.2)
            with pytest.raises(openai.APIStatusError) as caught:
                said(client, SONNET)
            assert caught.value.status_code == 410
            assert said(client, BASE)[0] == before
            assert served(user, HAIKU, "the cat")["text"] != before
            lab.done("key", "revoke", "--release", "base", "--withdraw", "--reason", "a mistake")
            while user.run("ps").objects:
                assert time.monotonic() < end
                time.sleep(0.2)
            with pytest.raises(openai.APIStatusError) as caught:
                said(client, HAIKU)
            assert caught.value.status_code == 410
