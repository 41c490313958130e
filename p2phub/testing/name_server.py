"""A name server on this machine, over UDP and TCP: an honest one, and one function a way to lie.

`NameServer` answers for the TXT records it is given; `answer` decides what becomes of a question.

>>> with NameServer({"_p2phub.lab.example": ["p2phub=x"]}) as server:
...     server.port > 0
True
"""

import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

Answer = Callable[["NameServer", dns.message.Message], bytes | None]
TIME_TO_LIVE = 60
"""Seconds that an answer may be kept."""
LONGEST = 1200
"""Bytes of an answer over UDP."""


class NameServer:
    """Serves TXT records by name, on one free port of 127.0.0.1 over UDP and TCP."""

    def __init__(self, texts: Mapping[str, Sequence[str]], answer: Answer | None = None) -> None:
        self.texts, self.answer = dict(texts), answer or honest
        self.asked: list[str] = []

    @property
    def port(self) -> int:
        port: int = self._udp.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self._tcp.getsockname()[1]))
        self._threads = [
            threading.Thread(target=each) for each in (self._serve_udp, self._serve_tcp)
        ]
        self._stopping = False
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping, where = True, ("127.0.0.1", self.port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knock:
            knock.sendto(b"", where)
        with socket.create_connection(where):
            pass
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while True:
            data, where = self._udp.recvfrom(65535)
            if self._stopping:
                return
            told = self._told(data)
            if told is not None:
                self._udp.sendto(told if len(told) <= LONGEST else truncated(data), where)

    def _serve_tcp(self) -> None:
        while True:
            connection, _ = self._tcp.accept()
            with connection:
                if self._stopping:
                    return
                connection.settimeout(5)
                try:
                    length = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))[0]
                    told = self._told(connection.recv(length, socket.MSG_WAITALL))
                    if told is not None:
                        connection.sendall(struct.pack("!H", len(told)) + told)
                except (OSError, struct.error):
                    continue  # the other side has had enough

    def _told(self, data: bytes) -> bytes | None:
        question = dns.message.from_wire(data)
        self.asked.append(question.question[0].name.to_text(omit_final_dot=True))
        return self.answer(self, question)


def truncated(data: bytes) -> bytes:
    """The answer over UDP to a question whose answer is too long: ask again over TCP."""
    answer = dns.message.make_response(dns.message.from_wire(data), recursion_available=True)
    answer.flags |= dns.flags.TC
    return answer.to_wire()


# ---------------------------------------------------------------- answers


def honest(server: NameServer, question: dns.message.Message) -> bytes:
    """What a name server of that domain would say."""
    answer = dns.message.make_response(question, recursion_available=True)
    name = question.question[0].name
    texts = server.texts.get(name.to_text(omit_final_dot=True))
    if texts is None:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    elif texts:
        quoted = [f'"{text}"' for text in texts]
        answer.answer.append(dns.rrset.from_text_list(name, TIME_TO_LIVE, "IN", "TXT", quoted))
    return answer.to_wire(max_size=65535)


def failing(server: NameServer, question: dns.message.Message) -> bytes:
    """Says that it cannot find out, as for a domain whose signatures are wrong."""
    answer = dns.message.make_response(question)
    answer.set_rcode(dns.rcode.SERVFAIL)
    return answer.to_wire()


def silent(server: NameServer, question: dns.message.Message) -> None:
    """Says nothing."""


def nonsense(server: NameServer, question: dns.message.Message) -> bytes:
    """Answers with the right number and no message."""
    return struct.pack("!H", question.id) + b"\xff" * 40


def looping(server: NameServer, question: dns.message.Message) -> bytes:
    """Every name is another name for another, and the last for the first."""
    answer = dns.message.make_response(question, recursion_available=True)
    asked = question.question[0].name.to_text()
    names = [asked, *(f"a{number}.loop.example." for number in range(20)), asked]
    for name, target in pairwise(names):
        answer.answer.append(dns.rrset.from_text(name, TIME_TO_LIVE, "IN", "CNAME", target))
    return answer.to_wire(max_size=65535)
