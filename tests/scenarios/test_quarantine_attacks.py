"""Ways round the gate: what goes on beside an import, scanners that harm, neighbours, kill -9."""

import shutil
import subprocess
import time
from contextlib import suppress

import pytest
import trio

from p2phub.errors import (
    NoSpaceError,
    P2PHubError,
    QuarantinedError,
)
from p2phub.formats.digest import sha256
from p2phub.node import pull as pulling
from p2phub.node import quarantining
from p2phub.node.auditing import check_log, log_lines
from p2phub.node.parts import PartRequest
from p2phub.node.values import PublishRequest
from tests.scenarios.gate_scene import (
    approval,
    bring,
    gate,
    is_seen,
    noted,
    publish_and_export,
    waiting,
)
from tests.scenarios.nodes import (
    consumer,
    model,
    new_publisher,
    node,
    pull,
    quiet,
    settings,
    snapshots,
)
from tests.scenarios.processes import machines
from tests.scenarios.test_killed_writers import killed_at

pytestmark = pytest.mark.slow


@pytest.fixture
def stick(tmp_path):
    return tmp_path / "stick"


@pytest.fixture
async def stocked(tmp_path, stick):
    """A stick with `x` of a publisher: its id and the commit."""
    return await publish_and_export(tmp_path, stick)


def held_up(monkeypatch, module, begun):
    """`module.bring_all` brings one file, sets `begun`, and goes on for ever."""
    real = module.bring_all

    async def slow(services, resolved, files, report, **more):
        await real(services, resolved, files[:1], report, **more)
        begun.set()
        await trio.sleep_forever()

    monkeypatch.setattr(module, "bring_all", slow)


async def test_a_pull_that_goes_on_ends_when_the_release_comes_to_the_gate(
    tmp_path, stick, stocked, monkeypatch
):
    who, commit = stocked
    begun = trio.Event()
    held_up(monkeypatch, pulling, begun)
    async with (
        node(tmp_path / "a") as lab,
        consumer(tmp_path / "b", lab, who, **gate()) as far,
        trio.open_nursery() as nursery,
    ):
        ended = trio.Event()

        async def interrupted():
            with pytest.raises(P2PHubError, match="quarantine"):
                await pull(far)
            ended.set()

        nursery.start_soon(interrupted)
        with trio.fail_after(60):
            await begun.wait()
            (row,) = (await bring(far, stick)).releases
            await ended.wait()
        assert (row.outcome, row.commit) == ("quarantined", commit)
        assert (await far.ls(None), is_seen(far)) == ((), False)


async def test_an_import_ends_when_the_release_is_rejected_meanwhile(
    tmp_path, stick, stocked, monkeypatch
):
    begun = trio.Event()
    held_up(monkeypatch, quarantining, begun)
    async with node(tmp_path / "b", **gate()) as far, trio.open_nursery() as nursery:
        rows, ended = [], trio.Event()

        async def importing():
            rows.extend((await bring(far, stick)).releases)
            ended.set()

        nursery.start_soon(importing)
        with trio.fail_after(60):
            await begun.wait()
            assert (await waiting(far)).state == "coming"
            with pytest.raises(P2PHubError):
                await far.quarantine.decide(b"nonsense")
            with pytest.raises(QuarantinedError, match="not all of"):
                await far.quarantine.check("x", quiet)
            await far.quarantine.reject("x", "not this one")
            await ended.wait()
        assert rows[0].outcome == "refused"
        assert (await waiting(far)).state == "rejected"
        assert not list((tmp_path / "b" / "store" / "blobs").rglob("*-*"))


async def test_an_import_that_broke_off_is_hidden_and_goes_on_from_there(
    tmp_path, stick, stocked, monkeypatch
):
    begun = trio.Event()
    async with node(tmp_path / "b", **gate()) as far:
        with monkeypatch.context() as patched:
            held_up(patched, quarantining, begun)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bring, far, stick)
                with trio.fail_after(60):
                    await begun.wait()
                nursery.cancel_scope.cancel()
        assert (await waiting(far)).state == "coming"
    async with node(tmp_path / "b", **gate()) as far:
        assert (await far.ls(None), is_seen(far)) == ((), False)
        store = far._services.store
        assert store.quarantine.hidden(store.blobs.every()) == frozenset(store.blobs.every())
        assert (await bring(far, stick)).releases[0].outcome == "quarantined"
        assert (await far.quarantine.decide(approval(await waiting(far)))).state == "let in"
    assert "bundle.import.broken" in noted(tmp_path / "b")


