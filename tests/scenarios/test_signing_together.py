"""Releases that several keys must sign, and releases that are signed on another machine: prepared,
carried in a file, finished; and everything that can be wrong with such a file.
"""

from dataclasses import replace

import pytest
import trio

from p2phub.errors import (
    MalformedError,
    NotFoundError,
    P2PHubError,
    RefusedError,
    UntrustedError,
    UsageError,
)
from p2phub.formats.manifest import Release
from p2phub.formats.notices import Revocation, RevokedFile
from p2phub.formats.parcel import Parcel
from p2phub.formats.publisher import ReleaseKey
from p2phub.node import housekeeping
from p2phub.node.values import FinishRequest, PublishRequest
from p2phub.store.proposals import KEPT_FOR, MAX_PROPOSALS
from p2phub.testing.publishers import FakePublisher
from p2phub.trust import envelope, parcels
from p2phub.trust.envelope import Envelope
from tests.scenarios.nodes import consumer, model, node, publish, pull, quiet
from tests.scenarios.writers import adopt, become, services_of

KEYS = ("one", "two", "three")


@pytest.fixture
def lab():
    """An organisation: two of three keys must sign a release."""
    made = FakePublisher(7, writers=KEYS)
    made.delegate(*KEYS, threshold=2)
    return made


@pytest.fixture
def home(tmp_path, lab):
    return become(tmp_path / "one", lab, "one")


@pytest.fixture
def solo():
    """A publisher one of whose keys is on a machine without a network."""
    return FakePublisher(8, writers=("one", "airgap"))


def read(path):
    (signed,) = parcels.envelopes(Parcel.from_bytes(path.read_bytes()), Release.TYPE)
    return signed


def write(path, *envelopes):
    path.write_bytes(Parcel(tuple(each.pack() for each in envelopes)).to_bytes())
    return path


def sign(path, lab, *names):
    """What `p2phub key sign FILE` does on another machine."""
    signed = read(path)
    for name in names:
        added = envelope.sign_payload(signed.type, signed.payload, [lab.key(name)])
        signed = envelope.merge(signed, added)
    return write(path, signed)


async def propose(running, folder, file, name="x", **more):
    return await running.publish(PublishRequest(folder, name, proposal_file=file, **more), quiet)


async def prepare(running, folder, file, name="x", **more):
    return await running.publish(PublishRequest(folder, name, prepare=file, **more), quiet)


async def finish(running, file, tag=None):
    return await running.proposals.finish(FinishRequest(file, tag), quiet)


async def nobody_sees(running, name="x"):
    with pytest.raises(NotFoundError):
        await running.info(name)


async def refused(error, words, running, file):
    with pytest.raises(error, match=words) as caught:
        await finish(running, file)
    assert caught.value.remedy
    return caught.value


# ---------------------------------------------------------------- m of n


async def test_one_of_two_signatures_lists_nothing_and_the_second_does(tmp_path, lab, home):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(home) as one:
        made = await propose(one, folder, file)
        assert (made.pending.signatures, made.pending.needed) == (1, 2)
        assert made.pending.file == str(file)
        assert made.ref == f"{lab.publisher}/x@{made.commit}"
        await nobody_sees(one)
        (waiting,) = await one.proposals.list()
        assert (waiting.commit, waiting.signatures, waiting.here) == (made.commit, 1, True)
        await refused(UntrustedError, "1 of 2 signatures", one, file)
        sign(file, lab, "two")
        done = await finish(one, file, "v1")
        assert (done.commit, done.pending) == (made.commit, None)
        assert await one.proposals.list() == ()
        async with consumer(tmp_path / "reader", one, lab.publisher) as reader:
            for ref in ("lab/x", "lab/x@v1"):
                pulled = await pull(reader, ref)
                assert (pulled.commit, pulled.verdict) == (made.commit, "verified")


async def test_main_stays_what_it_was_until_enough_have_signed(tmp_path, lab, home):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(home) as one:
        await propose(one, folder, file)
        first = await finish(one, sign(file, lab, "two"))
        (folder / "config.json").write_text("[]")
        second = await propose(one, folder, tmp_path)
        assert second.pending.file == str(tmp_path / f"x-{second.commit[:8]}.p2phub")
        assert (await one.info("x")).commit == first.commit
        (found,) = tmp_path.glob("x-*.p2phub")
        assert (await finish(one, sign(found, lab, "three"))).commit == second.commit
        assert (await one.info("x")).commit == second.commit


