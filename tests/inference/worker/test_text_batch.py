import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")

from p2phub.errors import EngineError, NoMemoryError
from p2phub.inference.spec import RunOptions
from p2phub.inference.worker.text_batch import CPU_CACHE, _failure, room, token_bytes
from tests.inference.worker.tiny_text import make_model

KB = 1024


def test_the_cache_holds_one_whole_context_for_each_slot_and_no_more():
    made = room(RunOptions(), 256, KB, gpu=False)
    assert (made.context, made.slots, made.pages) == (256, 8, 8 * 8)
    assert made.cache_bytes == made.pages * made.page * KB


def test_a_context_that_memory_has_no_room_for_is_cut():
    made = room(RunOptions(), 1 << 20, 64 * KB, gpu=False)
    assert made.cache_bytes <= CPU_CACHE
    assert made.context == made.pages * made.page == CPU_CACHE // (64 * KB)
    asked = room(RunOptions(cache_bytes=10 * 32 * KB), 1000, KB, gpu=False)
    assert (asked.pages, asked.context) == (10, 320)


def test_what_was_asked_for_counts_but_never_beyond_the_model():
    assert room(RunOptions(context=100, slots=3), 256, KB, gpu=False).context == 100
    assert room(RunOptions(context=100, slots=3), 256, KB, gpu=False).slots == 3
    assert room(RunOptions(context=9999), 256, KB, gpu=False).context == 256
    assert room(RunOptions(slots=2000), 256, KB, gpu=False).step_tokens >= 2000


def test_a_gpu_takes_what_is_free_unless_it_was_told():
    free = room(RunOptions(), 4096, KB, gpu=True)
    assert (free.pages, free.step_tokens, free.slots) == (None, None, 128)
    assert room(RunOptions(cache_bytes=1 << 20), 4096, KB, gpu=True).pages == 32


def test_bytes_of_a_token_are_those_of_all_layers_keys_and_values():
    assert token_bytes(make_model(300).config, 4) == 2 * 2 * 2 * 16 * 4


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("CUDA out of memory. Tried to allocate", NoMemoryError, "memory"),
        ("Generation loop finished before this request completed w/ 2", EngineError, "unloaded"),
        ("index 7 is out of range", EngineError, "index 7"),
    ],
)
def test_what_broke_a_step_is_told_for_what_it_is(said, kind, words):
    error = _failure(said)
    assert type(error) is kind
    assert words in error.message
