"""Conversations with pictures, for models that see: LLaVA, Qwen-VL, Idefics and their like.

The processor of the release makes of a conversation the tokens, with room for each picture, and
the pixels. Such models answer one request after the other (`text_alone`).

Rules it keeps:
 * a picture comes with the request, as a `data:` URL: nothing is fetched for a stranger;
 * how many pictures and pixels there are is known before any are unpacked;
 * a processor that cannot be loaded here costs the pictures, and not the texts: who sends a
   picture is told why.

>>> decoded("data:image/png;base64,aGVsbG8=")
b'hello'
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
import transformers

from p2phub.errors import UnsupportedError, UsageError
from p2phub.inference.requests import Chat, Json
from p2phub.inference.worker.chat import PICTURE, plain, template_arguments
from p2phub.inference.worker.images import MAX_PIXELS, read_image

MAX_PICTURES: Final = 16
"""Pictures of one conversation."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model is given for a conversation."""

    tokens: list[int]
    inputs: Mapping[str, Any]
    """The pixels, and what else the processor says of them."""


class Pictures:
    """What makes the conversations of one model ready, pictures and all.

    A `tokenizer` without a chat template gets that of the processor.
    """

    def __init__(self, folder: Path, tokenizer: Any, *, allow_remote_code: bool = False) -> None:
        self._processor: Any = None
        self._why = ""
        try:
            found = transformers.AutoProcessor.from_pretrained(
                folder, trust_remote_code=allow_remote_code, local_files_only=True
            )
            if hasattr(found, "image_processor"):
                self._processor = found
            else:
                self._why = "the release says nothing of how they are made ready"
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
            self._why = str(error).strip().partition("\n")[0][:300]
        told = getattr(self._processor, "chat_template", None)
        tokenizer.chat_template = tokenizer.chat_template or told

    @property
    def ready(self) -> bool:
        """Whether the processor of the release could be loaded."""
        return self._processor is not None

    def see(self, chat: Chat) -> Seen:
        """The tokens and pixels of a conversation. Raises `UsageError`, `UnsupportedError`."""
        if self._processor is None:
            raise UnsupportedError(
                f"the pictures of this model cannot be made ready here: {self._why}",
                remedy="install what is missing, or send text alone",
            )
        pictures: list[Any] = []
        messages = [_with_parts(each, pictures) for each in plain(chat.messages, pictures=True)]
        try:
            text = self._processor.apply_chat_template(
                messages,
                add_generation_prompt=True,
                tokenize=False,
                tools=None if chat.tool_choice == "none" else list(chat.tools) or None,
                **template_arguments(chat),
            )
            seen = {"images": pictures} if pictures else {}
            made = self._processor(text=[text], **seen, return_tensors="pt")
        except (
            jinja2.TemplateError, ValueError, TypeError, KeyError, IndexError, StopIteration
        ) as error:  # fmt: skip
            raise UsageError(
                f"the processor of this model refuses this conversation: {error}",
                remedy="check the roles and the pictures",
            ) from error
        tokens = made.pop("input_ids")[0].tolist()
        made.pop("attention_mask", None)
        return Seen(tokens, dict(made))


def has_pictures(chat: Chat) -> bool:
    """Whether a conversation has a part that is a picture."""
    return any(
        isinstance(part, dict) and part.get("type") == PICTURE
        for message in chat.messages
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        for part in message["content"]
    )


def decoded(url: str) -> bytes:
    """The bytes in a `data:` URL. Raises `UsageError`."""
    head, comma, body = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise UsageError(
            "a picture must be a data: URL with base64",
            remedy="send its bytes with the request; nothing is fetched from other addresses",
        )
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError("the base64 of a picture cannot be read") from error


def _with_parts(message: dict[str, Any], pictures: list[Any]) -> dict[str, Any]:
    """The message with its content in parts; its pictures are added to `pictures`."""
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return {**message, "content": [_part(each, pictures) for each in parts]}


def _part(part: Json, pictures: list[Any]) -> Json:
    if part["type"] != PICTURE:
        return part
    if len(pictures) == MAX_PICTURES:
        raise UsageError(f"a conversation may have {MAX_PICTURES} pictures at most")
    picture = read_image(decoded(part[PICTURE]["url"]))
    pictures.append(picture)
    if sum(each.width * each.height for each in pictures) > MAX_PIXELS:
        raise UsageError(
            f"the pictures have more than {MAX_PIXELS} pixels together", remedy="send them smaller"
        )
    return {"type": "image"}