async def test_all_keys_of_one_machine_sign_at_once(tmp_path, lab):
    home = become(tmp_path / "both", lab, "one", **{"release-2": "two"})
    async with node(home) as one:
        made = await propose(one, model(tmp_path / "model"), None)
        assert made.pending is None
        (folder := tmp_path / "model")
        (folder / "config.json").write_text("[]")
        alone = await propose(one, folder, None, sign_with="release-2")
        assert (alone.pending.signatures, alone.pending.file) == (1, None)


async def test_publishing_the_same_again_is_the_same_proposal(tmp_path, lab, home):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(home) as one:
        first = await propose(one, folder, file)
        sign(file, lab, "two")
        now = services_of(one).now()
        object.__setattr__(services_of(one), "now", lambda: now + 1000)
        second = await propose(one, folder, file)
        assert second.commit == first.commit
        assert len(read(file).signatures) == 2


async def test_a_proposal_of_a_removed_member_is_one_signature_short_again(tmp_path, lab, home):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(home) as one:
        await propose(one, folder, file)
        sign(file, lab, "two")
        lab.delegate("one", "three", threshold=2)
        adopt(services_of(one).store, lab)
        await refused(UntrustedError, "1 of 2 signatures", one, file)
        await finish(one, sign(file, lab, "three"))


async def test_a_listed_release_that_falls_below_the_threshold_is_an_error_with_the_count(
    tmp_path, lab, home
):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(home) as one:
        made = await propose(one, folder, file)
        await finish(one, sign(file, lab, "two"))
        async with consumer(tmp_path / "reader", one, lab.publisher) as reader:
            assert (await pull(reader)).commit == made.commit
            lab.delegate("one", "three", threshold=2)
            adopt(services_of(one).store, lab)
            (folder / "config.json").write_text("[]")
            other = await propose(one, folder, tmp_path / "y.p2phub", name="y")
            await finish(one, sign(tmp_path / "y.p2phub", lab, "three"))
            assert (await pull(reader, "lab/y")).commit == other.commit
            with pytest.raises(UntrustedError, match="1 of 2 needed"):
                await pull(reader, "lab/x")
            # Its publisher can publish it again, signed by those who are left.
            again = await propose(one, folder, tmp_path / "z.p2phub")
            await finish(one, sign(tmp_path / "z.p2phub", lab, "three"))
            assert (await pull(reader, "lab/x")).commit == again.commit


async def test_a_member_signs_what_came_to_its_node_and_a_stranger_key_does_not_count(
    tmp_path, lab, home
):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(home) as one:
        made = await propose(one, folder, file)
        signed = await one.proposals.sign(made.commit[:8], None, quiet)
        assert (signed.signatures, signed.listed) == (1, False)
        with pytest.raises(UntrustedError, match="no release key"):
            await one.proposals.sign(made.commit, "node", quiet)
        with pytest.raises(NotFoundError):
            await one.proposals.sign("01234567", None, quiet)
        stranger = FakePublisher(9)
        await refused(UntrustedError, "1 of 2", one, sign(file, stranger, "release"))
        dropped = await one.proposals.drop(made.commit)
        assert dropped.commit == made.commit
        assert await one.proposals.list() == ()
        await refused(NotFoundError, "not on this disk", one, sign(file, lab, "two"))


@pytest.mark.slow
async def test_so_many_proposals_wait_and_they_wait_so_long(tmp_path, lab, home):
    folder = model(tmp_path / "model")
    async with node(home) as one:
        for number in range(MAX_PROPOSALS):
            await propose(one, folder, None, name=f"x{number}")
        with pytest.raises(RefusedError, match=f"{MAX_PROPOSALS} releases wait"):
            await propose(one, folder, None, name="too-many")
        now = services_of(one).now()
        object.__setattr__(services_of(one), "now", lambda: now + KEPT_FOR + 60)
        assert await one.proposals.list() == ()
        await propose(one, folder, None, name="later")
        assert len(await one.proposals.list()) == 1


# ---------------------------------------------------------------- signed elsewhere


