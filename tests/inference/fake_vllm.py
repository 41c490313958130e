"""A program that is called as vLLM is and answers as vLLM does, from the folder it was given.

It says the words of the prompt again. A prompt can order what becomes of it: `#more=N` (so many
more words), `#pause=S` (seconds before each), `#crash`.
"""

import sys
from pathlib import Path

PROGRAM = """#!{python}
import json, os, subprocess, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

assert sys.argv[1] == "serve", sys.argv
folder = Path(sys.argv[2])
options = dict(each.removeprefix("--").partition("=")[::2] for each in sys.argv[3:])
files = {{str(each.relative_to(folder)): each.stat().st_size
         for each in sorted(folder.rglob("*")) if each.is_file()}}
told = {{"options": options, "files": files, "environment": dict(os.environ), "pid": os.getpid()}}
child = subprocess.Popen(
    [sys.executable, "-S", "-c", "import time; time.sleep(600)"], start_new_session=True
)
told["child"] = child.pid
if "told" in options:
    Path(options["told"]).write_text(json.dumps(told))
if "fails" in options:
    print("ValueError: the model needs more memory than there is")
    sys.exit(1)
(folder / "model.safetensors").read_bytes()
if "tampers" in options:
    target = os.path.realpath(folder / "model.safetensors")
    os.chmod(target, 0o600)
    with open(target, "r+b") as file:
        file.write(b"x")
time.sleep(float(options.get("slow", 0)))
name = options["served-model-name"]
lock, under_way = threading.Lock(), 0

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def do_GET(self):
        if self.path == "/under_way":
            return self.answer({{"count": under_way}})
        rows = [{{"id": name, "max_model_len": int(options.get("max-model-len", 4096))}}]
        self.answer({{"object": "list", "data": rows}})

    def do_POST(self):
        global under_way
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with lock:
            under_way += 1
        try:
            self.complete(body)
        except OSError:
            self.close_connection = True
        finally:
            with lock:
                under_way -= 1

    def complete(self, body):
        chat = "messages" in body
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        words, orders = prompt.split(), {{}}
        for word in words:
            if word.startswith("#"):
                order, _, value = word[1:].partition("=")
                orders[order] = value or "1"
        said = [word + " " for word in words if not word.startswith("#")]
        if body["model"] != name:
            return self.answer({{"error": {{"message": "no model " + body["model"]}}}}, 404)
        if len(words) > 4096:
            message = "This model's maximum context length is 4096 tokens"
            return self.answer({{"error": {{"message": message}}}}, 400)
        said += ["more "] * int(orders.get("more", 0))
        most = body.get("max_tokens") or len(said)
        reason = "length" if most < len(said) else "stop"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for word in said[:most]:
            time.sleep(float(orders.get("pause", 0)))
            if "crash" in orders:
                os.abort()
            self.say({{"choices": [self.choice(chat, word, None)]}})
        self.say({{"choices": [self.choice(chat, "", reason)]}})
        usage = {{"prompt_tokens": len(words), "completion_tokens": min(most, len(said))}}
        self.say({{"choices": [], "usage": usage}})
        self.chunk(b"data: [DONE]\\n\\n")
        self.chunk(b"")

    def choice(self, chat, text, reason):
        part = {{"delta": {{"content": text}}}} if chat else {{"text": text}}
        return part | {{"index": 0, "finish_reason": reason}}

    def say(self, value):
        self.chunk(b"data: " + json.dumps(value).encode() + b"\\n\\n")

    def chunk(self, data):
        self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(data), data))

    def answer(self, value, status=200):
        data = json.dumps(value).encode()
        key = os.environ.get("VLLM_API_KEY")
        opened = not key or self.headers.get("authorization") == "Bearer " + key
        self.send_response(status if opened or self.path == "/under_way" else 401)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

Server((options["host"], int(options["port"])), Handler).serve_forever()
"""


def fake_vllm(folder: Path) -> Path:
    """Write the program; its path."""
    made = folder / "vllm"
    made.write_text(PROGRAM.format(python=sys.executable))
    made.chmod(0o755)
    return made
