"""Sites that share nothing but a stick end with the union, and the stick carries the difference."""

import os

import pytest
import trio

from p2phub.airgap.notes import leave_note
from p2phub.errors import RefusedError, UntrustedError, UsageError
from p2phub.formats.digest import sha256
from p2phub.formats.inventory import Inventory
from p2phub.formats.limits import MAX_SITES
from p2phub.network.libp2p_identity import public_of_peer_id
from p2phub.node.changing import withdraw
from p2phub.node.identity import adopt
from p2phub.node.values import (
    BundleExportRequest,
    BundleImportRequest,
    InventoryRequest,
    SwapRequest,
)
from p2phub.store.disk import Disk
from p2phub.trust.keys import SigningKey
from p2phub.trust.sites import read_inventory, sign_as_site
from tests.scenarios.nodes import (
    MIB,
    contents,
    flip,
    model,
    new_publisher,
    node,
    publish,
    quiet,
    running_home,
    snapshots,
)

pytestmark = pytest.mark.slow

SLACK = 64 * 1024
"""Bytes of documents that go along with a small model."""


@pytest.fixture
def stick(tmp_path):
    return tmp_path / "stick"


async def swap(running, stick, **more):
    return await running.bundles.swap(SwapRequest(stick, **more), quiet)


async def export(running, stick, *references, **more):
    return await running.bundles.export_to(BundleExportRequest(references, stick, **more), quiet)


async def bring(running, stick):
    return await running.bundles.import_from(BundleImportRequest(stick), quiet)


def releases(running):
    """The commits that a node has, whole."""
    rows = running._services.store.repos.local()
    return {row.commit for row in rows if row.done and row.complete}


def on_stick(stick):
    """Bytes in packs."""
    return sum(path.stat().st_size for path in stick.rglob("*.pack"))


def site(tmp_path, name):
    """The home of a site that publishes."""
    new_publisher(tmp_path / name)
    return tmp_path / name


# ---------------------------------------------------------------- since and several media


