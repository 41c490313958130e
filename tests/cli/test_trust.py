"""Whom one trusts, at a terminal and in a pipe: nothing is weakened or pinned in silence."""

import io
import json
import os
import re
import sys

import pytest

from p2phub.cli.trusting import domain_of, state_of, trusted
from p2phub.errors import NotFoundError
from p2phub.formats.ids import PublisherId
from p2phub.testing import terminals as pty
from p2phub.testing.nodes import PUBLISHER, FakeNode
from p2phub.trust_results import Candidate, DomainSays, NamedPublisher, Trusted

LAB, THIEF, OTHER = (str(PublisherId(bytes([n]) * 32)) for n in (1, 2, 3))


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def typing(monkeypatch):
    """A person at a terminal who types these lines; gives what is shown on standard error."""

    def types(*lines):
        screen = Terminal()
        monkeypatch.setattr(sys, "stdin", Terminal("".join(f"{line}\n" for line in lines)))
        monkeypatch.setattr(sys, "stderr", screen)
        return screen

    return types


@pytest.fixture(params=["running node", "store alone"])
def lab(request, cli, home):
    """`lab` is pinned, in a running (fake) node or in the store."""
    if request.param == "running node":
        node = request.getfixturevalue("node")
        node.pins["lab"] = LAB
        return request.param
    assert cli("trust", "add", "lab", LAB).code == 0
    return request.param


def pinned(cli):
    return {row["alias"]: row["publisher_id"] for row in cli("--json", "trust", "ls").objects}


def rule(cli, who="lab"):
    (told,) = cli("--json", "trust", "policy", who).objects
    return told["policy"], told["stale"], told["own_rule"]


def listed(path, *publishers):
    document = {"p2phub": "trust list", "version": 1, "publishers": publishers}
    path.write_text(json.dumps(document))
    return path


class TestForgettingAnAlias:
    def test_in_a_pipe_is_refused(self, cli, lab):
        result = cli("trust", "rm", "lab")
        assert result.code == 7
        assert "on a terminal" in result.err
        assert "--yes" in result.err
        assert pinned(cli) == {"lab": LAB}

    @pytest.mark.parametrize("answer", ["", "n", "no", "yes please", "\x04"])
    def test_is_not_done_without_a_yes(self, cli, lab, typing, answer):
        screen = typing(answer)
        assert cli("trust", "rm", "lab").code == 7
        assert LAB in screen.getvalue()
        assert pinned(cli) == {"lab": LAB}

    @pytest.mark.parametrize("answer", ["y", "yes", "YES"])
    def test_is_done_after_a_yes(self, cli, lab, typing, answer):
        typing(answer)
        assert cli("trust", "rm", "lab").code == 0
        assert pinned(cli) == {}

    def test_in_a_pipe_is_done_with_yes(self, cli, lab):
        assert cli("trust", "rm", "lab", "--yes").code == 0
        assert pinned(cli) == {}

    def test_nobody_is_told_before_anybody_is_asked(self, cli, lab):
        assert cli("trust", "rm", "nobody").code == 3


def test_a_yes_is_typed_on_a_real_terminal(cli, home):
    cli("trust", "add", "lab", LAB)
    program = [sys.executable, "-m", "p2phub", "--home", home, "trust", "rm", "lab"]
    for answer, code in (("no", 7), ("yes", 0)):
        terminal = pty.Terminal(program, os.environ)
        terminal.type("forget the alias lab?", answer)
        assert terminal.end() == code, terminal.screen
        assert LAB in terminal.screen
    assert pinned(cli) == {}


