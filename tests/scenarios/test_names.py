"""Names between real nodes: what publishers claim, what their domains say, and who takes a name."""

import gc
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import httpx
import pytest
import trio

from p2phub.errors import AliasTakenError, NotFoundError, RemoteError, UntrustedError, UsageError
from p2phub.formats.ids import PublisherId
from p2phub.gateway.server import open_gateway
from p2phub.network.limits import Patience
from p2phub.network.text_records import TextRecords
from p2phub.network.web_client import WebClient
from p2phub.network.web_guard import PUBLIC, Guard
from p2phub.network.well_known import WellKnown
from p2phub.node import domains as module
from p2phub.node.offline import open_offline
from p2phub.testing import name_server, web
from p2phub.testing.files import tiny_model_folder
from p2phub.testing.name_server import NameServer
from p2phub.testing.notices import revoke_release
from p2phub.testing.publishers import FakePublisher
from p2phub.testing.web import WebServer
from p2phub.trust.domains import WELL_KNOWN, proof_file, proof_text, txt_name
from p2phub.trust.lab_list import Entry, write_list
from p2phub.trust.policy import Rule
from p2phub.trust_results import NamedPublisher
from tests.network.test_web_source import make_authority
from tests.scenarios.nodes import (
    consumer,
    new_publisher,
    node,
    publish,
    pull,
    refused,
    settings,
    stock,
)

pytestmark = pytest.mark.slow
DOMAIN = "lab.example"
QUICK = Patience(connect=1, handshake=2, request=1, progress=1)
OTHER = PublisherId(bytes(32))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    gc.collect()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("authority"), DOMAIN)


@pytest.fixture
def small(tmp_path):
    return tiny_model_folder(tmp_path / "small", shard_bytes=2000)


async def _to_this_machine(host, port):
    return ("127.0.0.1",)


@dataclass
class Internet:
    """`lab.example` as nodes of these tests find it: a web server and a name server."""

    web: WebServer
    names: NameServer
    context: object
    files: dict
    asked: int = 0

    def say(self, file=None, record=None):
        """Whom the domain names from now on, by its file and by its TXT record."""
        self.files.clear()
        if file is not None:
            self.files[WELL_KNOWN] = proof_file(PublisherId.parse(file)).encode()
        self.names.texts = {}
        if record is not None:
            self.names.texts[txt_name(DOMAIN)] = [proof_text(PublisherId.parse(record))]

    def reach(self, running):
        """Let a node find it."""
        guard = Guard(depth_of=lambda address: PUBLIC, resolve=_to_this_machine)
        domains = running._services.domains
        domains.well_known = WellKnown(
            guard,
            port=int(self.web.host.rpartition(":")[2]),
            seconds=3,
            make_client=lambda name: WebClient(name, patience=QUICK, context=lambda: self.context),
        )
        domains.text_records = TextRecords(["127.0.0.1"], port=self.names.port, seconds=2)

    @property
    def times(self):
        return len(self.web.asked)


@contextmanager
def internet(authority):
    server_side, client_side = authority
    files = {}
    with WebServer(files, context=server_side) as server, NameServer({}) as names:
        yield Internet(server, names, client_side, files)


async def until(condition):
    for _ in range(1000):
        if await condition():
            return
        await trio.sleep(0.02)
    pytest.fail(f"waited in vain for {condition.__name__}")


async def looked_at_all(running):
    """Return when the background has looked at everything that was due."""

    async def nothing_is_due():
        return not running._services.domains._due

    await until(nothing_is_due)


async def row_of(running, alias="lab"):
    return next(row for row in await running.trust.list() if row.alias == alias)


@asynccontextmanager
async def two_nodes(there, here, **more):
    """A publisher that claims `lab.example`, and a consumer that calls it lab."""
    publisher = new_publisher(there)
    async with (
        node(there) as publishing,
        consumer(here, publishing, publisher, **more) as pulling,
    ):
        yield publisher, publishing, pulling