async def test_a_release_is_prepared_signed_elsewhere_and_finished(tmp_path, solo):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(become(tmp_path / "home", solo, "one")) as running:
        made = await prepare(running, folder, file, tag="v1")
        assert (made.pending.signatures, made.pending.needed) == (0, 1)
        assert read(file).signatures == ()
        await nobody_sees(running)
        await refused(UntrustedError, "0 of 1 signatures", running, file)
        done = await finish(running, sign(file, solo, "airgap"))
        assert (done.commit, done.ref) == (made.commit, f"{solo.publisher}/x@v1")
        assert [each.key for each in kept(running, done).signatures] == [solo.key("airgap").public]
        async with consumer(tmp_path / "reader", running, solo.publisher) as reader:
            assert (await pull(reader, "lab/x@v1")).commit == made.commit


def kept(running, done):
    return envelope.unpack(services_of(running).store.documents.get(bytes.fromhex(done.digest)))


async def test_where_two_must_sign_the_key_of_the_node_alone_can_do_nothing(tmp_path, solo):
    solo.delegate("one", "airgap", threshold=2)
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(become(tmp_path / "home", solo, "one")) as running:
        await prepare(running, folder, file)
        await refused(UntrustedError, "0 of 2 signatures", running, file)
        await refused(UntrustedError, "1 of 2 signatures", running, sign(file, solo, "one"))
        file.unlink()
        await prepare(running, folder, file)
        done = await finish(running, sign(file, solo, "airgap"))
        assert len(kept(running, done).signatures) == 2


async def test_a_node_without_a_key_prepares_and_is_told_what_it_needs_to_finish(tmp_path, solo):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    home = become(tmp_path / "home", solo, "one")
    (home / "keys" / "release.key").unlink()
    async with node(home) as running:
        await prepare(running, folder, file)
        error = await refused(NotFoundError, "no release key", running, sign(file, solo, "airgap"))
        assert "p2phub key" in error.remedy


async def test_a_node_that_may_not_write_the_repo_says_so(tmp_path, solo):
    limited = ReleaseKey(solo.key("one").public, repos=("y",))
    solo.delegate(limited, "airgap")
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(become(tmp_path / "home", solo, "one")) as running:
        await prepare(running, folder, file)
        await refused(UntrustedError, "may not write x", running, sign(file, solo, "airgap"))
        await nobody_sees(running)


