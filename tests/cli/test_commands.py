"""Every command against a running node: what it asks, what it prints, how it ends."""

import os
import sys

import pytest

from p2phub import errors
from p2phub.errors import P2PHubError, WrongBytesError
from p2phub.node.values import BundleExportRequest, PublishRequest, PullRequest, SearchQuery, Warned
from p2phub.testing.nodes import COMMIT, PEER, PUBLISHER
from p2phub.testing.terminals import Terminal


def test_pull_prints_the_folder_and_nothing_else_on_standard_output(cli, node):
    result = cli("pull", "lab/minilm", "--include", "*.json", "--include", "*.txt")
    assert result.code == 0
    assert result.out == f"{node.snapshot}\n"
    assert "1.0 kB from 1 source in 0.5 s" in result.err
    assert node.asked == [PullRequest("lab/minilm", include=("*.json", "*.txt"))]


def test_pull_prints_every_event_as_json(cli, node):
    result = cli("--json", "pull", "lab/minilm")
    names = [each["event"] for each in result.objects]
    assert names == ["resolved", "plan", "progress", "file", "done"]
    promised = {"ref", "commit", "path", "verdict", "bytes_total", "bytes_fetched"}
    promised |= {"bytes_linked", "seconds", "sources"}
    assert promised <= set(result.objects[-1])
    assert result.err == ""


def test_quiet_leaves_the_result_only(cli, node):
    node.events = [*node.events, Warned("pickles were left out")]
    result = cli("pull", "lab/minilm", "--quiet")
    assert (result.out, result.err) == (f"{node.snapshot}\n", "")
    result = cli("pull", "lab/minilm", "--quiet", "--json")
    assert [each["event"] for each in result.objects] == ["done"]


def test_a_warning_is_told_on_standard_error(cli, node):
    node.events = [Warned("pickles were left out", "Say --include '*.bin'.")]
    result = cli("pull", "lab/minilm")
    assert "warning: pickles were left out (Say --include '*.bin'.)" in result.err


