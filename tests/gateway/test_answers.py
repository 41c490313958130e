"""The end of a stream, in virtual time."""

import json

import trio

from p2phub.gateway.answers import Stream
from p2phub.node.events import FileDone


async def last_line(work, stopping: trio.Event, hold: trio.Event | None = None) -> dict:
    lines: list[bytes] = []

    async def send(message) -> None:
        body = message.get("body", b"")
        if hold is not None and b'"file"' in body:
            await hold.wait()
        await trio.lowlevel.checkpoint()
        lines.extend(body.splitlines())

    with trio.fail_after(60):
        await Stream(work, stopping)({}, trio.sleep_forever, send)
    return json.loads(lines[-1])


async def test_a_node_that_stops_while_the_last_lines_go_out_does_not_unsay_what_is_done(
    autojump_clock,
):
    stopping = trio.Event()

    async def work(report):
        report(FileDone("model.safetensors", 5))
        stopping.set()
        return {"ref": "lab/minilm"}

    answer = await last_line(work, stopping, hold=trio.Event())
    assert answer == {"event": "done", "ref": "lab/minilm"}


async def test_work_that_is_under_way_when_the_node_stops_is_told_so(autojump_clock):
    stopping = trio.Event()

    async def work(report):
        stopping.set()
        await trio.sleep_forever()

    assert (await last_line(work, stopping))["error"]["exit"] == 7
