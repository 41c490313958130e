"""A server of our own: one that never answers, that dies, that leaves children behind."""

import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from p2phub.errors import EngineError
from p2phub.inference import own_server as module
from p2phub.inference.own_server import OwnServer, own_server
from p2phub.inference.requests import Finished, Generate
from p2phub.testing.processes import alive, gone

SERVER = """
import json, os, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
options = dict(each.split("=", 1) for each in sys.argv[2:])
print("serving", *sys.argv[1:], flush=True)
print("environment", json.dumps(dict(os.environ)), flush=True)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *words): pass
    def answer(self, data):
        ok = self.headers.get("authorization") == "Bearer " + os.environ["VLLM_API_KEY"]
        self.send_response(200 if ok else 401)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self):
        self.answer(json.dumps({"data": [{"id": options["--served-model-name"]}]}).encode())
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        if options.get("--fatal"):
            os.abort()
        chunk = {"choices": [{"text": "hello", "finish_reason": "stop"}]}
        self.answer(b"data: " + json.dumps(chunk).encode() + b"\\n\\n")
HTTPServer((options["--host"], int(options["--port"])), Handler).serve_forever()
"""


def server(tmp_path, text=SERVER, *more, **words):
    program = tmp_path / "serve.py"
    program.write_text(text)
    return OwnServer((sys.executable, str(program)), tmp_path, "lab/m", **words)


def of_process(pid, what):
    return Path(f"/proc/{pid}/{what}").read_text()


async def test_it_serves_the_folder_under_its_name_and_ends_with_the_block(tmp_path):
    lines, here = [], {"PATH": os.environ["PATH"], "HF_TOKEN": "secret"}
    wanted = server(tmp_path, endpoint="http://127.0.0.1:1", environment=here)
    async with own_server(wanted, lines.append) as engine:
        found = [each async for each in engine.generate(Generate("x"))]
        assert [found[0].text, type(found[1])] == ["hello", Finished]
    said = {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}
    folder, *options = said["serving"].split()
    assert folder == str(tmp_path)
    assert not any("key" in each for each in options), "everybody sees a command line"
    assert "secret" not in said["environment"]
    assert '"HF_ENDPOINT": "http://127.0.0.1:1"' in said["environment"]
    assert not alive(int(said["child"])), "what it started ends too"
    assert engine.lost.is_set()


async def test_one_that_dies_while_it_loads_is_told_of_with_its_last_words(tmp_path):
    text = "import sys; print('CUDA out of memory'); sys.exit(3)"
    with pytest.raises(EngineError, match=r"exit code 3(?s:.)*CUDA out of memory"):
        async with own_server(server(tmp_path, text)):
            pytest.fail("it does not answer")


async def test_one_that_never_answers_is_given_up_and_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOAD_PATIENCE", 0.5)
    lines = []
    text = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with pytest.raises(EngineError, match="did not answer in time"):
        async with own_server(server(tmp_path, text), lines.append):
            pytest.fail("it does not answer")
    assert not alive(int(lines[0]))


async def test_one_that_will_not_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STOP_PATIENCE", 0.2)
    text = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVER
    lines = []
    async with own_server(server(tmp_path, text), lines.append):
        pass
    assert not any(alive(int(line.split()[1])) for line in lines if line.startswith("child"))


async def test_one_that_crashes_costs_the_request_and_is_lost(tmp_path):
    text = SERVER.replace('options.get("--fatal")', "True")
    async with own_server(server(tmp_path, text)) as engine:
        with pytest.raises(EngineError, match="SIGABRT"):
            [each async for each in engine.generate(Generate("x"))]
        with trio.fail_after(5):
            await engine.lost.wait()


async def test_a_command_that_is_none_is_a_mistake_in_the_settings(tmp_path):
    wanted = OwnServer((str(tmp_path / "none"),), tmp_path, "m")
    with pytest.raises(EngineError, match="no program that may be run"):
        async with own_server(wanted):
            pytest.fail("there is no server")


async def test_who_gives_up_while_it_loads_leaves_no_process(tmp_path):
    lines = []
    text = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with trio.move_on_after(1):
        async with own_server(server(tmp_path, text), lines.append):
            pytest.fail("it does not answer")
    assert lines
    assert not alive(int(lines[0]))


async def test_the_process_that_is_shown_is_the_server_and_killing_it_costs_it(tmp_path):
    async with own_server(server(tmp_path)) as engine:
        assert "serve.py" in of_process(engine.pid, "cmdline")
        os.kill(engine.pid, signal.SIGKILL)
        with trio.fail_after(5):
            await engine.gone.wait()
        with pytest.raises(EngineError, match="SIGKILL"):
            [each async for each in engine.generate(Generate("x"))]


async def test_a_guard_that_is_killed_takes_the_server_along(tmp_path):
    lines = []
    async with own_server(server(tmp_path), lines.append) as engine:
        guard = int(of_process(engine.pid, "stat").rpartition(")")[2].split()[1])
        os.kill(guard, signal.SIGKILL)
        with trio.fail_after(5):
            await engine.gone.wait()
    children = [int(line.split()[1]) for line in lines if line.startswith("child")]
    assert gone([engine.pid, *children])


async def test_one_that_is_closed_is_gone_when_that_returns_and_says_so(tmp_path):
    async with own_server(server(tmp_path)) as engine:
        await engine.close()
        assert not alive(engine.pid)
        with pytest.raises(EngineError, match="was unloaded"):
            [each async for each in engine.generate(Generate("x"))]
