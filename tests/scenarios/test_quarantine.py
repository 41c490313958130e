"""The gate of a node to other networks: what comes on a stick waits, and everything is noted."""

import errno
import os
import time
from dataclasses import replace

import pytest
import trio

from p2phub.errors import (
    NoSpaceError,
    NotFoundError,
    P2PHubError,
    QuarantinedError,
    UntrustedError,
)
from p2phub.formats.ids import PublisherId, Reference
from p2phub.formats.notices import Withdrawal
from p2phub.node import housekeeping, unbundling
from p2phub.node.approvers import read_approval
from p2phub.node.approving import read_asked
from p2phub.node.auditing import check_log, log_lines
from p2phub.node.desk import key_in_force, open_desk, own_papers
from p2phub.node.library import Library
from p2phub.node.locate import locate
from p2phub.node.parts import PartRequest
from p2phub.node.unbundling import note_release
from p2phub.node.values import as_json
from p2phub.trust.envelope import merge, sign
from p2phub.trust.keys import SigningKey
from tests.scenarios.gate_scene import (
    ANN,
    BOB,
    approval,
    bring,
    export,
    gate,
    is_seen,
    noted,
    publish_and_export,
    waiting,
)
from tests.scenarios.nodes import (
    consumer,
    flip,
    model,
    new_publisher,
    node,
    publish,
    pull,
    quiet,
    running_home,
    settings,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def stick(tmp_path):
    return tmp_path / "stick"


@pytest.fixture
async def stocked(tmp_path, stick):
    """A stick with `x` of a publisher: its id and the commit."""
    return await publish_and_export(tmp_path, stick)


async def test_what_leaves_and_what_comes_is_noted_also_without_quarantine(tmp_path, stick):
    who, commit = await publish_and_export(tmp_path, stick)
    assert noted(tmp_path / "a") == [
        "bundle.export.started",
        "bundle.export.giving",
        "bundle.export.ended",
    ]
    async with node(tmp_path / "b") as far:
        await bring(far, stick)
        with pytest.raises(NotFoundError):
            await bring(far, tmp_path / "nothing")
    lines = log_lines(settings(), tmp_path / "b")
    assert [line.event for line in lines] == [
        "bundle.import.started",
        "bundle.import.taking",
        "bundle.import.release",
        "bundle.import.ended",
        "bundle.import.started",
        "bundle.import.broken",
    ]
    assert lines[1].fields["refs"] == (f"{who}/x@{commit}",)
    assert lines[2].fields["ref"] == f"{who}/x@{commit}"
    assert check_log(settings(), tmp_path / "b").ok


async def test_an_import_that_cannot_be_noted_does_not_happen(tmp_path, stick, monkeypatch):
    await publish_and_export(tmp_path, stick)
    async with node(tmp_path / "b") as far:
        disk = far._services.audit.log._disk

        def full(fd, data, offset, path):
            if os.path.basename(path) == "audit.log":
                raise NoSpaceError(f"the disk is full: {path} ({errno.ENOSPC})")

        monkeypatch.setattr(disk, "write", full)
        with pytest.raises(NoSpaceError):
            await bring(far, stick)
        assert not await far.ls(None)
        assert not list((running_home(far) / "store" / "blobs").rglob("*-*"))


async def test_whenever_an_import_dies_the_log_names_what_it_had_let_in(
    tmp_path, stick, monkeypatch
):
    new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as lab:
        for name in ("x", "y", "z"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "data.txt").write_text(name)
            await publish(lab, tmp_path / name, name)
        await export(lab, stick, "x", "y", "z")
    async with node(tmp_path / "b") as far:
        let_in, dies = [], RuntimeError("as if the power failed")

        async def die_after(services, act, row):
            let_in.append(row)
            if len(let_in) == 2:
                raise dies
            await note_release(services, act, row)

        monkeypatch.setattr(unbundling, "note_release", die_after)
        with pytest.raises(RuntimeError) as caught:
            await bring(far, stick)
        assert caught.value is dies
        lines = log_lines(settings(), tmp_path / "b")
        named = [ref for line in lines for ref in line.fields.get("refs", ())]
        ended = [line.fields["ref"] for line in lines if line.event == "bundle.import.release"]
        assert {repo.commit for repo in await far.ls(None)} == {row.commit for row in let_in}
        assert {row.ref for row in let_in} < set(named)
        assert (ended, len(named)) == ([let_in[0].ref], 3)


# ---------------------------------------------------------------- what waits


async def test_what_comes_waits_and_an_approver_lets_it_in(tmp_path, stick, stocked):
    who, commit = stocked
    async with node(tmp_path / "b", **gate()) as far:
        done = await bring(far, stick)
        (row,) = done.releases
        assert (row.outcome, row.verdict, done.exit) == ("quarantined", "verified", 0)
        assert "passed 4 checks; waits for 1 approval" in row.reason
        assert (await far.ls(None), is_seen(far)) == ((), False)
        told = await waiting(far)
        assert (told.commit, told.state, told.origin) == (commit, "waiting", str(stick))
        assert {check.name: check.ok for check in told.checks} == dict.fromkeys(
            ["signatures", "bytes", "formats", "headers"], True
        )
        for reference in (f"{who}/x", f"{who}/x@{commit}"):
            with pytest.raises(QuarantinedError, match="waits in quarantine") as caught:
                await pull(far, reference)
            assert caught.value.exit == 7
        let_in = await far.quarantine.decide(approval(told))
        assert let_in.state == "let in"
        assert await far.quarantine.waiting() == ()
        (repo,) = await far.ls(None)
        assert (repo.commit, repo.here) == (commit, "complete")
        (checked,) = await far.verify(f"{who}/x", quiet)
        assert checked.ok
        assert (await pull(far, f"{who}/x")).bytes_fetched == 0
    assert noted(tmp_path / "b") == [
        "gate.settings",
        "bundle.import.started",
        "bundle.import.taking",
        "quarantine.waits",
        "bundle.import.release",
        "bundle.import.ended",
        "quarantine.approved",
        "quarantine.let_in",
    ]
    assert check_log(settings(), tmp_path / "b").ok


async def test_what_waits_goes_on_waiting_after_a_restart_and_without_the_setting(
    tmp_path, stick, stocked
):
    who, commit = stocked
    async with node(tmp_path / "b", **gate()) as far:
        await bring(far, stick)
    async with node(tmp_path / "b") as far:
        assert await far.ls(None) == ()
        with pytest.raises(QuarantinedError):
            await pull(far, f"{who}/x")
        again = await bring(far, stick)
        assert (again.releases[0].outcome, again.bytes_fetched) == ("quarantined", 0)
        assert (await waiting(far)).commit == commit
    async with node(tmp_path / "b", **gate()) as far:
        assert (await far.quarantine.decide(approval(await waiting(far)))).state == "let in"


async def test_no_peer_gets_what_waits_by_any_digest(tmp_path, stick, stocked):
    who, _ = stocked
    async with node(tmp_path / "b", **gate()) as far:
        await bring(far, stick)
        store = far._services.store
        digest = bytes.fromhex((await waiting(far)).digest)
        release = locate(
            store, far._services.knowledge, Reference.parse(f"{who}/x"), waiting=True
        ).release
        shelf, contents = Library(store), [file.content for file in release.files]
        assert all(store.blobs.has(content) for content in contents)
        assert all(shelf.holding(content, None) is None for content in contents)
        assert shelf.openers(contents, None) == [None] * len(contents)
        for file in release.files:
            assert shelf.content_of_sha256(file.sha256, None) is None
            assert store.uploads.find(file.sha256, file.size) is None
            with pytest.raises(NotFoundError):
                shelf.open(file.content)
            if file.content.has_table:
                assert shelf.document(file.content.digest, None) is None
        assert shelf.document(digest, None) is None
        async with consumer(tmp_path / "c", far, who) as other:
            with trio.fail_after(60), pytest.raises(P2PHubError):
                await pull(other)
            assert not is_seen(other)
            await far.quarantine.decide(approval(await waiting(far)))
            assert all(shelf.holding(content, None) for content in contents)
            assert shelf.document(digest, None)
            with trio.fail_after(60):
                await pull(other)
            assert is_seen(other)


async def test_a_file_that_a_visible_release_has_too_stays_visible(tmp_path, stick, stocked):
    new_publisher(tmp_path / "b")
    async with node(tmp_path / "b", **gate()) as far:
        await publish(far, model(tmp_path / "model"), "mine")
        before = len(list((tmp_path / "b" / "store" / "blobs").rglob("*-*")))
        await bring(far, stick)
        shelf, (row,) = Library(far._services.store), await far.ls(None)
        files = locate(
            far._services.store, far._services.knowledge, Reference.parse("mine")
        ).release.files
        assert all(shelf.holding(file.content, None) for file in files)
        assert (row.ref.endswith("/mine@main"), (await waiting(far)).name) == (True, "x")
        await far.quarantine.reject("x", "no need")
        assert len(list((tmp_path / "b" / "store" / "blobs").rglob("*-*"))) == before
        (checked,) = await far.verify("mine", quiet)
        assert checked.ok


async def test_a_rejected_release_is_gone_and_does_not_come_again_until_it_is_allowed(
    tmp_path, stick, stocked
):
    who, commit = stocked
    async with node(tmp_path / "b", **gate()) as far:
        await bring(far, stick)
        first = await waiting(far)
        old = approval(first)
        rejected = await far.quarantine.reject(commit[:10], "the wrong licence")
        assert (rejected.state, rejected.reason) == ("rejected", "the wrong licence")
        assert not list((tmp_path / "b" / "store" / "blobs").rglob("*-*"))
        done = await bring(far, stick)
        (row,) = done.releases
        assert (row.outcome, row.exit, done.exit) == ("refused", 7, 7)
        assert "the wrong licence" in row.reason
        for refused in (far.quarantine.decide(old), far.quarantine.check("x", quiet)):
            with pytest.raises(QuarantinedError, match="rejected"):
                await refused
        with pytest.raises(QuarantinedError, match="rejected"):
            await pull(far, f"{who}/x")
        await far.quarantine.allow("x")
        assert (await bring(far, stick)).releases[0].outcome == "quarantined"
        second = await waiting(far)
        assert (second.checks_digest, second.case != first.case) == (first.checks_digest, True)
        with pytest.raises(QuarantinedError, match="another time"):
            await far.quarantine.decide(old)
        assert (await far.quarantine.decide(approval(second))).state == "let in"


async def test_an_approver_may_reject_and_stands_in_the_log(tmp_path, stick, stocked):
    async with node(tmp_path / "b", **gate()) as far:
        await bring(far, stick)
        row = await far.quarantine.decide(approval(await waiting(far), rejects="not needed"))
        assert (row.state, row.reason) == ("rejected", "not needed (ann)")
    line = log_lines(settings(), tmp_path / "b")[-1]
    assert (line.event, line.fields["approver"]) == ("quarantine.rejected", "ann")


async def test_who_is_no_approver_lets_nothing_in(tmp_path, stick, stocked):
    async with node(tmp_path / "b", **gate(AIRGAP_APPROVALS="2")) as far:
        await bring(far, stick)
        row = await waiting(far)
        mallory = SigningKey(b"m" * 32)
        for wrong in (
            approval(row, mallory, "mallory"),
            approval(row, mallory, "ann"),
            approval(row, ANN, "bob"),
            approval(replace(row, checks=row.checks[1:])),
            approval(replace(row, case="00" * 16)),
            approval(replace(row, publisher_id=str(PublisherId(b"q" * 32)))),
            approval(replace(row, digest="77" * 32)),
            sign(Withdrawal(bytes(32), bytes(32), 1, "no"), [ANN]).pack(),
            b"nonsense",
        ):
            with pytest.raises(P2PHubError) as caught:
                await far.quarantine.decide(wrong)
            assert caught.value.exit in (3, 4, 7)
        late = read_approval(approval(row)).said
        ahead = sign(replace(late, created=late.created + 3600), [ANN]).pack()
        with pytest.raises(UntrustedError, match="future"):
            await far.quarantine.decide(ahead)
        both = merge(sign(late, [ANN]), sign(late, [BOB])).pack()
        with pytest.raises(UntrustedError, match="one signature"):
            await far.quarantine.decide(both)
        for _ in range(2):  # the same approval twice is one
            assert (await far.quarantine.decide(approval(row))).needed == 1
        assert (await far.ls(None), is_seen(far)) == ((), False)
        assert (await far.quarantine.decide(approval(row, BOB, "bob"))).state == "let in"


async def test_one_key_under_two_names_is_one_approver(tmp_path, stick, stocked):
    pins = f"ann={ANN.public.hex()},also-ann={ANN.public.hex()}"
    more = gate(AIRGAP_APPROVERS=pins, AIRGAP_APPROVALS="2")
    async with node(tmp_path / "b", **more) as far:
        await bring(far, stick)
        row = await waiting(far)
        await far.quarantine.decide(approval(row))
        assert (await far.quarantine.decide(approval(row, ANN, "also-ann"))).needed == 1
        assert await far.ls(None) == ()


async def test_a_failed_check_keeps_it_out_unless_it_is_named(tmp_path, stick, stocked):
    async with node(tmp_path / "b", **gate(AIRGAP_LICENSES="mit,gpl-3.0")) as far:
        done = await bring(far, stick)
        row = await waiting(far)
        (failed,) = [check for check in row.checks if not check.ok]
        assert (failed.name, done.exit) == ("licence", 0)
        assert "did not pass licence" in done.releases[0].reason
        with pytest.raises(QuarantinedError, match="licence") as caught:
            await far.quarantine.decide(approval(row))
        assert "--despite licence" in caught.value.remedy
        let_in = await far.quarantine.decide(approval(row, despite=["licence"]))
        assert let_in.state == "let in"
    line = next(
        each
        for each in log_lines(settings(), tmp_path / "b")
        if each.event == "quarantine.approved"
    )
    assert line.fields["despite"] == ("licence",)


async def test_other_results_end_the_approvals_before(tmp_path, stick, stocked):
    async with node(tmp_path / "b", **gate(AIRGAP_APPROVALS="2")) as far:
        await bring(far, stick)
        first = await waiting(far)
        await far.quarantine.decide(approval(first))
    more = gate(AIRGAP_APPROVALS="2", AIRGAP_LICENSES="Apache-2.0")
    async with node(tmp_path / "b", **more) as far:
        assert len((await waiting(far)).approvals) == 1
        checked = await far.quarantine.check("x", quiet)
        assert (checked.approvals, checked.needed) == ((), 2)
        with pytest.raises(QuarantinedError, match="other results"):
            await far.quarantine.decide(approval(first, BOB, "bob"))


async def test_a_release_key_of_a_publisher_signs_until_it_is_revoked(tmp_path, stick, stocked):
    who, _ = stocked
    async with node(tmp_path / "b", **gate(AIRGAP_APPROVERS=f"lab={who}")) as far:
        await bring(far, stick)
        row = await waiting(far)
        with pytest.raises(UntrustedError, match="no release key"):
            await far.quarantine.decide(approval(row, ANN, "lab"))
        with open_desk(settings(), tmp_path / "a", read_only=True) as desk:
            papers = own_papers(desk.store.documents)
            _, key = key_in_force(desk.keyring, papers.identity, int(time.time()))
        assert read_asked(as_json(row)).name_of(papers.publisher, key.public) == "lab"
        assert (await far.quarantine.decide(approval(row, key, "lab"))).state == "let in"


async def test_what_was_revoked_while_it_waited_is_not_let_in(tmp_path, stick, stocked):
    async with node(tmp_path / "b", **gate()) as far:
        await bring(far, stick)
        row = await waiting(far)
        services = far._services
        with open_desk(settings(), tmp_path / "a", read_only=True) as desk:
            papers = own_papers(desk.store.documents)
            _, key = key_in_force(desk.keyring, papers.identity, int(time.time()))
        notice = Withdrawal(
            papers.publisher.digest, bytes.fromhex(row.digest), int(time.time()), "a mistake"
        )
        services.knowledge.learn_notice(sign(notice, [key]).pack())
        with pytest.raises(UntrustedError):
            await far.quarantine.decide(approval(row))
        assert (await waiting(far)).verdict == "refused"
        assert (await far.ls(None), is_seen(far)) == ((), False)


async def test_a_release_that_was_pulled_before_needs_no_approval(tmp_path, stick, stocked):
    async with node(tmp_path / "b") as far:
        await bring(far, stick)
    async with node(tmp_path / "b", **gate()) as far:
        done = await bring(far, stick)
        assert (done.releases[0].outcome, await far.quarantine.waiting()) == ("here", ())


async def test_what_is_removed_by_name_or_swept_is_not_what_waits(tmp_path, stick, stocked):
    who, _ = stocked
    async with node(tmp_path / "b", **gate(STORE_KEEP_PARTS="1")) as far:
        await bring(far, stick)
        with pytest.raises(QuarantinedError):
            await far.remove(f"{who}/x")
        blobs = sorted((tmp_path / "b" / "store" / "blobs").rglob("*-*"))
        services = replace(far._services, now=lambda: int(time.time()) + 90 * 24 * 3600)
        assert housekeeping._drop_unneeded(services) == []
        housekeeping._drop_old_parts(services)
        assert sorted((tmp_path / "b" / "store" / "blobs").rglob("*-*")) == blobs
        assert await far.verify(None, quiet) == ()
        with pytest.raises(QuarantinedError):
            await export(far, tmp_path / "other", f"{who}/x")
        with pytest.raises(QuarantinedError):
            await far.info(f"{who}/x")
        with pytest.raises(QuarantinedError):
            await far.hub.find(f"{who}/x", None, "model")
        with pytest.raises(QuarantinedError):
            await far.read(PartRequest(f"{who}/x", "config.json", ((0, 1),)))


async def test_an_older_release_is_named_by_its_commit_while_a_newer_one_waits(tmp_path, stick):
    who, first = await publish_and_export(tmp_path, stick)
    async with node(tmp_path / "b") as far:
        await bring(far, stick)
    async with node(tmp_path / "a") as lab:
        second = await publish(lab, model(tmp_path / "newer", seed="newer"))
        await export(lab, stick, "x")
    async with node(tmp_path / "b", **gate()) as far:
        done = await bring(far, stick)
        assert {row.commit: row.outcome for row in done.releases} == {
            second.commit: "quarantined",
            first: "here",
        }
        assert (await far.hub.find(f"{who}/x", first, "model")).commit == first
        assert (await pull(far, f"{who}/x@{first}")).commit == first
        with pytest.raises(QuarantinedError):
            await pull(far, f"{who}/x")
        assert [row.commit for row in await far.ls(None)] == [first]


async def test_a_file_that_rotted_while_it_waited_is_not_let_in(tmp_path, stick, stocked):
    async with node(tmp_path / "b", **gate()) as far:
        await bring(far, stick)
        row = await waiting(far)
        flip(max((tmp_path / "b" / "store" / "blobs").rglob("*-*"), key=lambda p: p.stat().st_size))
        with pytest.raises(QuarantinedError, match="damaged or lost"):
            await far.quarantine.decide(approval(row))
        assert (await far.ls(None), is_seen(far)) == ((), False)
        assert (await bring(far, stick)).bytes_fetched > 0
        assert (await far.quarantine.decide(approval(await waiting(far)))).state == "let in"


async def test_a_program_and_a_pickle_under_another_name_do_not_pass(tmp_path, stick):
    new_publisher(tmp_path / "a")
    folder = model(tmp_path / "model")
    (folder / "notes.txt").write_bytes(b"\x7fELF" + bytes(100))
    (folder / "data.bin.txt").write_bytes(b"\x80\x04\x95" + bytes(100))
    (folder / "extra.json").write_bytes(b"{" * 100_000)
    (folder / "bad.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    async with node(tmp_path / "a") as lab:
        await publish(lab, folder)
        await export(lab, stick, "x")
    async with node(tmp_path / "b", **gate()) as far:
        await bring(far, stick)
        failed = {each.name: each.detail for each in (await waiting(far)).checks if not each.ok}
        assert failed.keys() == {"formats", "headers"}
        for name in ("notes.txt: it is a program", "data.bin.txt: it is a pickle", "extra.json"):
            assert name in failed["formats"]
        assert "bad.safetensors" in failed["headers"]