class TestAProfile:
    async def test_is_kept_by_every_index_and_seen_by_who_pulls(self, there, here, small):
        async with two_nodes(there, here) as (publisher, publishing, pulling):
            await publish(publishing, small)
            told = await publishing.trust.set_profile("The Lab", "Lab.Example")
            assert (told.publisher_id, told.name, told.domain) == (publisher, "The Lab", DOMAIN)
            (small / "more.txt").write_text("more")
            await publish(publishing, small)
            await pull(pulling)
            row, info = await row_of(pulling), await pulling.info("lab/x")
            assert (row.name, row.domain, row.domain_result) == ("The Lab", DOMAIN, None)
            assert (info.publisher_name, info.domain) == ("The Lab", DOMAIN)
            assert (publishing.identity.name, publishing.identity.domain) == ("The Lab", DOMAIN)
            assert row.seq == 3

    async def test_changes_one_claim_at_a_time_and_takes_it_away(self, there):
        new_publisher(there)
        async with node(there) as running:
            await running.trust.set_profile("The Lab", DOMAIN)
            seq = (await row_of(running)).seq
            told = await running.trust.set_profile(None, "")
            assert (told.name, told.domain) == ("The Lab", None)
            assert (await row_of(running)).seq == seq + 1
            await running.trust.set_profile("The Lab", None)
            assert (await row_of(running)).seq == seq + 1  # nothing new: nothing is signed
        with open_offline(settings(), there) as offline:
            assert (offline.identity.name, offline.identity.domain) == ("The Lab", None)

    @pytest.mark.parametrize(
        ("name", "domain"),
        [("a\x1b[2J", None), ("x" * 2000, None), (None, "127.0.0.1"), (None, "a b")],
    )
    async def test_is_signed_by_nobody_if_others_would_refuse_it(self, there, name, domain):
        new_publisher(there)
        async with node(there) as running:
            with pytest.raises(UsageError):
                await running.trust.set_profile(name, domain)
            assert (await row_of(running)).seq == 0

    async def test_needs_a_publisher(self, here):
        async with node(here) as running:
            with pytest.raises(UsageError, match="no publisher"):
                await running.trust.set_profile("The Lab", None)


class TestADomain:
    @pytest.mark.parametrize("way", ["https", "dns"])
    async def test_that_names_the_publisher_proves_it_after_a_pull(
        self, there, here, small, authority, way
    ):
        with internet(authority) as net:
            async with two_nodes(there, here) as (publisher, publishing, pulling):
                net.say(**{"file" if way == "https" else "record": publisher})
                net.reach(pulling)
                await publishing.trust.set_profile(None, DOMAIN)
                await publish(publishing, small)
                await pull(pulling)

                async def proved():
                    return (await row_of(pulling)).domain_proved is not None

                await until(proved)
                row, info = await row_of(pulling), await pulling.info("lab/x")
                assert row.domain_result == info.domain_result == way
                assert row.domain_checked == row.domain_proved == info.domain_checked
                times = net.times
                await pull(pulling)  # it is fresh: nobody is asked again
                await looked_at_all(pulling)
                assert net.times == times
        with open_offline(settings(), here) as offline:
            assert offline.info("lab/x").domain_result == way

    async def test_that_names_somebody_else_contradicts_and_changes_no_verdict(
        self, there, here, small, authority
    ):
        with internet(authority) as net:
            async with two_nodes(there, here) as (_, publishing, pulling):
                net.say(file=str(OTHER), record=str(OTHER))
                net.reach(pulling)
                await publishing.trust.set_profile(None, DOMAIN)
                await publish(publishing, small)
                assert (await pull(pulling)).verdict == "verified"
                (look,) = await pulling.trust.check("lab")
                assert (look.domain_result, look.domain_proved) == ("contradicted", None)
                assert (await pull(pulling)).verdict == "verified"
                assert (await pulling.info("lab/x")).domain_result == "contradicted"

    async def test_that_does_not_answer_keeps_its_old_proof_with_its_date(
        self, there, here, small, authority
    ):
        with internet(authority) as net:
            async with two_nodes(there, here, TRUST_CHECK_DOMAINS="false") as made:
                publisher, publishing, pulling = made
                net.say(file=publisher)
                net.reach(pulling)
                await publishing.trust.set_profile(None, DOMAIN)
                await publish(publishing, small)
                await pull(pulling)
                (first,) = await pulling.trust.check("lab")
                net.web.answer, net.names.answer = web.failing(500), name_server.failing
                (look,) = await pulling.trust.check(publisher)
                assert look.domain_result == "unreachable"
                assert look.domain_proved == first.domain_checked
                assert [each.partition(":")[0] for each in look.problems] == ["dns", "https"]

    async def test_is_not_asked_in_the_background_where_that_is_switched_off(
        self, there, here, small, authority
    ):
        with internet(authority) as net:
            async with two_nodes(there, here, TRUST_CHECK_DOMAINS="false") as made:
                _, publishing, pulling = made
                net.reach(pulling)
                await publishing.trust.set_profile(None, DOMAIN)
                await publish(publishing, small)
                await pull(pulling)
                await looked_at_all(pulling)
                assert net.times == 0

    async def test_is_asked_again_when_its_proof_is_a_week_old(
        self, there, here, small, authority, monkeypatch
    ):
        with internet(authority) as net:
            async with two_nodes(there, here) as (publisher, publishing, pulling):
                net.say(file=publisher)
                net.reach(pulling)
                await publishing.trust.set_profile(None, DOMAIN)
                await publish(publishing, small)
                await pull(pulling)

                async def asked_once():
                    return (await row_of(pulling)).domain_checked is not None

                await until(asked_once)
                monkeypatch.setattr(module, "FRESH", 0)
                await pull(pulling)

                async def asked_again():
                    return net.times > 1

                await until(asked_again)

    async def test_hostile_answers_prove_nothing_and_hold_up_nothing(
        self, there, here, small, authority
    ):
        with internet(authority) as net:
            async with two_nodes(there, here) as (publisher, publishing, pulling):
                net.reach(pulling)
                net.say(file=publisher, record=publisher)
                net.web.answer, net.names.answer = web.endless_body, name_server.looping
                await publishing.trust.set_profile(None, DOMAIN)
                await publish(publishing, small)
                with trio.fail_after(10):
                    assert (await pull(pulling)).verdict == "verified"
                (look,) = await pulling.trust.check("lab")
                assert (look.domain_result, look.domain_proved) == ("unreachable", None)

    async def test_tells_whom_it_names_and_pins_nobody(self, here, authority):
        with internet(authority) as net:
            net.say(file=str(OTHER))
            async with node(here) as running:
                net.reach(running)
                said = await running.trust.domain("LAB.example")
                assert said.publishers == (NamedPublisher(str(OTHER), ("https",)),)
                assert await running.trust.list() == ()
                net.web.answer, net.names.answer = web.failing(500), name_server.failing
                with pytest.raises(RemoteError, match="cannot be asked"):
                    await running.trust.domain(DOMAIN)