async def test_a_folder_that_was_just_made_when_the_power_failed_is_gone_after_a_start(
    tmp_path, stick, stocked, monkeypatch
):
    async with node(tmp_path / "b", **gate()) as far:
        await bring(far, stick)
        row = await waiting(far)

        def cut(*arguments):
            raise NoSpaceError("the power failed here")

        with monkeypatch.context() as patched:
            patched.setattr(far._services.store.quarantine, "let_in", cut)
            with pytest.raises(NoSpaceError):
                await far.quarantine.decide(approval(row))
        assert await far.ls(None) == ()
    async with node(tmp_path / "b", **gate()) as far:
        assert (await far.ls(None), is_seen(far)) == ((), False)
        assert (await far.quarantine.decide(approval(row))).state == "let in"


async def test_two_imports_at_once_make_one_case(tmp_path, stick, stocked):
    async with node(tmp_path / "b", **gate()) as far, trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(bring, far, stick)
    assert noted(tmp_path / "b").count("quarantine.waits") == 2
    async with node(tmp_path / "b") as far:
        assert len(await far.quarantine.waiting()) == 1


async def test_a_scanner_that_deletes_and_overwrites_harms_no_blob(tmp_path, stick, stocked):
    scanner = tmp_path / "scanner"
    scanner.write_text(
        "#!/bin/sh\n"
        'for each in $(find "$1" -type f); do chmod 666 "$each"; echo bad > "$each"; done\n'
        f'ls "$1" > {tmp_path}/saw\n'
        'rm -rf "$1"\n'
    )
    scanner.chmod(0o755)
    async with node(tmp_path / "b", **gate(AIRGAP_SCANNER=str(scanner))) as far:
        await bring(far, stick)
        row = await waiting(far)
        assert {check.name: check.ok for check in row.checks}["scanner"]
        assert "config.json" in (tmp_path / "saw").read_text()
        assert not list((tmp_path / "b" / "store" / "temp").iterdir())
        assert (await far.quarantine.check("x", quiet)).checks == row.checks
        await far.quarantine.decide(approval(row))
        (checked,) = await far.verify(None, quiet)
        assert checked.ok
    (line, *_) = [
        each for each in log_lines(settings(), tmp_path / "b") if each.event == "quarantine.scanned"
    ]
    assert line.fields["output_sha256"] == sha256(b"").hex()


async def test_a_scanner_that_finds_something_or_is_not_there_keeps_it_out(
    tmp_path, stick, stocked
):
    async with node(tmp_path / "b", **gate(AIRGAP_SCANNER="/bin/false --now")) as far:
        await bring(far, stick)
        row = await waiting(far)
        assert [check.name for check in row.checks if not check.ok] == ["scanner"]
        with pytest.raises(QuarantinedError, match="exit code 1"):
            await far.quarantine.decide(approval(row))
    async with node(tmp_path / "b", **gate(AIRGAP_SCANNER="/no/such")) as far:
        (failed,) = [
            each for each in (await far.quarantine.check("x", quiet)).checks if not each.ok
        ]
        assert "cannot be run" in failed.detail


async def test_publishing_the_same_bytes_lets_nothing_else_in(tmp_path, stick, stocked):
    who, _ = stocked
    new_publisher(tmp_path / "b")
    async with node(tmp_path / "b", **gate()) as far:
        await bring(far, stick)
        await far.publish(PublishRequest(tmp_path / "model", "mine", in_place=True), quiet)
        assert [row.ref.rpartition("/")[2] for row in await far.ls(None)] == ["mine@main"]
        with pytest.raises(QuarantinedError):
            await pull(far, f"{who}/x")
        await far.quarantine.reject("x", "no")
        (checked,) = await far.verify("mine", quiet)
        assert checked.ok
        assert (tmp_path / "model" / "config.json").exists()


