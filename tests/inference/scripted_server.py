"""A server that answers as a script says: to be met by the engine that passes requests on."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Script:
    """What the server answers, and what it was asked."""

    def __init__(self):
        self.asked = []
        self.status = 200
        self.headers = {}
        self.body = {}
        self.lines = None
        """The lines of a stream; None: `body` is the answer."""
        self.models = {"object": "list", "data": [{"id": "m", "max_model_len": 512}]}
        self.hold = threading.Event()
        """A stream waits for this before its last line; set unless a test clears it."""
        self.hold.set()
        self.gone = threading.Event()
        """Set when the client has left in the middle of a stream."""


def event(value):
    text = value if isinstance(value, str) else json.dumps(value)
    return f"data: {text}\n\n".encode()


@contextmanager
def scripted_server():
    """A script, and the URL of the server that obeys it."""
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words):
            pass

        def do_GET(self):
            self.answer(200, script.models)

        def do_POST(self):
            data = self.rfile.read(int(self.headers["content-length"]))
            script.asked.append((self.path, json.loads(data), dict(self.headers)))
            if script.lines is None or script.status != 200:
                self.answer(script.status, script.body)
            else:
                self.stream()

        def answer(self, status, body):
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            for name, value in script.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def stream(self):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            self.close_connection = True
            try:
                for number, line in enumerate(script.lines, 1):
                    if number == len(script.lines):
                        self.wait()
                    self.wfile.write(line)
                    self.wfile.flush()
            except OSError:
                script.gone.set()

        def wait(self):
            """Until the test lets go; meanwhile comments are sent, which fail once nobody reads."""
            while not script.hold.wait(0.01):
                self.wfile.write(b": wait\n\n")
                self.wfile.flush()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield script, f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        script.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()