class TestTheNamespaceReUseAttack:
    """A thief publishes under a name that is somebody else's here."""

    @pytest.fixture
    async def stolen(self, tmp_path, here, small):
        """The thief's node, the lab's node, and one that calls the lab lab."""
        thief, lab = new_publisher(tmp_path / "thief"), new_publisher(tmp_path / "lab")
        async with (
            node(tmp_path / "thief") as lying,
            node(tmp_path / "lab", lying) as honest,
            consumer(here, lying, lab) as pulling,
        ):
            await pulling.connect(honest.identity.addresses[0])
            await lying.trust.set_profile("lab", DOMAIN)
            await publish(lying, small)
            (small / "honest.txt").write_text("the lab's own")
            await publish(honest, small)
            yield thief, lab, pulling

    async def test_gets_nothing_pulled_under_the_alias(self, stolen):
        thief, lab, pulling = stolen
        done = await pull(pulling)
        assert (done.path / "honest.txt").exists()
        assert (await pulling.info("lab/x")).publisher_id == lab
        theirs = await pull(pulling, f"{thief}/x")
        assert not (theirs.path / "honest.txt").exists()
        assert (await row_of(pulling)).publisher_id == lab

    async def test_does_not_pin_the_alias_again(self, stolen):
        thief, lab, pulling = stolen
        with pytest.raises(AliasTakenError) as caught:
            await pulling.trust.add("lab", thief)
        assert thief in caught.value.message
        assert lab in caught.value.message
        text = write_list([Entry(PublisherId.parse(thief), "lab")])
        told = await pulling.trust.import_list(text, confirmed=True)
        assert [each.called for each in told.conflicts] == ["lab"]
        assert (await row_of(pulling)).publisher_id == lab

    async def test_is_told_of_and_not_guessed_where_nobody_has_the_alias(self, stolen):
        thief, lab, pulling = stolen
        await pull(pulling, f"{thief}/x")
        await pulling.trust.remove("lab")
        error = await refused_reference(pulling, "lab/x")
        assert thief in error.message
        assert "p2phub trust add lab ID" in error.remedy
        assert [each.publisher_id for each in await pulling.trust.candidates("lab")] == [thief]
        assert await pulling.trust.list() == ()
        await pulling.trust.add("lab", lab)
        assert await pulling.trust.candidates("lab") == ()

    async def test_gets_nothing_through_the_gateway(self, stolen, here):
        thief, lab, pulling = stolen
        await pull(pulling, f"{thief}/x")
        config = settings(GATEWAY_LISTEN="127.0.0.1:0")
        async with open_gateway(pulling, config, here) as gateway:
            headers = {"Authorization": f"Bearer {gateway.token}"}
            url = f"{gateway.url}/control/v1"
            async with httpx.AsyncClient(headers=headers, trust_env=False) as client:

                async def post(name, **body):
                    return await client.post(f"{url}/{name}", json=body, timeout=30)

                answer = await post("trust/add", alias="lab", publisher_id=thief)
                assert (answer.status_code, answer.json()["error"]["exit"]) == (409, 4)
                text = write_list([Entry(PublisherId.parse(thief), "lab")])
                answer = await post("trust/import", text=text, confirmed=True)
                assert answer.json()["conflicts"][0]["called"] == "lab"
                done = (await post("pull", reference="lab/x")).text
                assert lab in done
                await post("trust/rm", alias="lab")
                last = (await post("pull", reference="lab/x")).text.splitlines()[-1]
                assert '"code": "not_found"' in last.replace('":"', '": "')
                assert thief in last
                rows = await client.get(f"{url}/trust")
                assert rows.json() == {"pins": []}