class TestARule:
    @pytest.mark.parametrize(
        "words", [["off"], ["warn"], ["off", "--stale", "refuse"], ["warn", "--stale", "warn"]]
    )
    def test_that_is_weaker_is_refused_in_a_pipe(self, cli, lab, words):
        result = cli("trust", "policy", "lab", *words)
        assert result.code == 7
        assert "--yes" in result.err
        assert rule(cli) == ("enforce", "warn", False)

    @pytest.mark.parametrize("words", [["enforce"], ["--stale", "refuse"]])
    def test_that_is_not_weaker_is_laid_down_in_a_pipe(self, cli, lab, words):
        assert cli("trust", "policy", "lab", *words).code == 0
        assert rule(cli)[2] is True

    def test_that_is_weaker_is_laid_down_after_a_yes(self, cli, lab, typing):
        screen = typing("yes")
        assert cli("trust", "policy", "lab", "warn", "--stale", "refuse").code == 0
        assert "enforce" in screen.getvalue()
        assert "warn --stale refuse" in screen.getvalue()
        assert rule(cli) == ("warn", "refuse", True)

    def test_that_is_weaker_is_not_laid_down_without_a_yes(self, cli, lab, typing):
        typing("")
        assert cli("trust", "policy", "lab", "off").code == 7
        assert rule(cli) == ("enforce", "warn", False)

    def test_that_holds_already_needs_no_second_yes(self, cli, lab):
        assert cli("trust", "policy", "lab", "warn", "--yes").code == 0
        assert cli("trust", "policy", "lab", "warn").code == 0

    @pytest.mark.parametrize("words", [["default"], ["--stale", "warn"]])
    def test_that_is_given_up_needs_a_yes(self, cli, lab, words):
        cli("trust", "policy", "lab", "enforce", "--stale", "refuse")
        assert cli("trust", "policy", "lab", *words).code == 7
        assert cli("trust", "policy", "lab", *words, "--yes").code == 0
        assert rule(cli)[1] == "warn"

    def test_is_told(self, cli, lab):
        assert cli("trust", "policy", "lab").out == "lab enforce\n"

    def test_that_lets_python_run_needs_a_yes_and_is_shown(self, cli, lab):
        assert cli("trust", "policy", "lab", "--code", "allow").code == 7
        assert "code" not in cli("trust", "policy", "lab").out
        assert cli("trust", "policy", "lab", "--code", "allow", "--yes").code == 0
        assert cli("trust", "policy", "lab").out == "lab enforce, code allowed\n"
        (row,) = cli("--json", "trust", "ls").objects
        assert row["code"] == "allow"
        assert cli("trust", "policy", "lab", "--code", "refuse").code == 0
        assert cli("trust", "policy", "lab").out == "lab enforce\n"
        assert cli("trust", "ls", "--code", "allow").code == 2

    def test_that_is_none_is_a_mistake(self, cli, lab):
        assert cli("trust", "policy", "lab", "strict", "--yes").code == 2
        assert cli("trust", "policy", "lab", "default", "--stale", "warn", "--yes").code == 2
        assert cli("trust", "ls", "--stale", "warn").code == 2
        assert cli("trust", "policy", "lab", "--stale", "allow").code == 2


class TestAnAliasOfSomebodyElse:
    """The namespace re-use attack: another key claims a name that is known here."""

    def test_is_not_pinned_again_whoever_says_yes(self, cli, typing):
        cli("trust", "add", "lab", LAB)
        typing("yes", "yes")
        result = cli("trust", "add", "lab", THIEF, "--yes")
        assert result.code == 4
        assert pinned(cli) == {"lab": LAB}

    def test_names_both_ids(self, cli):
        cli("trust", "add", "lab", LAB)
        result = cli("trust", "add", "lab", THIEF)
        assert result.code == 4
        assert LAB in result.err
        assert THIEF in result.err

    def test_is_not_pinned_by_a_list(self, cli, tmp_path):
        cli("trust", "add", "lab", LAB)
        file = listed(tmp_path / "list.json", {"alias": "lab", "publisher_id": THIEF})
        result = cli("trust", "import", file, "--yes")
        assert result.code == 4
        assert THIEF in result.err
        assert LAB in result.err
        assert pinned(cli) == {"lab": LAB}

    @pytest.mark.parametrize("alias", ["lаb", "Lab", "ｌａｂ", "lab\u200b"])  # noqa: RUF001
    def test_is_no_alias_if_it_only_looks_like_one(self, cli, alias):
        assert cli("trust", "add", alias, THIEF).code == 2

    @pytest.mark.parametrize("wrong", [LAB[:-1], LAB + "a", LAB[:-1] + "b", LAB.upper(), "1" * 52])
    def test_an_id_with_a_typing_error_is_none(self, cli, wrong):
        assert cli("trust", "add", "new", wrong).code == 2
        assert pinned(cli) == {}

    def test_an_id_of_which_nothing_was_seen_is_told(self, cli):
        result = cli("trust", "add", "new", LAB)
        assert result.code == 0
        assert "compare its id" in result.err
        assert "compare" not in cli("trust", "add", "new", LAB, "--quiet").err


