"""What comes in with a call of a task: texts, pictures, sounds; and what libraries say of them.

Rules it keeps:
 * an input of another kind is `UsageError` with what is expected;
 * a text that the model has no room for is `ContextError` before the model sees it;
 * an error of a library about the input is `UsageError`, one about memory `NoMemoryError`; an error
   of the device itself stays what it is, and ends the worker.

>>> texts(TaskRequest("fill-mask", "one"))
['one']
>>> content(TaskRequest("image-classification", "aGVsbG8="))
b'hello'
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from transformers.pipelines.base import PipelineException

from p2phub.errors import ContextError, NoMemoryError, UsageError
from p2phub.inference.requests import TaskRequest
from p2phub.inference.worker.tasks_model import first_line

MAX_TEXTS: Final = 1024
"""Texts of one request."""
MAX_TEXT: Final = 4_000_000
"""Characters of one text: beyond that it is not even cut into tokens."""


def texts(request: TaskRequest) -> list[str]:
    """The text or the list of texts of a request. Raises `UsageError`, `ContextError`."""
    return checked_texts(
        [request.inputs] if isinstance(request.inputs, str) else request.inputs, request.task
    )


def checked_texts(found: Any, task: str) -> list[str]:
    """A list of texts. Raises `UsageError`, `ContextError`."""
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise UsageError(f"inputs of {task} must be a text, or a list of texts")
    if not 1 <= len(found) <= MAX_TEXTS:
        raise UsageError(f"inputs must be 1 to {MAX_TEXTS} texts, not {len(found)}")
    longest = max(len(each) for each in found)
    if longest > MAX_TEXT:
        raise ContextError(f"a text has {longest} characters; at most {MAX_TEXT} are taken")
    return found


def one_text(request: TaskRequest) -> str:
    """The one text of a request that is not empty. Raises `UsageError`, `ContextError`."""
    if not isinstance(request.inputs, str) or not request.inputs.strip():
        raise UsageError(f"inputs of {request.task} must be a text that is not empty")
    return texts(request)[0]


def content(request: TaskRequest) -> bytes:
    """The bytes of a picture or a sound: as they are, or as base64. Raises `UsageError`."""
    if request.data:
        return request.data
    if not isinstance(request.inputs, str) or not request.inputs:
        raise UsageError(f"{request.task} needs the bytes of a file, or inputs with their base64")
    text = request.inputs
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError("inputs are not base64 of a file") from error


def check_lengths(tokenizer: Any, limit: int, found: Sequence[str], room: int = 0) -> None:
    """Raise `ContextError` if a text and `room` more tokens are too many."""
    if not limit:
        return
    for tokens in tokenizer(list(found), truncation=False, verbose=False)["input_ids"]:
        if len(tokens) + room > limit:
            raise ContextError(
                f"a text has {len(tokens) + room} tokens; this model takes {limit}",
                remedy="send shorter texts",
            )


@contextmanager
def library_errors(task: str, device: str) -> Iterator[None]:
    """The door to transformers: its errors about an input become ours."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise NoMemoryError(
            f"{device} has not enough memory for this request", remedy="send less at once"
        ) from error
    except (ValueError, TypeError, KeyError, IndexError, PipelineException) as error:
        raise UsageError(f"{task} cannot work with this input: {first_line(error)}") from error
    except RuntimeError as error:
        if device != "cpu":
            raise
        if "allocate memory" in str(error):
            raise NoMemoryError("this machine has not enough memory for this request") from error
        raise UsageError(f"{task} cannot work with this input: {first_line(error)}") from error


def plain(value: Any) -> Any:
    """The same as JSON can hold it: numbers of numpy and torch become Python's."""
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.item() if hasattr(value, "item") else value