async def test_a_file_that_was_changed_by_a_byte_is_refused(tmp_path, solo):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(become(tmp_path / "home", solo, "one")) as running:
        await prepare(running, folder, file)
        good = sign(file, solo, "airgap").read_bytes()
        for at in range(0, len(good), max(1, len(good) // 40)):
            file.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            with pytest.raises(P2PHubError) as caught:
                await finish(running, file)
            assert caught.value.exit in (2, 3, 4)
            await nobody_sees(running)
        file.write_bytes(good)
        await finish(running, file)


async def test_what_a_courier_changed_before_it_was_signed_names_files_that_are_not_here(
    tmp_path, solo
):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(become(tmp_path / "home", solo, "one")) as running:
        await prepare(running, folder, file)
        release = Release.from_payload(read(file).payload)
        content = replace(release.files[0].content, digest=b"t" * 32)
        swapped = replace(release.files[0], content=content, sha256=b"t" * 32, git_sha1=None)
        changed = replace(release, files=(swapped, *release.files[1:]))
        write(file, Envelope("release", changed.to_payload(), ()))
        await refused(NotFoundError, "config.json|README", running, sign(file, solo, "airgap"))


async def test_of_another_publisher(tmp_path, solo, lab):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(become(tmp_path / "home", solo, "one")) as running:
        await prepare(running, folder, file)
        async with node(become(tmp_path / "other", lab, "one")) as other:
            await refused(UntrustedError, "of publisher", other, sign(file, solo, "airgap"))


async def test_files_that_are_gone_are_named(tmp_path, solo):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(become(tmp_path / "home", solo, "one")) as running:
        made = await prepare(running, folder, file)
        await running.proposals.drop(made.commit)
        error = await refused(NotFoundError, "README.md", running, sign(file, solo, "airgap"))
        assert "prepare it again" in error.remedy
        await prepare(running, folder, tmp_path / "again.p2phub")
        await finish(running, file)


async def test_finished_twice_is_no_new_release_and_may_add_a_tag(tmp_path, solo):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    events = []
    async with node(become(tmp_path / "home", solo, "one")) as running:
        await prepare(running, folder, file)
        first = await finish(running, sign(file, solo, "airgap"))
        seq = services_of(running).knowledge.state(solo.publisher).seq
        again = await running.proposals.finish(FinishRequest(file), events.append)
        assert again.commit == first.commit
        assert "listed already" in events[-1].message
        assert services_of(running).knowledge.state(solo.publisher).seq == seq
        await finish(running, file, "v1")
        assert (await running.info("x@v1")).commit == first.commit


async def test_older_than_what_main_is_now(tmp_path, solo):
    folder = model(tmp_path / "model")
    first, second = tmp_path / "1.p2phub", tmp_path / "2.p2phub"
    async with node(become(tmp_path / "home", solo, "one")) as running:
        await prepare(running, folder, first)
        (folder / "config.json").write_text("[]")
        await prepare(running, folder, second)
        newer = await finish(running, sign(second, solo, "airgap"))
        await refused(RefusedError, "does not follow", running, sign(first, solo, "airgap"))
        (folder / "config.json").write_text("[1]")
        newest = await publish(running, folder)
        await refused(RefusedError, "finished before", running, second)
        assert (await running.info("x")).commit == newest.commit != newer.commit


async def test_what_was_revoked_meanwhile_is_not_listed(tmp_path, solo):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(become(tmp_path / "home", solo, "one")) as running:
        await publish(running, folder, "other")
        (folder / "config.json").write_text("[]")
        await prepare(running, folder, file)
        release = Release.from_payload(read(file).payload)
        bad = next(each for each in release.files if each.path == ("config.json",))
        revoked = Revocation(
            solo.publisher.digest, 1, RevokedFile(bad.sha256), 1_700_000_000, "leaked"
        )
        notice = envelope.sign(revoked, solo.root_signers(1))
        services_of(running).knowledge.learn_notice(notice.pack())
        await refused(UntrustedError, "leaked", running, sign(file, solo, "airgap"))
        await nobody_sees(running)


async def test_a_parcel_with_nothing_or_too_much_in_it(tmp_path, solo):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(become(tmp_path / "home", solo, "one")) as running:
        with pytest.raises(NotFoundError):
            await finish(running, file)
        file.write_bytes(b"junk")
        with pytest.raises(MalformedError):
            await finish(running, file)
        await refused(UsageError, "holds 0 releases", running, write(file, solo.delegation))
        file.unlink()
        await prepare(running, folder, file)
        other = tmp_path / "y.p2phub"
        await prepare(running, folder, other, name="y")
        await refused(UsageError, "holds 2 releases", running, write(file, read(file), read(other)))


async def test_a_file_of_somebody_elses_is_not_overwritten(tmp_path, solo):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    file.write_text("a diary")
    async with node(become(tmp_path / "home", solo, "one")) as running:
        with pytest.raises(RefusedError, match="never overwritten"):
            await prepare(running, folder, file)
        assert file.read_text() == "a diary"
        with pytest.raises(UsageError, match="no folder"):
            await prepare(running, folder, tmp_path / "nowhere" / "x.p2phub")


async def test_what_is_there_already_is_not_prepared(tmp_path, solo):
    folder, file = model(tmp_path / "model"), tmp_path / "x.p2phub"
    async with node(become(tmp_path / "home", solo, "one")) as running:
        await publish(running, folder)
        with pytest.raises(UsageError, match="nothing changed"):
            await prepare(running, folder, file)


async def test_a_prepared_release_keeps_its_files_when_another_is_removed(tmp_path, solo):
    folder, file = model(tmp_path / "model"), tmp_path / "y.p2phub"
    async with node(become(tmp_path / "home", solo, "one")) as running:
        await publish(running, folder)
        await prepare(running, folder, file, name="y")
        await running.remove("x")
        await finish(running, sign(file, solo, "airgap"))
        assert (await running.info("y")).here == "complete"


@pytest.mark.slow
async def test_what_nobody_signed_in_time_goes_with_its_files(tmp_path, lab, home, monkeypatch):
    async with node(home) as one:
        made = await propose(one, model(tmp_path / "model"), None)
        store = services_of(one).store
        assert store.blobs.total_bytes()
        now = services_of(one).now()
        object.__setattr__(services_of(one), "now", lambda: now + KEPT_FOR - 60)
        await one_sweep(services_of(one))
        assert store.proposals.get(bytes.fromhex(made.digest)) is not None
        object.__setattr__(services_of(one), "now", lambda: now + KEPT_FOR + 60)
        await one_sweep(services_of(one))
        assert store.proposals.get(bytes.fromhex(made.digest)) is None
        assert store.blobs.total_bytes() == 0


async def one_sweep(services):
    with trio.move_on_after(2):
        await housekeeping.drop_old_proposals(services)
