"""`Hub` and `AsyncHub` against a gateway on a real socket."""

import asyncio
import dataclasses
import inspect
import threading
from pathlib import Path

import pytest
import trio

from p2phub import AsyncHub, Hub, errors
from p2phub.client import results
from p2phub.errors import P2PHubError, RefusedError, RemoteError
from p2phub.node import events as node_events
from p2phub.node import parts, values
from p2phub.node.values import PublishRequest, PullRequest, SearchQuery, Warned
from p2phub.testing.nodes import COMMIT, FILE, PUBLISHER


def test_a_pull_returns_the_folder_and_tells_its_progress(running):
    seen = []
    with Hub(running.home) as hub:
        path = hub.pull("lab/minilm", include=["*.safetensors"], progress=seen.append)
    assert path == running.node.snapshot
    assert [each.bytes_done for each in seen] == [1000]
    assert running.node.asked == [PullRequest("lab/minilm", include=("*.safetensors",))]


def test_relative_folders_are_meant_from_here(running, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with Hub(running.home) as hub:
        hub.publish("model", "minilm", message="first", tag="v1")
        hub.pull("lab/minilm", to="out")
    published, pulled = running.node.asked
    assert published == PublishRequest(tmp_path / "model", "minilm", "first", "v1")
    assert pulled.to == tmp_path / "out"


def test_every_call_gives_its_dataclass(running):
    with Hub(running.home) as hub:
        assert hub.id().publisher_id == PUBLISHER
        assert hub.status().peers == 1
        assert hub.peers()[0].direct
        assert hub.connect("/ip4/127.0.0.1/tcp/1/p2p/12D3").peer_id == "12D3"
        assert hub.search("mini", task="feature-extraction", limit=5)[0].commit == COMMIT
        assert hub.info("lab/minilm").refs[0].name == "main"
        assert hub.info("lab/minilm").path == running.node.snapshot
        assert hub.ls()[0].here == "complete"
        assert hub.files("lab/minilm")[0].sha256_checked
        assert hub.verify("lab/minilm")[0].ok
        assert hub.remove("lab/minilm").bytes_freed == 1000
        assert hub.trust_add("org", PUBLISHER).alias in [each.alias for each in hub.trust_list()]
        assert hub.trust_remove("org").alias == "org"
        assert hub.publish("/x", "minilm").files == 1
    assert SearchQuery("mini", task="feature-extraction", limit=5) in running.node.asked


def test_bytes_of_a_file_come_as_bytes_and_errors_as_errors(running):
    with Hub(running.home) as hub:
        assert hub.read("lab/minilm", "model.safetensors", 3, 7) == FILE[3:7]
        assert running.node.asked == [
            parts.PartRequest("lab/minilm", "model.safetensors", ((3, 7),))
        ]
        with pytest.raises(errors.NotFoundError):
            hub.read("lab/none", "model.safetensors", 3, 7)


def test_a_wrong_verdict_is_told_not_raised(running):
    running.node.verdict = "corrupt"
    with Hub(running.home) as hub:
        (found,) = hub.verify()
    assert not found.ok
    assert "model.safetensors" in found.steps[0].detail


def every_error(kind=P2PHubError):
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from every_error(child)


@pytest.mark.parametrize("way", ["answer", "stream"])
def test_every_error_of_a_node_is_raised_as_itself(running, way):
    with Hub(running.home) as hub:
        for kind in every_error():
            running.node.fails = kind("what happened", remedy="what to do")
            with pytest.raises(kind) as caught:
                hub.info("lab/minilm") if way == "answer" else hub.pull("lab/minilm")
            assert type(caught.value) is kind
            assert (caught.value.message, caught.value.remedy) == ("what happened", "what to do")


def test_a_wrong_token_is_refused_by_name(running):
    with Hub(url=running.gateway.url, token="wrong") as hub:
        assert hub.status().peers == 1
        with pytest.raises(RefusedError, match="token given is wrong"):
            hub.pull("lab/minilm")


def test_a_url_with_its_token_needs_no_home(running, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    with Hub(elsewhere, running.gateway.url + "/", running.gateway.token) as hub:
        assert hub.peers()
    assert not elsewhere.exists()


def test_the_token_of_this_home_goes_to_no_other_url(running):
    with Hub(running.home, "http://127.0.0.1:9") as hub:
        assert hub._lease.node().token == ""
    with Hub(running.home, running.gateway.url) as hub:
        assert hub.peers()


def test_no_node_at_a_url_is_told():
    with (
        Hub(url="http://127.0.0.1:9", token="x") as hub,
        pytest.raises(RemoteError, match=r"no node answers at http://127\.0\.0\.1:9"),
    ):
        hub.status()


def test_proxies_of_the_environment_are_not_asked(running, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with Hub(running.home) as hub:
        assert hub.status().peers == 1


def test_a_warning_is_logged(running, caplog):
    running.node.events = [Warned("pickles were left out")]
    with Hub(running.home) as hub:
        hub.pull("lab/minilm")
    assert "pickles were left out" in caplog.text


def test_a_progress_callback_that_raises_cancels_the_pull(running):
    def stop(progress):
        raise ZeroDivisionError

    running.node.hold = trio.Event()
    with Hub(running.home) as hub, pytest.raises(ZeroDivisionError):
        hub.pull("lab/minilm", progress=stop)
    assert running.node.gave_up.wait(10)


def test_one_hub_serves_several_threads(running):
    found = []
    with Hub(running.home) as hub:
        threads = [threading.Thread(target=lambda: found.append(hub.ls())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 8


def test_every_call_about_trust_gives_its_dataclass(running):
    with Hub(running.home) as hub:
        assert hub.trust_policy("lab", "warn", stale="refuse").own_rule
        (lab,) = hub.trust_list()
        assert (lab.policy, lab.stale, lab.domain_result) == ("warn", "refuse", "https")
        assert hub.trust_policy("lab").policy == "warn"
        assert hub.trust_export().publishers == 1
        assert hub.trust_import("{}").new[0].alias == "new"
        assert hub.trust_import("{}", confirmed=True).done
        assert hub.trust_candidates("nobody") == []
        assert hub.trust_check("lab")[0].domain == "lab.example"
        assert len(hub.trust_check()) == 1
        assert hub.trust_domain("lab.example").publishers[0].ways == ("https",)
        assert hub.profile("The Lab", domain="").name == "The Lab"
    asked = running.node.asked
    assert ("lab", "warn", "refuse") in asked
    assert ("profile", "The Lab", "") in asked


async def test_the_async_hub_asks_the_same_about_trust(running):
    async with AsyncHub(running.home) as hub:
        assert (await hub.trust_add("org", PUBLISHER)).alias == "org"
        assert [each.alias for each in await hub.trust_list()] == ["lab", "org"]
        assert (await hub.trust_remove("org")).alias == "org"
        assert (await hub.trust_policy("lab", "off")).policy == "off"
        assert (await hub.trust_export()).publishers == 1
        assert not (await hub.trust_import("{}")).done
        assert await hub.trust_candidates("nobody") == []
        assert (await hub.trust_check())[0].domain_result == "https"
        assert (await hub.trust_domain("lab.example")).domain == "lab.example"
        assert (await hub.profile()).domain == "lab.example"


def test_a_program_pins_nobody_by_pulling(running):
    """An alias that nobody has is an error, whoever claims it."""
    with Hub(running.home) as hub, pytest.raises(errors.NotFoundError):
        hub.pull("new/minilm")
    assert running.node.pins == {"lab": PUBLISHER}


async def use_async_hub(home):
    async with AsyncHub(home) as hub:
        seen = []
        path = await hub.pull("lab/minilm", progress=seen.append)
        assert [each.bytes_done for each in seen] == [1000]
        assert (await hub.search("mini"))[0].commit == COMMIT
        assert (await hub.verify())[0].ok
        with pytest.raises(errors.NotFoundError):
            await hub.pull("lab/none")
        return path


async def test_the_async_hub_works_under_trio(running):
    assert await use_async_hub(running.home) == running.node.snapshot


def test_the_async_hub_works_under_asyncio(running):
    assert asyncio.run(use_async_hub(running.home)) == running.node.snapshot


def test_cancelling_an_async_pull_cancels_it_in_the_node(running):
    running.node.hold = trio.Event()

    async def pull():
        async with AsyncHub(running.home) as hub:
            await hub.pull("lab/minilm", progress=lambda _: pulling.cancel())

    async def cancelled():
        nonlocal pulling
        pulling = asyncio.current_task()
        with pytest.raises(asyncio.CancelledError):
            await pull()

    pulling = None
    asyncio.run(cancelled())
    assert running.node.gave_up.wait(10)


def test_both_hubs_offer_the_same_calls():
    def calls(hub):
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in vars(hub).items()
            if not name.startswith("_") and name not in ("close", "aclose")
        }

    assert calls(Hub) == calls(AsyncHub)
    assert all(inspect.getdoc(getattr(Hub, name)) for name in calls(Hub))


@pytest.mark.parametrize(
    "shape",
    [each for each in vars(results).values() if dataclasses.is_dataclass(each)],
    ids=lambda shape: shape.__name__,
)
def test_the_client_knows_every_key_that_the_node_sends(shape):
    theirs = next(
        getattr(module, shape.__name__)
        for module in (values, node_events, parts)
        if hasattr(module, shape.__name__)
    )
    assert [each.name for each in dataclasses.fields(shape)] == [
        each.name for each in dataclasses.fields(theirs)
    ]


def test_keys_of_a_newer_node_are_skipped_and_of_an_older_one_default():
    data = {"peer_id": "12D3", "invented_later": {"a": 1}}
    assert results.read(results.Identity, data) == results.Identity("12D3")


@pytest.mark.parametrize("data", [None, [], {}, "text"])
def test_an_answer_without_its_keys_is_garbage(data):
    with pytest.raises(errors.GarbageError):
        results.read(results.Pin, data)


def test_a_home_is_the_given_one_the_environments_or_the_users():
    from p2phub.client.running import home_folder

    assert home_folder("/a", {"P2PHUB_HOME": "/b"}) == Path("/a")
    assert home_folder(None, {"P2PHUB_HOME": "/b"}) == Path("/b")
    assert home_folder(None, {}) == Path("~/.p2phub").expanduser()
