"""The answer of the Responses API as it grows: its items, and the events that tell of each step.

Every event has a name, which is also its `type`, and a number one higher than the one before.

>>> answer = GrowingResponse({"id": "resp_1"})
>>> events = answer.begin() + answer.piece(Piece("Hi")) + answer.end(Finished("stop", 1, 1), {})
>>> [line for line in events.decode().split() if line.startswith("response.")][2]
'response.output_item.added'
>>> answer.response["status"], answer.response["output"][0]["content"][0]["text"]
('completed', 'Hi')
"""

from typing import Final

from p2phub.gateway.openai_chunks import chat_logprobs, compact, new_id, quoted
from p2phub.inference.requests import Chosen, Finished, Json, Piece

TEXT_PART: Final = "output_text"
DELTA: Final = "response.output_text.delta"


def named_event(name: str, content: Json) -> bytes:
    """One event, with its name."""
    return f"event: {name}\ndata: {compact(content)}\n\n".encode()


def _log(tokens: tuple[Chosen, ...]) -> list[Json]:
    listed: list[Json] = chat_logprobs(tokens)["content"]
    return listed


class GrowingResponse:
    """One answer from its first event to its last."""

    def __init__(self, fields: dict[str, Json]) -> None:
        self.response = fields | {"status": "in_progress", "output": []}
        self._number = 0
        self._message: dict[str, Json] | None = None
        """The item whose text still grows."""
        self._texts: list[str] = []
        self._tokens: list[Json] = []
        self._fronts: tuple[str, str] = ("", "")
        """What stands around the number of an event that carries text."""

    @property
    def _items(self) -> list[Json]:
        items: list[Json] = self.response["output"]
        return items

    def _event(self, step: str, **content: Json) -> bytes:
        kind = f"response.{step}"
        event = named_event(kind, {"type": kind, "sequence_number": self._number, **content})
        self._number += 1
        return event

    def begin(self) -> bytes:
        """The events before the first piece."""
        told = self.response | {"output": []}
        return self._event("created", response=told) + self._event("in_progress", response=told)

    def piece(self, piece: Piece) -> bytes:
        """The events for a piece."""
        events = b""
        if piece.text or piece.tokens:
            if self._message is None:
                events += self._open_message()
            events += self._delta(piece)
        for call in piece.tool_calls:
            events += self._close_message() + self._call(call)
        return events

    def _open_message(self) -> bytes:
        item: dict[str, Json] = {
            "id": new_id("msg_"),
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }
        self._message, self._texts, self._tokens = item, [], []
        index = len(self._items)
        self._fronts = (
            f'event: {DELTA}\ndata: {{"type":"{DELTA}","sequence_number":',
            f',"item_id":"{item["id"]}","output_index":{index},"content_index":0,"delta":',
        )
        part = {"type": TEXT_PART, "text": "", "annotations": [], "logprobs": []}
        where = {"item_id": item["id"], "output_index": index, "content_index": 0}
        return self._event("output_item.added", output_index=index, item=dict(item)) + self._event(
            "content_part.added", **where, part=part
        )

    def _delta(self, piece: Piece) -> bytes:
        self._texts.append(piece.text)
        logprobs = "[]"
        if piece.tokens:
            told = _log(piece.tokens)
            self._tokens += told
            logprobs = compact(told)
        front, middle = self._fronts
        said = f'{self._number}{middle}{quoted(piece.text)},"logprobs":{logprobs}'
        self._number += 1
        return f"{front}{said}}}\n\n".encode()

    def _close_message(self, status: str = "completed") -> bytes:
        item, index = self._message, len(self._items)
        if item is None:
            return b""
        self._message = None
        text, where = "".join(self._texts), {"item_id": item["id"], "output_index": index}
        part = {
            "type": TEXT_PART,
            "text": text,
            "annotations": [],
            "logprobs": self._tokens,
        }
        item |= {"status": status, "content": [part]}
        self._items.append(item)
        logprobs = self._tokens
        return (
            self._event("output_text.done", **where, content_index=0, text=text, logprobs=logprobs)
            + self._event("content_part.done", **where, content_index=0, part=part)
            + self._event("output_item.done", output_index=index, item=item)
        )

    def _call(self, call: Json) -> bytes:
        function, index = call["function"], len(self._items)
        item = {
            "id": new_id("fc_"),
            "type": "function_call",
            "call_id": call["id"],
            "name": function["name"],
            "arguments": "",
            "status": "in_progress",
        }
        whole = item | {"arguments": function["arguments"], "status": "completed"}
        self._items.append(whole)
        where = {"item_id": item["id"], "output_index": index}
        said = function["arguments"]
        return (
            self._event("output_item.added", output_index=index, item=item)
            + self._event("function_call_arguments.delta", **where, delta=said)
            + self._event(
                "function_call_arguments.done", **where, name=item["name"], arguments=said
            )
            + self._event("output_item.done", output_index=index, item=whole)
        )

    def end(self, end: Finished, more: dict[str, Json]) -> bytes:
        """The last events; the whole answer is `response` then."""
        cut = end.reason == "length"
        status = "incomplete" if cut else "completed"
        events = b"" if self._message or self._items else self._open_message()
        events += self._close_message(status)
        self.response |= more | {
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "usage": _usage(end),
        }
        return events + self._event(status, response=self.response)

    def turn(self) -> Json:
        """What the model said, as a turn of the conversation."""
        texts = [
            part["text"]
            for item in self._items
            if item["type"] == "message"
            for part in item["content"]
        ]
        calls = [
            {
                "id": item["call_id"],
                "type": "function",
                "function": {"name": item["name"], "arguments": item["arguments"]},
            }
            for item in self._items
            if item["type"] == "function_call"
        ]
        said: dict[str, Json] = {"role": "assistant", "content": "".join(texts) or None}
        if not calls:
            return said | {"content": "".join(texts)}
        return said | {"tool_calls": calls}


def _usage(end: Finished) -> Json:
    return {
        "input_tokens": end.prompt_tokens,
        "input_tokens_details": {"cached_tokens": end.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": end.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": end.prompt_tokens + end.completion_tokens,
    }
