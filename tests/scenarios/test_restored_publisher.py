"""A publisher whose machine is gone comes back from a backup that is older than its last words."""

import time

from p2phub.cli.main import main
from p2phub.node.initialise import initialise
from p2phub.node.restore import restore
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from tests.scenarios.nodes import consumer, contents, model, node, publish, pull, settings


def command(home, *words):
    assert main(["--home", str(home), "--quiet", *map(str, words)]) == 0


def came_back(home, made, backup=None):
    """The same publisher on another machine."""
    words, now = made.phrase_file.read_text, int(time.time())
    return restore(settings(), home, backup or made.backup, words, lambda: None, None, now)


async def test_a_lost_machine_that_had_rotated_and_published_since_its_backup(
    tmp_path, here, there
):
    """It learns of its newer root and its lost releases from a reader, and forks nothing."""
    folder = model(tmp_path / "model")
    made = initialise(settings(), there, "lab", None, int(time.time()))
    async with node(there) as running:
        await publish(running, folder, "old")
    command(there, "key", "rotate", "--phrase-file", made.phrase_file)
    async with node(there) as running, consumer(here, running, made.publisher_id) as reader:
        await publish(running, folder, "new")
        for name in ("old", "new"):
            assert (await pull(reader, f"lab/{name}")).verdict == "verified"
    came_back(tmp_path / "again", made)
    async with (
        consumer(here, None, made.publisher_id) as reader,
        node(tmp_path / "again", reader) as restored,
    ):
        await restored.resolve(f"{made.publisher_id}/new")
        (folder / "config.json").write_text('["restored"]')
        published = await publish(restored, folder, "old")
        done = await pull(reader, "lab/old")
        assert (done.commit, done.verdict) == (published.commit, "verified")
        assert contents(done.path) == contents(folder)
        assert (await pull(reader, "lab/new")).verdict == "verified"
        state = restored._services.knowledge.state(reader._services.store.documents.publishers()[0])
        assert state.order[0] == 2
        assert not state.forked


async def test_a_restored_machine_can_rotate_as_the_first_one_could(tmp_path, there):
    made = initialise(settings(), there, "lab", None, int(time.time()))
    again = tmp_path / "again"
    came_back(again, made)
    command(again, "key", "rotate", "--phrase-file", made.phrase_file)
    fresh = tmp_path / "fresh"
    command(again, "key", "backup", "--phrase-file", made.phrase_file, "--file", fresh)
    came_back(tmp_path / "third", made, fresh)
    keys = Keyring(Layout.of(again)), Keyring(Layout.of(tmp_path / "third"))
    assert keys[0].load("release") == keys[1].load("release")
    command(tmp_path / "third", "key", "rotate", "--phrase-file", made.phrase_file)
