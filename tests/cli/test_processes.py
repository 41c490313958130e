"""Daemons and embedded nodes as real processes, around a fake node."""

import json
import os
import re
import signal
import socket

import pytest

from p2phub.testing.nodes import PEER, PUBLISHER

pytestmark = pytest.mark.slow


@pytest.fixture
def free_port(monkeypatch):
    """A port for the gateway of every process of this test."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("P2PHUB_GATEWAY_LISTEN", f"127.0.0.1:{port}")
    return port


@pytest.fixture
def any_port(monkeypatch):
    monkeypatch.setenv("P2PHUB_GATEWAY_LISTEN", "127.0.0.1:0")


@pytest.fixture
def go(home):
    """Lets work go on that a node holds."""
    home.mkdir()
    os.mkfifo(home / "go")

    def let():
        with (home / "go").open("w") as fifo:
            fifo.write("!")

    return let


def ended(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_a_daemon_says_when_it_is_ready_and_stops_at_sigterm(processes, home, any_port):
    process, ready = processes.daemon()
    assert ready["event"] == "ready"
    assert ready["gateway"].startswith("http://127.0.0.1:")
    assert (ready["peer_id"], ready["publisher_id"]) == (PEER, PUBLISHER)
    assert ready["addresses"] == [f"/ip4/127.0.0.1/tcp/4042/p2p/{PEER}"]
    assert (home / "run" / "gateway").read_text().strip() == ready["gateway"]
    assert json.loads(processes.run("--json", "status").out)["running"] is True
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert code == 0
    assert "Traceback" not in err
    assert not (home / "run" / "gateway").exists()


def test_people_are_told_where_the_gateway_is(processes, any_port):
    process = processes.start("node", stdin=-1)
    lines = [process.stdout.readline() for _ in range(4)]
    assert re.match(r"gateway +http://127\.0\.0\.1:\d+$", lines[0])
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 0


def test_a_second_daemon_on_one_store_is_told_who_has_it(processes, home, free_port):
    first, ready = processes.daemon()
    second = processes.run("node")
    assert second.code == 7
    assert str(first.pid) in second.err
    assert ready["gateway"] in second.err
    assert processes.run("--json", "node").objects[0]["error"]["code"] == "store_locked"
    assert processes.run("status").code == 0


def test_a_port_in_use_is_named_and_ends_with_1(processes, home, free_port):
    with socket.create_server(("127.0.0.1", free_port)):
        told = processes.run("--json", "node")
    assert told.code == 1
    error = told.objects[0]["error"]
    assert error["code"] == "port_in_use"
    assert str(free_port) in error["message"]
    assert not (home / "run" / "gateway").exists()


def test_a_broken_node_toml_ends_with_2_wherever_it_is_read(processes, home):
    home.mkdir()
    (home / "node.toml").write_text('[gateway]\nlistne = "127.0.0.1:0"\n')
    for words in (["node"], ["pull", "lab/minilm"]):
        told = processes.run("--json", *words)
        assert told.code == 2, told
        assert "listen" in told.objects[-1]["error"]["message"]


def test_a_command_without_a_daemon_runs_its_own_node_and_stops_it(processes, home, free_port):
    with socket.create_server(("127.0.0.1", free_port)):  # it must not want this port
        told = processes.run("--json", "pull", "lab/minilm")
    assert told.code == 0, told.err
    assert told.objects[-1]["path"] == str(home / "snapshot")
    assert told.err == ""
    assert not (home / "run" / "gateway").exists()
    first, _ = processes.daemon()  # the store is free again
    first.send_signal(signal.SIGTERM)


def test_the_error_of_an_embedded_node_is_passed_on(processes):
    told = processes.run("pull", "lab/minilm", steer="fail")
    assert told.code == 7
    assert told.err == "error: the node does not want to\nhint: ask nicely\n"


def test_an_embedded_node_that_dies_is_told_without_a_traceback(processes):
    told = processes.run("pull", "lab/minilm", steer="die")
    assert told.code == 1
    assert "Traceback" not in told.err
    assert "a bug of the node" in told.err
    assert "hint: " in told.err


def test_a_bug_of_a_daemon_shows_its_traceback(processes):
    told = processes.run("node", steer="die")
    assert told.code == 1
    assert "Traceback" in told.err
    assert "error: p2phub met a bug of its own" in told.err


def test_a_second_command_uses_the_embedded_node_of_the_first(processes, home, go):
    first = processes.start("--json", "pull", "lab/minilm", steer="hold", stdin=-3)
    assert json.loads(first.stdout.readline())["event"] == "resolved"
    second = processes.start("--json", "pull", "lab/minilm", stdin=-3)
    assert json.loads(second.stdout.readline())["event"] == "resolved"
    go()
    assert ended(first)[0] == 0
    assert ended(second)[0] == 0


def test_an_embedded_node_ends_the_work_of_others_before_it_stops(processes, home, go):
    """The first command is interrupted; what the second one pulls through its node goes on."""
    first = processes.start("--json", "pull", "lab/minilm", steer="hold", stdin=-3)
    assert json.loads(first.stdout.readline())["event"] == "resolved"
    second = processes.start("--json", "pull", "lab/minilm", stdin=-3)
    assert json.loads(second.stdout.readline())["event"] == "resolved"
    first.send_signal(signal.SIGINT)
    code, out, _ = ended(first)
    assert code == 130
    assert json.loads(out.splitlines()[-1])["error"]["code"] == "interrupted"
    go()
    code, out, _ = ended(second)
    assert code == 0, out
    assert json.loads(out.splitlines()[-1])["event"] == "done"


def test_an_embedded_node_does_not_survive_a_killed_parent(processes, home, go):
    command = processes.start("--json", "pull", "lab/minilm", steer="hold", stdin=-3)
    assert json.loads(command.stdout.readline())["event"] == "resolved"
    command.kill()
    command.wait()
    again = processes.run("--json", "pull", "lab/minilm")  # waits until the store is free
    assert again.code == 0, again.err


def test_the_left_over_of_a_killed_daemon_misleads_nobody(processes, home, any_port):
    daemon, _ = processes.daemon()
    daemon.kill()
    daemon.wait()
    assert (home / "run" / "gateway").exists()
    assert processes.run("--json", "pull", "lab/minilm").code == 0


def test_detach_returns_when_the_node_is_ready_and_leaves_it(processes, home, any_port):
    told = processes.run("--json", "node", "--detach")
    assert told.code == 0, told.err
    assert told.objects[0]["event"] == "ready"
    assert processes.run("status").code == 0
    pid = int((home / "store" / "lock").read_text())
    assert (home / "logs" / "node.log").exists()
    again = processes.run("node", "--detach")
    assert again.code == 7
    os.kill(pid, signal.SIGTERM)


def test_a_signal_while_a_node_starts_ends_it(processes, home, any_port):
    process, _ = processes.daemon()
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] in (0, -signal.SIGTERM)


def test_a_stop_tells_a_pull_under_way(processes, home, go, any_port):
    daemon, _ = processes.daemon(steer="hold")
    pull = processes.start("--json", "pull", "lab/minilm", stdin=-3)
    assert json.loads(pull.stdout.readline())["event"] == "resolved"
    daemon.send_signal(signal.SIGTERM)
    code, out, _ = ended(pull)
    assert code == 7
    assert json.loads(out.splitlines()[-1])["error"]["message"] == "the node is stopping"
    assert ended(daemon)[0] == 0


def test_a_reader_that_goes_away_is_no_traceback(processes, any_port):
    processes.daemon()
    process = processes.start("ls", stdin=-3)
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(60) in (0, 141)
    assert err == ""