async def test_a_neighbour_that_serves_it_is_no_way_round_the_gate(tmp_path, stick, stocked):
    who, commit = stocked
    async with (
        node(tmp_path / "a") as lab,
        consumer(tmp_path / "b", lab, who, **gate()) as far,
    ):
        await bring(far, stick)
        for asked in (
            pull(far),
            pull(far, f"{who}/x@{commit}"),
            far.hub.find("lab/x", None, "model"),
            far.hub.find("lab/x", commit, "model"),
            far.resolve("lab/x"),
            far.read(PartRequest("lab/x", "config.json", ((0, 1),))),
            far.bring_ranges(PartRequest("lab/x", "config.json", ((0, 1),)), quiet),
        ):
            with trio.fail_after(60), pytest.raises(QuarantinedError):
                await asked
        assert (await far.ls(None), is_seen(far)) == ((), False)


# ---------------------------------------------------------------- with real processes


def test_killed_imports_show_nothing_and_the_whole_way_works_from_the_command_line(tmp_path):
    stick, ask = tmp_path / "stick", tmp_path / "ask"
    with machines(tmp_path) as all_of_them:
        lab = all_of_them.publisher("lab")
        elsewhere = all_of_them.home("elsewhere")
        elsewhere.done("key", "new", "ann")
        ann = next(row["key"] for row in elsewhere.run("key", "ls").last["keys"])
        far = all_of_them.home("far", AIRGAP_QUARANTINE="true", AIRGAP_APPROVERS=f"ann={ann}")
        made = lab.done("publish", model(tmp_path / "model"), "x")
        lab.done("bundle", "export", "x", "--to", stick)
        for pause in (0.5, 1.5):
            daemon = far.daemon()
            importing = far.start("bundle", "import", stick, stderr=subprocess.DEVNULL)
            time.sleep(pause)
            daemon.kill()
            importing.wait()
            assert not snapshots(far.folder)
            assert far.run("ls").objects == []
        told = far.done("bundle", "import", stick)
        assert told["releases"][0]["outcome"] == "quarantined"
        assert not snapshots(far.folder)
        ref = f"{made['publisher_id']}/x"
        assert far.refused(7, "pull", ref)["code"] == "quarantined"
        far.done("quarantine", "request", ref, "--to", ask)
        elsewhere.done("quarantine", "sign", ask, "--sign-with", "ann", "--yes")
        let_in = far.done("quarantine", "approve", "--approval", f"{ask}.approval")
        assert let_in["state"] == "let in"
        assert far.done("ls")["commit"] == made["commit"]
        assert far.done("verify", ref)["verdict"] == "verified"
        head = far.done("audit", "head")
        assert far.done("audit", "verify", "--head", f"{head['seq']}:{head['digest']}")["ok"]
        log = far.folder / "audit.log"
        lines = log.read_bytes().splitlines(keepends=True)
        for kept in (lines[:-1], lines[:3] + lines[4:]):
            log.write_bytes(b"".join(kept))
            assert far.run("audit", "verify").code == 4


# ---------------------------------------------------------------- killed between any two writes

MOST_WRITES = 90


async def test_whenever_it_is_killed_a_release_waits_or_was_let_in(
    tmp_path, stick, stocked, monkeypatch
):
    """The index dies at one write of an import and an approval; then the node starts again."""
    who, commit = stocked
    states = set()
    for write in range(MOST_WRITES):
        home = tmp_path / f"home-{write}"
        async with node(home, **gate()) as far:
            with killed_at(write, far, monkeypatch) as died, suppress(P2PHubError):
                await bring(far, stick)
                await far.quarantine.decide(approval(await waiting(far)))
        async with node(home, **gate()) as far:
            here = [row.commit for row in await far.ls(None)]
            cases = [case.state for case in await far.quarantine.waiting()]
            assert (here, cases) in (([], []), ([], ["coming"]), ([], ["waiting"]), ([commit], []))
            assert here or not is_seen(far)
            store = far._services.store
            if not here:
                blobs = store.blobs.every()
                assert not cases or store.quarantine.hidden(blobs) == frozenset(blobs)
            assert check_log(settings(), home).ok
            states.add(tuple(cases))
            if not here:
                await bring(far, stick)
                await far.quarantine.decide(approval(await waiting(far)))
            (checked,) = await far.verify(f"{who}/x", quiet)
            assert checked.ok
        shutil.rmtree(home)
        if not died():
            break
    assert not died()
    assert states >= {(), ("coming",), ("waiting",)}