class TestAnAliasThatNobodyHas:
    @pytest.fixture
    def claimed(self, node, monkeypatch):
        """`new` is nobody's alias; two publishers say that it is theirs."""
        node.trust.claimed["new"] = (
            Candidate(LAB, "New", "new.example", "https", 86400, 86400),
            Candidate(THIEF, "New\x1b[2J"),
        )
        known = node._known

        def only_pinned(reference):
            if reference.startswith("new/") and "new" not in node.pins:
                raise NotFoundError(f"nobody is called new; these say so: {LAB}; {THIEF}")
            known(reference.replace("new/", "lab/"))

        monkeypatch.setattr(node, "_known", only_pinned)
        return node

    def test_is_not_guessed_in_a_pipe(self, cli, claimed):
        result = cli("pull", "new/minilm")
        assert result.code == 3
        assert LAB in result.err
        assert "new" not in claimed.pins
        assert not any(str(each).startswith("candidates") for each in claimed.asked)

    def test_is_pinned_to_whom_a_person_types(self, cli, claimed, typing):
        screen = typing(LAB[:8])
        assert cli("pull", "new/minilm").code == 0
        assert claimed.pins["new"] == LAB
        shown = screen.getvalue()
        assert LAB in shown
        assert THIEF in shown
        assert "proved by https 1970-01-02" in shown
        assert "New\x1b" not in shown

    @pytest.mark.parametrize(
        ("answer", "code"), [("", 3), ("y", 2), ("yes", 2), (LAB[:7], 2), ("zzzzzzzzz", 2)]
    )
    def test_is_pinned_to_nobody_for_anything_else(self, cli, claimed, typing, answer, code):
        typing(answer)
        assert cli("pull", "new/minilm").code == code
        assert "new" not in claimed.pins

    def test_is_pinned_to_nobody_where_two_ids_begin_alike(self, cli, claimed, typing):
        twin = LAB[:8] + THIEF[8:]
        claimed.trust.claimed["new"] = (Candidate(LAB), Candidate(twin))
        typing(LAB[:8])
        assert cli("pull", "new/minilm").code == 2
        assert "new" not in claimed.pins


class TestADomainInsteadOfAnId:
    @pytest.fixture
    def says(self, node, monkeypatch):
        def names(*ids):
            async def domain(text):
                named = tuple(NamedPublisher(each, ("https",)) for each in ids)
                return DomainSays(text, named, ("dns: no name server",))

            monkeypatch.setattr(node.trust, "domain", domain)

        names(LAB)
        return names

    def test_is_refused_in_a_pipe_even_with_yes(self, cli, node, says):
        result = cli("trust", "add", "new", "lab.example", "--yes")
        assert result.code == 7
        assert "p2phub trust add new ID" in result.err
        assert "new" not in node.pins

    def test_is_pinned_after_a_yes_to_the_id_that_is_shown(self, cli, node, says, typing):
        screen = typing("yes")
        assert cli("trust", "add", "new", "Lab.Example").code == 0
        assert LAB in screen.getvalue()
        assert node.pins["new"] == LAB

    def test_is_not_pinned_without_a_yes(self, cli, node, says, typing):
        typing("")
        assert cli("trust", "add", "new", "lab.example").code == 7
        assert "new" not in node.pins

    def test_that_names_several_wants_a_choice(self, cli, node, says, typing):
        says(LAB, OTHER)
        typing("yes")
        assert cli("trust", "add", "new", "lab.example").code == 2
        typing(OTHER[:8])
        assert cli("trust", "add", "new", "lab.example").code == 0
        assert node.pins["new"] == OTHER

    def test_that_names_nobody_is_told(self, cli, says, typing):
        says()
        typing("yes")
        assert cli("trust", "add", "new", "lab.example").code == 3

    @pytest.mark.parametrize("wrong", ["127.0.0.1", "a..b", "https://lab.example"])
    def test_that_is_none_is_a_mistake(self, cli, typing, wrong):
        typing("yes")
        assert cli("trust", "add", "new", wrong).code == 2


