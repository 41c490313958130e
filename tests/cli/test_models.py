"""`serve`, `run`, `embed`, `ps`, `fit`: a model from a name to an answer, and Ctrl-C on the way."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from p2phub.cli.commands.fit import _lines
from p2phub.cli.conversation import Conversation, converse
from p2phub.cli.output import Output
from p2phub.client.connection import Connection
from p2phub.client.running import RunningNode, find_running
from p2phub.errors import EngineError, NoMemoryError, RevokedError
from p2phub.inference_results import FitReport
from p2phub.testing.inference import SCRIPT, TEXT, VECTORS

SAID = "".join(SCRIPT)


@pytest.fixture
def piped(monkeypatch):
    def give(text):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    give("")
    return give


class TestRun:
    def test_one_prompt_gives_one_answer_and_its_pedigree(self, cli, node, piped):
        result = cli("run", TEXT, "The capital of France?")
        assert (result.code, result.out) == (0, SAID + "\n")
        (told,) = cli("--json", "run", TEXT, "The capital of France?").objects
        assert told["text"] == SAID
        assert (told["release"], told["verdict"]) == ("ab" * 32, "verified")

    def test_what_is_piped_is_part_of_the_prompt(self, cli, node, piped):
        piped("a long text\n")
        assert cli("run", TEXT, "summarise").code == 0
        assert node.inference.text.asked[-1].prompt.messages[-1]["content"] == (
            "summarise\n\na long text"
        )

    def test_nothing_to_ask_is_a_mistake(self, cli, node, piped):
        assert cli("run", TEXT).code == 2

    def test_what_was_chosen_reaches_the_model(self, cli, node, piped):
        words = ["--max-tokens", "2", "--temperature", "0", "--seed", "7", "--system", "be brief"]
        assert cli("run", TEXT, "hello", *words).out == "".join(SCRIPT[:2]) + "\n"
        asked = node.inference.text.asked[-1]
        assert (asked.sampling.max_tokens, asked.sampling.seed) == (2, 7)
        assert asked.prompt.messages[0] == {"role": "system", "content": "be brief"}

    def test_an_unknown_model_names_the_nearest(self, cli, node, piped):
        result = cli("run", "lab/smoll", "hello")
        assert result.code == 3
        assert TEXT in result.err

    def test_a_text_cannot_steer_the_terminal(self, cli, node, piped):
        node.inference.text.script = ("one\n", "\x1b[2J", "two")
        assert cli("run", TEXT, "hello").out == "one\n\ufffd[2Jtwo\n"

    @pytest.mark.parametrize(
        ("error", "code"),
        [(EngineError("it broke"), 1), (NoMemoryError("too large"), 1), (RevokedError("gone"), 4)],
    )
    def test_a_model_that_fails_gives_its_exit_code(self, cli, node, piped, error, code):
        node.inference.text.fails = error
        result = cli("run", TEXT, "hello")
        assert (result.code, result.out) == (code, "")
        assert error.message in result.err


class TestAdapters:
    @pytest.fixture
    def sonnet(self, node):
        """An adapter on the model that writes."""
        node.inference.adapt("poet/sonnet", TEXT)
        node.inference.in_memory |= {TEXT, "poet/sonnet"}

    def test_stand_below_their_base(self, cli, node, sonnet):
        rows = [line.split("\t") for line in cli("ps").out.splitlines()]
        assert [row[0] for row in rows] == [TEXT, "poet/sonnet"]
        assert rows[1][-1] == f"an adapter on {TEXT}"
        base, adapter = cli("--json", "ps").objects
        assert (adapter["base"], adapter["base_release"]) == (TEXT, base["release"])

    def test_answer_with_the_pedigree_of_both(self, cli, node, sonnet, piped):
        (told,) = cli("--json", "run", "poet/sonnet", "hello").objects
        assert (told["release"], told["base_release"]) == ("cd" * 32, "ab" * 32)
        assert node.inference.text.asked[-1].adapter == "poet/sonnet"

    def test_are_for_one_base(self, cli, node):
        result = cli("serve", TEXT, VECTORS, "--adapter", "poet/sonnet")
        assert result.code == 2
        assert "one base" in result.err


class TestAConversation:
    @pytest.fixture
    def talk(self, home, node):
        running = find_running(home)
        connection = Connection(RunningNode(running.url, running.token))
        self.out = io.StringIO()
        yield Conversation(Output(out=self.out), connection, TEXT, {})
        connection.close()

    def typed(self, monkeypatch, *lines):
        left = iter(lines)

        def read(prompt):
            line = next(left, EOFError())
            if isinstance(line, BaseException):
                raise line
            return line

        monkeypatch.setattr("builtins.input", read)

    def test_goes_on_from_what_was_said_until_it_is_cleared(self, talk, node, monkeypatch):
        self.typed(monkeypatch, "one", "two", "/clear", "three", "/help", "", "/bye", "never")
        converse(talk)
        asked = [
            [each["content"] for each in request.prompt.messages]
            for request in node.inference.text.asked
        ]
        assert asked == [["one"], ["one", SAID, "two"], ["three"]]

    def test_control_c_stops_the_answer_and_not_the_program(self, talk, node, monkeypatch):
        shown = []

        def interrupted(text):
            shown.append(text)
            if len(shown) == 2:
                raise KeyboardInterrupt

        node.inference.text.pause = 0.01
        monkeypatch.setattr(talk._output, "text", interrupted)
        self.typed(monkeypatch, "one", EOFError())
        converse(talk)
        assert talk.said == []
        deadline = time.monotonic() + 5  # the node hears of it over a socket
        while not node.inference.text.cancelled and time.monotonic() < deadline:
            time.sleep(0.01)
        assert node.inference.text.cancelled == 1

    def test_control_d_at_the_prompt_leaves(self, talk, node, monkeypatch):
        self.typed(monkeypatch, EOFError(), "never")
        converse(talk)
        assert node.inference.text.asked == []

    def test_control_c_just_after_an_answer_does_not_leave_and_twice_does(
        self, talk, node, monkeypatch, capsys
    ):
        stop = KeyboardInterrupt()
        self.typed(monkeypatch, "one", stop, "two", stop, stop, "never")
        converse(talk)
        assert [each["content"] for each in talk.said[::2]] == ["one", "two"]
        assert "Ctrl-C again" in capsys.readouterr().err

    def test_control_c_while_it_tells_that_it_stopped_does_not_leave(self, talk, node, monkeypatch):
        def stopped(text):
            raise KeyboardInterrupt

        def told(*words, **more):
            monkeypatch.undo()
            self.typed(monkeypatch, "two")
            raise KeyboardInterrupt

        self.typed(monkeypatch, "one")
        monkeypatch.setattr(talk, "ask", stopped)
        monkeypatch.setattr("builtins.print", told)
        converse(talk)
        assert [each["content"] for each in talk.said[::2]] == ["two"]

    def test_lines_between_marks_are_one_question(self, talk, node, monkeypatch):
        self.typed(monkeypatch, '"""one', "/two", 'three"""', '"""', "four", '"""', '"""five"""')
        converse(talk)
        asked = [each["content"] for each in talk.said[::2]]
        assert asked == ["one\n/two\nthree", "four", "five"]

    def test_a_model_that_was_unloaded_meanwhile_is_made_ready_first(
        self, talk, node, monkeypatch, capsys
    ):
        order = []
        monkeypatch.setattr(talk, "ask", order.append)
        self.typed(monkeypatch, "one", "/clear", "two")
        converse(talk, lambda: order.append("ready"))
        assert order == ["ready", "one", "ready", "two"]

        def fails():
            raise EngineError("it does not load")

        self.typed(monkeypatch, "one")
        converse(talk, fails)
        assert "it does not load" in capsys.readouterr().err

    def test_an_answer_that_fails_is_no_part_of_it(self, talk, node, monkeypatch, capsys):
        node.inference.text.fails = EngineError("it broke")
        self.typed(monkeypatch, "one")
        converse(talk)
        assert talk.said == []
        assert "it broke" in capsys.readouterr().err

    def test_ends_when_the_release_is_taken_back(self, talk, node, monkeypatch):
        node.inference.text.fails = RevokedError("it was taken back")
        self.typed(monkeypatch, "one", "two")
        with pytest.raises(RevokedError):
            converse(talk)


class TestEmbed:
    def test_a_vector_for_each_text_in_their_order(self, cli, node):
        result = cli("embed", VECTORS, "a b c", "d")
        assert result.out == "3 0 0 0\n1 0 0 0\n"
        told = cli("--json", "embed", VECTORS, "a b c", "d").objects
        assert [each["embedding"][0] for each in told] == [3.0, 1.0]
        assert {each["verdict"] for each in told} == {"verified"}

    def test_every_line_of_standard_input_is_a_text(self, cli, node, piped):
        piped("a b\n\nc\n")
        assert cli("embed", VECTORS).out == "2 0 0 0\n1 0 0 0\n"
        piped("\n")
        assert cli("embed", VECTORS).code == 2


class TestPs:
    def test_shows_what_is_in_memory(self, cli, node):
        (row,) = cli("--json", "ps").objects
        assert (row["id"], row["engine"], row["device"]) == (TEXT, "transformers", "cpu")
        assert "until unloaded" in cli("ps").out

    def test_without_a_node_there_is_nothing(self, cli, home):
        result = cli("ps")
        assert (result.code, result.out) == (0, "")
        assert "p2phub serve" in result.err


class TestFit:
    def test_tells_what_a_model_needs(self, cli, node):
        (told,) = cli("--json", "fit", TEXT).objects
        assert (told["bytes_needed"], told["fits"]) == (1000, True)
        assert "fits on cpu: 1.0 kB of 2.0 kB that models may take" in cli("fit", TEXT).out

    def test_what_keeps_no_tokens_tells_of_none(self):
        told = asdict(FitReport("lab/x@main", "ab", "cpu", 600, 0, 100, 2000, slots=32))
        (line,) = [each for each in _lines(told, 700, fits=True) if each.startswith("cache")]
        assert line == "cache    0 B in 32 requests at once"

    def test_an_unknown_model_is_not_found(self, cli, node):
        assert cli("fit", "lab/nothing").code == 3


class TestServe:
    def test_loads_tells_the_address_and_unloads_at_control_c(self, home, node):
        words = [sys.executable, "-m", "p2phub", "--home", home, "--json", "serve", VECTORS]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
            ready = json.loads(process.stdout.readline())
            assert ready["url"].endswith("/v1")
            assert ready["models"][0]["id"] == VECTORS
            assert VECTORS in node.inference.in_memory
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        assert VECTORS not in node.inference.in_memory

    def test_a_model_that_cannot_be_loaded_takes_the_others_with_it(self, cli, node):
        result = cli("serve", VECTORS, "lab/nothing")
        assert result.code == 3
        assert VECTORS not in node.inference.in_memory
