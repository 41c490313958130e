"""`POST /v1/chat/completions`: a request read into what an engine is asked, and its choices.

>>> asked = chat_of(Fields({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}))
>>> asked.sampling.max_tokens, asked.choices, asked.stream
(5, 1, False)
"""

from typing import Final

from p2phub.gateway.inference_body import Fields
from p2phub.gateway.inference_texts import Said
from p2phub.gateway.openai_chunks import ChatChunks, chat_logprobs
from p2phub.gateway.openai_generation import Asked, Form
from p2phub.gateway.openai_messages import messages_of, tool_choice_of, tools_of
from p2phub.gateway.openai_sampling import choices_of, sampling_of, schema_of
from p2phub.inference.requests import Chat, Json


def _choice(asked: Asked, said: Said) -> dict[str, Json]:
    calls = asked.calls(said.tool_calls)
    message: dict[str, Json] = {
        "role": "assistant",
        "content": said.text if said.text or not calls else None,
        "refusal": None,
    }
    if calls:
        message["tool_calls"] = list(calls)
    logprobs = None if asked.sampling.logprobs is None else chat_logprobs(said.tokens)
    return {"message": message, "logprobs": logprobs, "finish_reason": said.finished.reason}


CHAT: Final = Form("chatcmpl-", "chat.completion", ChatChunks, _choice)


def chat_of(fields: Fields, model: str | None = None) -> Asked:
    """What the client wants; `model` where the path names it. Raises `ParameterError`."""
    options = fields.part("stream_options")
    tools = tools_of(fields)
    arguments = fields.part("chat_template_kwargs")
    chat = Chat(
        messages_of(fields),
        tools,
        tool_choice_of(fields, tools),
        dict(arguments.data) if arguments else {},
    )
    most = fields.whole("max_completion_tokens", 1)
    sampling = sampling_of(
        fields,
        max_tokens=fields.whole("max_tokens") if most is None else most,
        logprobs=_logprobs(fields),
        schema=schema_of(fields),
    )
    return Asked(
        CHAT,
        (fields.text("model") or "") if model is None else model,
        (chat,),
        sampling,
        choices_of(fields),
        stream=fields.truth("stream"),
        usage=options.truth("include_usage") if options else False,
        one_call=not fields.truth("parallel_tool_calls", otherwise=True),
    )


def _logprobs(fields: Fields) -> int | None:
    most = fields.whole("top_logprobs")
    if fields.truth("logprobs"):
        return most or 0
    if most is not None and most > 0:
        raise fields.wrong("top_logprobs", "needs logprobs to be true")
    return None