async def test_what_the_other_side_has_is_not_exported(tmp_path, stick):
    home = site(tmp_path, "a")
    async with node(home) as lab, node(tmp_path / "b") as far:
        await publish(lab, model(tmp_path / "v1"), "x")
        await export(lab, stick, "x")
        await bring(far, stick)
        said = tmp_path / "inventory"
        said.write_text((await far.bundles.inventory(InventoryRequest())).text)
        folder = model(tmp_path / "v1")
        shard = sorted(folder.glob("*.safetensors"))[0]
        data = bytearray(shard.read_bytes())
        data[-MIB // 2 :] = os.urandom(MIB // 2)
        shard.write_bytes(data)
        new = await publish(lab, folder, "x")
        second = tmp_path / "second"
        made = await export(lab, second, "x", since=said)
        assert made.bytes_written < 1.1 * MIB + SLACK
        nothing = await export(lab, tmp_path / "third", "x@" + old(lab, new), since=said)
        assert (nothing.releases[0].outcome, on_stick(tmp_path / "third") < SLACK) == (
            "there",
            True,
        )
        done = await bring(far, second)
        assert (done.exit, done.releases[0].commit) == (0, new.commit)
        assert done.publishers[0].outcome == "newer"
        async with node(tmp_path / "c") as stranger:
            refused = await bring(stranger, second)
            assert (refused.releases[0].outcome, refused.exit) == ("refused", 6)
            assert not snapshots(running_home(stranger))


def old(running, new):
    """The commit before the newest."""
    (row,) = (row for row in running._services.store.repos.local() if row.commit != new.commit)
    return row.commit


async def test_without_a_name_whatever_the_other_side_lacks_and_wants_goes_along(tmp_path, stick):
    home = site(tmp_path, "a")
    async with node(home) as lab, node(tmp_path / "b") as far:
        for name in ("x", "y", "z"):
            made = await publish(lab, model(tmp_path / name, seed=name), name)
        await export(lab, tmp_path / "first", "x")
        await bring(far, tmp_path / "first")
        said, picky = tmp_path / "inventory", tmp_path / "picky"
        said.write_text((await far.bundles.inventory(InventoryRequest())).text)
        wants = (f"{made.publisher_id}/y",)
        picky.write_text((await far.bundles.inventory(InventoryRequest(wants))).text)
        some = await export(lab, tmp_path / "some", since=picky)
        assert [row.name for row in some.releases] == ["y"]
        rest = await export(lab, stick, since=said)
        assert sorted(row.name for row in rest.releases) == ["y", "z"]
        await bring(far, stick)
        assert releases(far) == releases(lab)
        with pytest.raises(UsageError):
            await export(lab, stick)


async def test_an_inventory_that_was_changed_on_its_way_is_refused(tmp_path, stick):
    home = site(tmp_path, "a")
    async with node(home) as lab:
        await publish(lab, model(tmp_path / "v1"), "x")
        text = (await lab.bundles.inventory(InventoryRequest())).text
        said = tmp_path / "inventory"
        said.write_text(text.replace("A", "B", 3))
        with pytest.raises(UntrustedError):
            await export(lab, stick, "x", since=said)


async def test_what_is_too_large_for_one_medium_goes_on_several(tmp_path, stick):
    home = tmp_path / "a"
    who = new_publisher(home)
    async with node(home) as lab, node(tmp_path / "b") as far:
        await publish(lab, model(tmp_path / "model"), "x")
        limit = 3 * MIB + MIB // 2
        first = await export(lab, stick, "x", size_limit=limit)
        assert (first.part, first.parts) == (1, 2)
        second = await export(lab, tmp_path / "two", "x", size_limit=limit, part=2)
        assert (second.part, second.parts) == (2, 2)
        assert on_stick(stick) <= limit
        assert on_stick(tmp_path / "two") <= limit
        with pytest.raises(UsageError, match="there is no part 3"):
            await export(lab, tmp_path / "three", "x", size_limit=limit, part=3)
        with pytest.raises(UsageError, match="too few"):
            await export(lab, tmp_path / "three", "x", size_limit=MIB)
        for path in (tmp_path / "two", stick):
            done = await bring(far, path)
            assert done.exit == 0
        assert done.releases[0].outcome == "came"
        assert (await far.verify(f"{who}/x", quiet))[0].ok


async def test_half_of_a_split_export_shows_nothing(tmp_path, stick):
    home = site(tmp_path, "a")
    async with node(home) as lab, node(tmp_path / "b") as far:
        await publish(lab, model(tmp_path / "model"), "x")
        await export(lab, stick, "x", size_limit=3 * MIB + MIB // 2)
        done = await bring(far, stick)
        assert (done.exit, done.releases[0].outcome) == (0, "part")
        assert "part 1 of 2" in done.releases[0].reason
        assert not snapshots(running_home(far))


# ---------------------------------------------------------------- swaps


async def test_two_sites_and_three_rounds_of_changes_on_both(tmp_path, stick):
    """Each round, both publish; what goes on the stick is what the other lacks."""
    homes = site(tmp_path, "a"), site(tmp_path, "b")
    async with node(homes[0]) as one, node(homes[1]) as two:
        await swap(two, stick, name="two")
        for number in range(3):
            for running, name in ((one, "one"), (two, "two")):
                folder = model(tmp_path / f"{name}-{number}", seed=f"{name} {number}")
                await publish(running, folder, f"{name}-{number}")
                lacked = releases(running)
                done = await swap(running, stick, name=name)
                lacked -= releases(two if running is one else one)
                assert {row.commit for row in done.gave} == lacked
                size = sum(row.bytes for row in done.gave)
                assert done.bytes_written <= size + SLACK
        await swap(one, stick)
        assert releases(one) == releases(two)
        assert len(releases(one)) == 6
        last = await swap(two, stick)
        assert not last.gave
        assert on_stick(stick) < 6 * SLACK
        receipts = (await one.bundles.sites()).receipts
        peer = two.identity.peer_id
        assert len({each for row in receipts if row.site == peer for each in row.commits}) == 3
        assert len({each for row in receipts if row.sender == peer for each in row.commits}) == 3


async def test_a_third_site_that_sees_the_stick_every_second_round_converges(tmp_path, stick):
    homes = [site(tmp_path, name) for name in "abc"]
    async with node(homes[0]) as one, node(homes[1]) as two, node(homes[2]) as three:
        for number in range(4):
            round_of = [(one, "one"), (two, "two")] + [(three, "three")] * (number % 2)
            for running, name in round_of:
                if number < 3:
                    folder = model(tmp_path / f"{name}-{number}", seed=f"{name} {number}")
                    await publish(running, folder, f"{name}-{number}")
                await swap(running, stick, name=name)
        for running in (one, two, three, one, two, three):
            await swap(running, stick)
        everything = releases(one)
        assert len(everything) == 7
        assert releases(two) == everything
        assert releases(three) == everything
        assert not (await swap(one, stick)).gave


async def test_a_site_between_two_sticks_hands_on_what_it_got(tmp_path, stick):
    home, other = site(tmp_path, "a"), tmp_path / "other stick"
    async with node(home) as one, node(tmp_path / "b") as two, node(tmp_path / "c") as three:
        made = await publish(one, model(tmp_path / "model"), "x")
        for running, path in ((three, other), (two, stick), (one, stick), (two, stick)):
            await swap(running, path)
        given = await swap(two, other)
        assert [row.commit for row in given.gave] == [made.commit]
        done = await swap(three, other)
        assert [(row.commit, row.verdict) for row in done.came] == [(made.commit, "verified")]
        assert (await swap(two, other)).receipts_taken == 1


async def test_a_fresh_stick_can_carry_everything_to_anybody(tmp_path, stick):
    home = site(tmp_path, "a")
    async with node(home) as one, node(tmp_path / "b") as two:
        made = await publish(one, model(tmp_path / "model"), "x")
        nothing = await swap(one, stick)
        assert (nothing.gave, nothing.sites) == ((), ())
        given = await swap(one, stick, to_anybody=True)
        assert [row.commit for row in given.gave] == [made.commit]
        done = await swap(two, stick)
        assert [(row.commit, row.outcome) for row in done.came] == [(made.commit, "came")]
        assert done.receipts_left == 1
        assert done.bytes_dropped > 4 * MIB
        again = await swap(one, stick)
        assert (again.receipts_taken, again.gave) == (1, ())


async def test_what_an_export_put_there_for_anybody_stays_for_whoever_comes_later(tmp_path, stick):
    homes = [site(tmp_path, name) for name in ("a", "b")]
    async with node(homes[0]) as one, node(homes[1]) as two, node(tmp_path / "c") as three:
        made = await publish(one, model(tmp_path / "model"), "x")
        await one.bundles.export_to(BundleExportRequest(("x",), stick), quiet)
        before = {each.name for each in (stick / "p2phub").iterdir()}
        done = await swap(two, stick)
        assert [row.outcome for row in done.came] == ["came"]
        assert done.bytes_dropped == 0
        other = await publish(two, model(tmp_path / "other", seed="o"), "y")
        for running in (one, two, one, two):
            await swap(running, stick)
        assert (await one.info(f"{other.publisher_id}/y")).commit == other.commit
        assert before <= {each.name for each in (stick / "p2phub").iterdir()}
        found = await three.bundles.import_from(BundleImportRequest(stick), quiet)
        assert made.commit in [row.commit for row in found.releases if row.outcome == "came"]
        assert found.exit == 0


async def test_who_asks_for_some_repos_gets_those_and_hands_on_nothing_that_others_lack(
    tmp_path, stick
):
    homes = site(tmp_path, "a"), site(tmp_path, "b")
    async with node(homes[0]) as one, node(homes[1]) as two, node(tmp_path / "c") as three:
        who = one._services.store.documents.own_publisher()
        for name in ("x", "y"):
            await publish(one, model(tmp_path / name, seed=name), name)
        await swap(three, stick, name="three")
        await swap(two, stick, name="two", wants=(f"{who}/x",))
        done = await swap(one, stick, name="one")
        assert {row.name: row.sites for row in done.gave} == {
            "x": ("three", "two"),
            "y": ("three",),
        }
        await swap(two, stick, wants=(f"{who}/x",))
        assert len(releases(two)) == 1
        last = await swap(three, stick)
        assert {row.name for row in last.came} == {"x", "y"}
        assert releases(three) == releases(one)


async def test_what_was_taken_back_goes_round_without_any_release(tmp_path, stick):
    home = site(tmp_path, "a")
    async with node(home) as one, node(tmp_path / "b") as two, node(tmp_path / "c") as three:
        made = await publish(one, model(tmp_path / "model"), "x")
        for running in (three, two, one, two, three):
            await swap(running, stick)
        assert releases(three) == releases(one)
        services = one._services
        (row,) = services.store.repos.local()
        await services.on_disk(lambda: adopt(services, withdraw(services, row.digest, "a mistake")))
        done = await swap(one, stick)
        assert done.gave == ()
        ref = f"{made.publisher_id}/x"
        await swap(two, stick)  # which has nothing to do with it, and hands it on
        for running in (two, three):
            await swap(running, stick)
            (checked,) = await running.verify(ref, quiet)
            assert (checked.ok, checked.verdict) == (False, "withdrawn")


async def test_a_stick_without_room_carries_what_fits_and_the_rest_next_time(tmp_path, stick):
    home = site(tmp_path, "a")
    async with node(home) as one, node(tmp_path / "b") as two:
        for name in ("x", "y"):
            await publish(one, model(tmp_path / name, seed=name), name)
        await swap(two, stick)
        limit = 6 * MIB
        first = await swap(one, stick, size_limit=limit)
        assert (len(first.gave), len(first.left)) == (1, 1)
        await swap(two, stick)
        second = await swap(one, stick, size_limit=limit)
        assert (len(second.gave), len(second.left)) == (1, 0)
        await swap(two, stick)
        assert releases(two) == releases(one)


async def test_a_swap_that_is_cut_off_anywhere_loses_nothing(tmp_path, stick):
    """Cancelled at growing times: the next swap goes on, and the sites converge."""
    homes = site(tmp_path, "a"), site(tmp_path, "b")
    async with node(homes[0]) as one, node(homes[1]) as two:
        await publish(one, model(tmp_path / "x", seed="x"), "x")
        await publish(two, model(tmp_path / "y", seed="y"), "y")
        await swap(two, stick)
        for running in (one, two, one, two):
            for tenths in range(6):
                with trio.move_on_after(tenths / 40):
                    await swap(running, stick)
            await swap(running, stick)
        assert releases(one) == releases(two)
        assert len(releases(one)) == 2


@pytest.mark.parametrize("what", ["inventory*", "receipt*"])
async def test_a_note_that_was_tampered_with_counts_for_nothing(tmp_path, stick, what):
    home = site(tmp_path, "a")
    told = []
    async with node(home) as one, node(tmp_path / "b") as two:
        await publish(one, model(tmp_path / "x"), "x")
        await swap(one, stick, to_anybody=True)
        await swap(two, stick)
        notes = list((stick / "p2phub").glob(what))
        note = next(each for each in notes if what.startswith("receipt") or theirs(each, two))
        data = bytearray(note.read_bytes())
        data[len(data) // 2] ^= 1
        note.write_bytes(data)
        done = await one.bundles.swap(SwapRequest(stick), told.append)
        assert any("counts for nothing" in getattr(each, "message", "") for each in told)
        assert done.receipts_taken == (0 if what.startswith("receipt") else 1)


async def test_a_site_that_is_not_allowed_gets_nothing(tmp_path, stick):
    home, told = site(tmp_path, "a"), []
    async with node(tmp_path / "b") as two, node(tmp_path / "c") as three:
        allowed = {"AIRGAP_SITES": two.identity.peer_id}
        async with node(home, **allowed) as one:
            await publish(one, model(tmp_path / "x"), "x")
            await swap(three, stick, name="three")
            nothing = await one.bundles.swap(SwapRequest(stick), told.append)
            assert (nothing.gave, len(nothing.sites)) == ((), 1)
            assert any("gets nothing" in getattr(each, "message", "") for each in told)
            with pytest.raises(RefusedError):
                await swap(one, stick, to_anybody=True)
            await swap(two, stick, name="two")
            done = await swap(one, stick)
            assert [row.sites for row in done.gave] == [("two",)]
            await swap(two, stick)
            assert releases(two) == releases(one)
            kept = on_stick(stick)
            assert (await swap(one, stick)).bytes_dropped == 0  # three lacks it, from whomever
            assert on_stick(stick) == kept > 4 * MIB
            await swap(three, stick)
            assert releases(three) == releases(one)


async def test_what_waits_at_the_gate_is_not_sent_again_and_not_acknowledged(tmp_path, stick):
    home = site(tmp_path, "a")
    approvers = f"ann={new_publisher(tmp_path / 'ann')}"
    gate = {"AIRGAP_QUARANTINE": "true", "AIRGAP_APPROVERS": approvers}
    async with node(home) as one, node(tmp_path / "b", **gate) as two:
        await publish(one, model(tmp_path / "x"), "x")
        await swap(two, stick)
        await swap(one, stick)
        done = await swap(two, stick)
        assert [row.outcome for row in done.came] == ["quarantined"]
        assert (done.receipts_left, done.exit) == (0, 0)
        assert not releases(two)
        again = await swap(one, stick)
        assert (again.gave, again.receipts_taken) == ((), 0)


async def test_a_list_of_contents_that_rotted_costs_a_round_and_no_more(tmp_path, stick):
    home = site(tmp_path, "a")
    async with node(home) as one, node(tmp_path / "b") as two:
        await publish(one, model(tmp_path / "x"), "x")
        await swap(two, stick)
        await swap(one, stick)
        (contents,) = (stick / "p2phub").glob("contents*")
        flip(contents)
        lost = await swap(two, stick)
        assert lost.came == ()
        again = await swap(one, stick)
        assert len(again.gave) == 1
        await swap(two, stick)
        assert releases(two) == releases(one)
        assert on_stick(stick) < SLACK


async def test_invented_sites_are_bounded_and_do_not_push_out_those_that_are_known(tmp_path, stick):
    home, told = site(tmp_path, "a"), []
    async with node(home) as one, node(tmp_path / "b") as two:
        await publish(one, model(tmp_path / "x"), "x")
        await swap(two, stick)
        await swap(one, stick)
        for number in range(MAX_SITES + 20):
            key = SigningKey(sha256(b"%d" % number))
            said = Inventory(key.public, 1, 2_000_000_000)
            leave_note(stick, Disk(), "inventory", sign_as_site(said, key).pack())
        done = await one.bundles.swap(SwapRequest(stick), told.append)
        assert len(done.sites) == MAX_SITES
        assert two.identity.peer_id in {row.site for row in done.sites}
        assert any("sites on the stick" in getattr(each, "message", "") for each in told)


async def test_an_old_inventory_that_is_put_back_changes_nothing(tmp_path, stick):
    home = site(tmp_path, "a")
    async with node(home) as one, node(tmp_path / "b") as two:
        await publish(one, model(tmp_path / "x"), "x")
        await swap(two, stick)
        (note,) = (stick / "p2phub").glob("inventory*")
        before = note.read_bytes()
        for running in (one, two, one):
            await swap(running, stick)
        note = next(each for each in (stick / "p2phub").glob("inventory*") if theirs(each, two))
        note.write_bytes(before)
        done = await swap(one, stick)
        assert done.gave == ()


def theirs(note, running):
    """Whether an inventory is of this node."""
    said = read_inventory(note.read_bytes())
    return said.site == public_of_peer_id(running.identity.peer_id)


async def test_the_files_that_came_are_those_that_were_published(tmp_path, stick):
    home = site(tmp_path, "a")
    async with node(home) as one, node(tmp_path / "b") as two:
        await publish(one, model(tmp_path / "x"), "x")
        await swap(one, stick, to_anybody=True)
        await swap(two, stick)
        (config,) = [each for each in snapshots(tmp_path / "b") if each.name == "config.json"]
        assert contents(config.parent) == contents(tmp_path / "x")