def test_relative_folders_are_meant_from_here(cli, node, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli("publish", "model", "minilm", "--message", "first", "--tag", "v1", "--kind", "dataset")
    cli("pull", "lab/minilm", "--to", "out")
    published, pulled = node.asked
    assert published == PublishRequest(
        tmp_path / "model", "minilm", "first", "v1", "dataset", proposal_file=tmp_path
    )
    assert pulled.to == tmp_path / "out"


def test_publish_hands_on_every_seed(cli, node):
    cli("publish", "/model", "x", "--seed", "https://a.example/x", "--seed", "https://b.example/x")
    assert node.asked[0].seeds == ("https://a.example/x", "https://b.example/x")


def test_publish_in_place_and_reading_everything_again(cli, node):
    cli("publish", "/model", "minilm", "--in-place", "--rehash")
    (published,) = node.asked
    assert (published.in_place, published.rehash) == (True, True)
    assert (published.base, published.relation) == (None, None)


def test_a_second_base_is_refused_and_not_left_out_in_silence(cli, node):
    result = cli("publish", "/model", "merged", "--base", "lab/a", "--base", "lab/b")
    assert result.code == 2
    assert "--base names 2 releases" in result.err
    assert "base_model" in result.err
    assert node.asked == []


def test_publish_names_the_base_of_an_adapter(cli, node):
    cli("publish", "/lora", "lora", "--base", "lab/minilm@v1", "--relation", "merge")
    (published,) = node.asked
    assert (published.base, published.relation) == ("lab/minilm@v1", "merge")
    assert cli("publish", "/lora", "lora", "--base", "x", "--relation", "sister").code == 2


def test_publish_prints_ref_commit_and_digest(cli, node):
    result = cli("publish", "/model", "minilm")
    assert [line.split()[0] for line in result.out.splitlines()][:3] == ["ref", "commit", "digest"]
    (done,) = cli("--json", "publish", "/model", "minilm").objects
    promised = {"ref", "commit", "digest", "publisher_id", "files", "bytes", "bytes_hashed"}
    assert promised <= set(done)


def test_search_passes_its_filters_and_prints_a_hit_a_line(cli, node):
    words = ["search", "mini", "lm", "--task", "feature-extraction", "--max-size", "4G"]
    words += ["--max-params", "1.5B"]
    cli(*words, "--limit", "5", "--sort", "name")
    assert node.asked == [
        SearchQuery(
            "mini lm",
            task="feature-extraction",
            max_size=4 * 1024**3,
            max_params=1_500_000_000,
            limit=5,
            sort="name",
        )
    ]
    (hit,) = cli("--json", "search", "mini").objects
    assert {"ref", "commit", "task", "license", "library", "bytes", "verdict"} <= set(hit)
    assert cli("search", "mini").out.split("\t")[0] == "lab/minilm"
    assert cli("search", "nothing").code == 0


def test_id_status_and_peers(cli, node):
    (told,) = cli("--json", "id").objects
    assert told["peer_id"] == PEER
    assert {"publisher_id", "alias", "addresses"} <= set(told)
    (status,) = cli("--json", "status").objects
    promised = {"peers", "repos", "bytes", "transfers", "up_rate", "down_rate", "announce_lag"}
    assert promised <= set(status)
    assert status["running"] is True
    assert "running" in cli("status").out
    assert cli("--json", "peers").objects[0]["direct"] is True
    assert PEER in cli("id").out


def test_connect_info_ls_and_rm(cli, node):
    assert cli("connect", "/ip4/127.0.0.1/tcp/1/p2p/12D3").code == 0
    assert cli("--json", "info", "lab/minilm").objects[0]["commit"] == COMMIT
    assert "2023-11-14" in cli("info", "lab/minilm").out
    assert cli("ls").out.startswith("lab/minilm\t")
    assert cli("ls", "lab/minilm").out.startswith("model.safetensors\t1000\t")
    assert cli("--json", "rm", "lab/minilm").objects == [{"ref": "lab/minilm", "bytes_freed": 1000}]


def test_verify_tells_the_steps(cli, node):
    (told,) = cli("--json", "verify", "lab/minilm").objects
    assert told["verdict"] == "verified"
    assert set(told["steps"][0]) == {"number", "name", "ok", "detail"}
    assert cli("verify", "--all").code == 0


def test_verify_of_one_release_explains_itself(cli, node):
    first, *said = cli("verify", "lab/minilm").out.splitlines()
    assert first == "lab/minilm@main\tverified"
    assert said[0] == f"  commit {COMMIT} of publisher {PUBLISHER}"
    assert said[1] == f"  signed by {'ab' * 32}"
    assert said[2].startswith("  dated 2023-11-14 22:13 UTC, ")
    assert "fresh until 2023-11-14 22:16 UTC" in said[3]
    assert said[4:] == ["    1 ok    files: 1 file"]
    assert cli("verify").out.splitlines() == [first]


def test_verify_of_what_was_taken_back_does_not_tell_people_to_pull_it_again(cli, node):
    node.verdict = "revoked"
    result = cli("verify", "lab/minilm")
    assert result.code == 4
    assert "Use another release" in result.err
    assert "Pull it again" not in result.err
    node.verdict = "corrupt"
    assert "Pull it again" in cli("verify", "lab/minilm").err


def test_verify_of_damaged_bytes_ends_with_4_and_names_the_file(cli, node):
    node.verdict = "corrupt"
    result = cli("verify", "lab/minilm")
    assert result.code == 4
    assert "model.safetensors" in result.err
    result = cli("--json", "verify")
    assert result.code == 4
    assert result.objects[-1]["steps"][0]["ok"] is False


def test_trust_is_listed_added_and_removed(cli, node):
    assert cli("trust", "add", "org", PUBLISHER, "--json").objects == [
        {"alias": "org", "publisher_id": PUBLISHER}
    ]
    rows = [line.split("\t")[:2] for line in cli("trust", "ls").out.splitlines()]
    assert rows == [["lab", PUBLISHER], ["org", PUBLISHER]]
    assert cli("trust", "rm", "org", "--yes").out == f"org no longer means {PUBLISHER}\n"
    assert cli("trust", "rm", "org").code == 3


def every_error(kind=P2PHubError):
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from every_error(child)


def test_every_error_keeps_its_exit_code_and_its_words(cli, node):
    for kind in every_error():
        node.fails = kind("what happened", remedy="what to do")
        for words in (["pull", "lab/minilm"], ["info", "lab/minilm"]):
            told = cli(*words)
            assert told.code == kind.exit, kind
            assert told.out == ""
            assert told.err.endswith("error: what happened\nhint: what to do\n")
            told = cli("--json", *words)
            assert told.code == kind.exit
            error = {"code": kind.code, "exit": kind.exit}
            error |= {"message": "what happened", "remedy": "what to do"}
            assert told.objects[-1] == {"error": error}
            assert told.err == ""


def test_strangers_text_cannot_steer_the_terminal(cli, node):
    node.fails = WrongBytesError("\x1b[2Jall is \u202ewell\nerror: no")
    told = cli("pull", "lab/minilm").err.splitlines()[-1]
    assert told == "error: \ufffd[2Jall is \ufffdwell\ufffderror: no"


@pytest.mark.parametrize(
    "words",
    [
        ["pul", "lab/minilm"],
        ["pull"],
        ["pull", "a", "b"],
        ["pull", "lab/minilm", "--nothing"],
        ["--nothing", "pull", "lab/minilm"],
        ["publish", "/x", "x", "--kind", "song"],
        ["search", "--limit", "many"],
        ["search", "--max-size", "huge"],
        ["search", "--max-params", "huge"],
        ["trust", "add", "lab"],
        ["trust", "steal"],
        ["trust"],
        ["verify", "lab/minilm", "--all"],
        ["pull", "lab/minilm", "--inc", "x"],
        ["publish", "/not-utf8-\udcff", "x"],
    ],
    ids=ascii,
)
def test_a_usage_error_ends_with_2_and_points_to_help(cli, node, words):
    told = cli(*words)
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("error: ")
    assert "hint: " in told.err
    told = cli("--json", *words)
    assert told.objects[0]["error"]["exit"] == told.code == 2
    assert node.asked == []


def test_global_options_stand_before_or_after_the_command(cli, node):
    assert cli("--json", "id").objects == cli("id", "--json").objects
    assert cli("trust", "ls", "--json").objects == cli("trust", "--json", "ls").objects


def test_control_c_ends_with_130(cli, node, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("p2phub.cli.commands.pull.follow", interrupted)
    assert cli("pull", "lab/minilm").code == 130
    assert cli("--json", "pull", "lab/minilm").objects[0]["error"]["exit"] == 130


def test_bundle_import_names_every_release_and_ends_as_the_first_refusal_does(cli, node):
    result = cli("bundle", "import", "/media/stick")
    assert (result.code, result.out) == (0, f"{PUBLISHER}/minilm@{COMMIT} came: verified\n")
    node.bundles.refuses = errors.RevokedError("it was taken back")
    result = cli("bundle", "import", "/media/stick")
    assert (result.code, result.out.split(" ", 1)[1]) == (4, "refused: it was taken back\n")
    assert cli("--json", "bundle", "import", "/media/stick").objects[-1]["exit"] == 4


def test_bundle_export_hands_on_every_reference_and_a_full_path(cli, node, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("bundle", "export", "lab/a", "lab/b@v1", "--to", "stick").code == 0
    assert node.asked == [BundleExportRequest(("lab/a", "lab/b@v1"), tmp_path / "stick")]
    assert cli("bundle", "export", "lab/a").code == 2


def test_bundle_export_tells_how_to_write_the_next_medium(cli, node):
    node.bundles.parts = 2
    result = cli("bundle", "export", "lab/a", "--to", "/media/stick", "--size-limit", "3M")
    assert result.code == 0
    assert "part 1 of 2" in result.err
    assert "--size-limit 3145728 --part 2" in result.err
    (request,) = node.asked
    assert (request.size_limit, request.part) == (3 << 20, 1)


def test_a_person_is_asked_for_the_next_medium(node, home, tmp_path):
    node.bundles.parts = 2
    words = ["bundle", "export", "lab/a", "--to", str(tmp_path / "stick"), "--size-limit", "3M"]
    command = [sys.executable, "-m", "p2phub", "--home", str(home), *words]
    person = Terminal(command, dict(os.environ))
    person.type("press Enter", "")
    assert person.end() == 0
    assert "part 2 of 2" in person.screen
    assert [(each.part, each.size_limit) for each in node.asked] == [(1, 3 << 20), (2, 3 << 20)]


def test_swap_tells_what_came_and_for_whom_the_rest_is(cli, node):
    result = cli("swap", "/media/stick", "--name", "a", "--want", "lab/x", "--size-limit", "1G")
    assert result.code == 0
    assert "came: verified" in result.out
    assert "is on the stick for the lab" in result.out
    assert "1 signed, 1 got" in result.err
    assert node.asked[-1].wants == ("lab/x",)
    assert cli("swap").code == 2


@pytest.mark.parametrize("form", ["text", "file", "codes", "json"])
def test_an_inventory_is_shown_in_every_form(cli, node, tmp_path, form):
    file = tmp_path / "said"
    words = {"file": ["--to", str(file)], "codes": ["--qr"], "json": ["--json"]}.get(form, [])
    result = cli("bundle", "inventory", *words)
    assert result.code == 0
    match form:
        case "text":
            assert result.out.startswith("-----BEGIN P2PHUB INVENTORY-----\n")
        case "file":
            assert "BEGIN P2PHUB INVENTORY" in file.read_text()
        case "codes":
            assert "█" in result.out
        case "json":
            assert result.objects[0]["releases"] == 3


def test_an_inventory_is_not_written_where_nothing_can_be(cli, tmp_path):
    assert cli("bundle", "inventory", "--to", str(tmp_path / "no" / "said")).code == 7


def test_sites_and_receipts_are_listed(cli, node):
    result = cli("bundle", "sites")
    assert "the lab" in result.out
    assert "2023-11-14" in result.out
    assert cli("--json", "bundle", "sites").objects[0]["receipts"]


def test_bundle_inspect_of_a_folder_that_holds_none_is_not_found(cli, tmp_path):
    assert cli("bundle", "inspect", str(tmp_path)).code == 3