async def refused_reference(running, reference):
    with pytest.raises(NotFoundError) as caught:
        await pull(running, reference)
    return caught.value


class TestARule:
    async def test_makes_stale_an_error_for_its_publisher_only(self, tmp_path, here):
        old, older = FakePublisher(4, not_after=1_700_000_100), FakePublisher(5, not_after=5)
        for lab in (old, older):
            lab.publish("x", {"config.json": b"{}"})
            stock(tmp_path / "labs", lab)
        async with (
            node(tmp_path / "labs") as serving,
            consumer(here, serving, old.publisher) as pulling,
        ):
            await pulling.trust.add("other", str(older.publisher))
            await pulling.trust.set_policy("lab", None, "refuse")
            assert "stale since" in (await refused(4, pulling)).message
            assert (await pull(pulling, "other/x")).verdict.startswith("verified, stale since")
            await pulling.trust.set_policy("lab", "off", None)
            assert (await pull(pulling)).verdict.startswith("verified, stale since")
            await pulling.trust.set_policy("lab", "default", None)
            assert (await pull(pulling)).verdict.startswith("verified, stale since")
            row = await row_of(pulling)
            assert (row.own_rule, row.stale_since) == (False, 1_700_000_100)

    async def test_survives_a_restart_and_is_read_without_a_node(self, tmp_path, here):
        lab = FakePublisher(4, not_after=1_700_000_100)
        lab.publish("x", {"config.json": b"{}"})
        stock(tmp_path / "lab", lab)
        async with node(tmp_path / "lab") as serving:
            async with consumer(here, serving, lab.publisher) as pulling:
                await pulling.trust.set_policy("lab", "warn", "refuse")
            with open_offline(settings(), here) as offline:
                told = offline.rule_of("lab")
                assert (told.policy, told.stale, told.own_rule) == ("warn", "refuse", True)
            async with node(here, serving) as pulling:
                with pytest.raises(UntrustedError, match="stale since"):
                    await pull(pulling)

    @pytest.mark.parametrize("by", ["policy", "list"])
    async def test_that_is_stricter_ends_what_goes_on(self, tmp_path, here, by):
        lab = FakePublisher(6)
        made = lab.publish("x", {"config.json": b"{}"})
        stock(tmp_path / "lab", lab)
        async with (
            node(tmp_path / "lab") as serving,
            consumer(here, serving, lab.publisher, TRUST_POLICY="warn") as pulling,
        ):
            await pull(pulling)
            notice = revoke_release(lab, made.release.digest).pack()
            pulling._services.knowledge.learn_notice(notice)
            withdrawals = pulling._services.withdrawals
            await withdrawals.check(lab.publisher)
            with withdrawals.listen() as news:
                if by == "policy":
                    await pulling.trust.set_policy("lab", "enforce", None)
                else:
                    text = write_list([Entry(lab.publisher, "lab", Rule("enforce"))])
                    await pulling.trust.import_list(text, confirmed=False)
                    assert news.statistics().current_buffer_used == 0
                    await pulling.trust.import_list(text, confirmed=True)
                assert news.receive_nowait().digest == made.release.digest.hex()