class TestALabList:
    @pytest.fixture
    def file(self, tmp_path):
        return listed(
            tmp_path / "list.json",
            {"alias": "new", "publisher_id": LAB, "policy": "warn", "stale": "refuse"},
        )

    def test_pins_nobody_in_a_pipe(self, cli, file):
        result = cli("trust", "import", file)
        assert result.code == 7
        assert "--yes" in result.err
        assert pinned(cli) == {}

    def test_is_shown_and_done_after_a_yes(self, cli, file, typing):
        screen = typing("yes")
        assert cli("trust", "import", file).code == 0
        assert f"new will mean {LAB}, policy warn, stale refuse" in screen.getvalue()
        assert pinned(cli) == {"new": LAB}
        assert rule(cli, "new") == ("warn", "refuse", True)

    def test_is_not_done_without_a_yes(self, cli, file, typing):
        typing("no")
        assert cli("trust", "import", file).code == 7
        assert pinned(cli) == {}

    def test_is_done_with_yes_and_then_there_is_nothing_new(self, cli, file):
        assert cli("trust", "import", file, "--yes").code == 0
        assert "0 new, 1 known" in cli("trust", "import", file).out

    def test_through_a_running_node_is_shown_first(self, cli, node, file, typing):
        typing("no")
        assert cli("trust", "import", file).code == 7
        assert (file.read_text(), True) not in node.asked
        typing("yes")
        assert cli("trust", "import", file).code == 0
        assert (file.read_text(), True) in node.asked

    @pytest.mark.parametrize(
        ("data", "code"),
        [(b"{", 2), (b"\xff", 2), (b" " * (4 << 20) + b" ", 2), (None, 3)],
        ids=["no json", "no text", "too large", "no file"],
    )
    def test_that_is_none_is_a_mistake(self, cli, tmp_path, data, code):
        path = tmp_path / "x"
        if data is not None:
            path.write_bytes(data)
        assert cli("trust", "import", path, "--yes").code == code

    def test_in_a_folder_is_a_mistake(self, cli, tmp_path):
        assert cli("trust", "import", tmp_path, "--yes").code == 2

    def test_goes_out_as_it_comes_in(self, cli, tmp_path):
        cli("trust", "add", "lab", LAB)
        cli("trust", "policy", OTHER, "off", "--yes")
        file = tmp_path / "out.json"
        assert cli("trust", "export", file).code == 0
        assert len(json.loads(file.read_text())["publishers"]) == 2
        assert cli("trust", "export", file).code == 7
        assert cli("trust", "export", "-").out == file.read_text()
        assert cli("trust", "export", tmp_path / "no" / "out.json").code == 1

    def test_of_a_running_node_goes_out(self, cli, node, tmp_path):
        assert cli("trust", "export", tmp_path / "out.json").out.endswith("1 publishers\n")


class TestWhatIsShown:
    def test_forked_names_both_digests(self):
        row = vars_of(Trusted("lab", LAB, forked="it signed two indexes", fork=("aa" * 32, "bb")))
        assert state_of(row).startswith("FORKED")
        assert "aa" * 32 in state_of(row)
        assert trusted(row)["state"].endswith(" bb")

    def test_stale_and_damaged(self):
        assert state_of(vars_of(Trusted("lab", LAB, stale_since=0))).startswith("stale since 1970")
        assert state_of(vars_of(Trusted("lab", LAB, damage="the head"))) == "damaged: the head"

    @pytest.mark.parametrize(
        ("result", "proved", "said"),
        [
            ("dns", 0, "proved by dns 1970-01-02"),
            ("contradicted", None, "CONTRADICTED 1970-01-02: it does not name this publisher"),
            ("unreachable", None, "did not answer 1970-01-02"),
            ("unreachable", 0, "did not answer 1970-01-02; proved 1970-01-01"),
        ],
    )
    def test_a_domain_with_its_date(self, result, proved, said):
        row = Trusted(
            "lab",
            LAB,
            domain="lab.example",
            domain_result=result,
            domain_checked=86400,
            domain_proved=proved,
        )
        assert domain_of(vars_of(row)) == f"lab.example ({said})"

    def test_ls_in_a_pipe_and_at_a_terminal(self, cli, node, monkeypatch):
        line = cli("trust", "ls").out.splitlines()[0].split("\t")
        assert line[:4] == ["lab", PUBLISHER, "enforce", "1.1.3"]
        assert line[-1] == "lab.example (proved by https 2023-11-14)"
        monkeypatch.setattr(sys, "stdout", screen := Terminal())
        cli("trust", "ls")
        assert "calls itself" in re.sub(r"\s+", " ", screen.getvalue())


def vars_of(row):
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


class TestOurOwnDomain:
    def test_proof_tells_the_file_and_the_record(self, cli):
        own = cli("--json", "init", "--name", "me").objects[0]["publisher_id"]
        (told,) = cli("--json", "trust", "proof", "Bücher.example").objects
        assert told["url"] == "https://xn--bcher-kva.example/.well-known/p2phub"
        assert json.loads(told["file"]) == {"publishers": [own]}
        assert told["record"] == "_p2phub.xn--bcher-kva.example"
        assert told["text"] == f"p2phub={own}"
        assert f"p2phub={own}" in cli("trust", "proof", "lab.example").out

    def test_proof_without_a_domain_or_a_publisher_is_a_mistake(self, cli):
        assert cli("trust", "proof", "lab.example").code == 2
        cli("init", "--name", "me")
        assert cli("trust", "proof").code == 2
        assert cli("trust", "proof", "127.0.0.1").code == 2

    def test_check_tells_what_domains_say(self, cli, node):
        assert "proved by https" in cli("trust", "check").out
        (told,) = cli("--json", "trust", "check", "lab").objects
        assert (told["domain"], told["domain_result"]) == ("lab.example", "https")

    def test_a_name_and_a_domain_are_signed(self, cli, node):
        assert cli("id", "--set-name", "The Lab", "--domain", "").code == 0
        assert ("profile", "The Lab", "") in node.asked
        assert isinstance(node, FakeNode)
