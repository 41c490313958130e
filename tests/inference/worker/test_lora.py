"""Adapters on a tiny Llama: side by side in one batch, and against what PEFT makes of them."""

import threading

import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
import torch
from safetensors.torch import save_file

from p2phub.errors import EngineError, MalformedError, NoMemoryError, UnsupportedError
from p2phub.inference.requests import Generate, Sampling
from tests.inference.worker.lora_files import PREFIX, adapter_files, named, tensors_of
from tests.inference.worker.test_text_backend import start
from tests.inference.worker.tiny_text import WORDS, Heard, make_model

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"
)
Q = f"{PREFIX}model.layers.0.self_attn.q_proj.lora_"
SMALL = {"target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
LARGE = {
    "target_modules": ALL,
    "r": 8,
    "use_rslora": True,
    "rank_pattern": {"down_proj": 2},
    "alpha_pattern": {"model.layers.1.self_attn.q_proj": 4, "down_proj": 2},
}
PAGES = (3 * " the cat sat on the mat and a dog ran far away" * 3).strip()


@pytest.fixture(scope="module", params=["batch", "alone"])
def either(request, tmp_path_factory):
    torch.set_num_threads(1)
    made = start(tmp_path_factory.mktemp("base"), alone=request.param == "alone")
    yield made
    made.close()


@pytest.fixture(scope="module")
def batching(tmp_path_factory):
    torch.set_num_threads(1)
    made = start(tmp_path_factory.mktemp("base"))
    yield made
    made.close()


@pytest.fixture
def backend(either):
    yield either
    without_adapters(either)


@pytest.fixture
def batch(batching):
    yield batching
    without_adapters(batching)


def without_adapters(backend):
    for each in tuple(backend._adapters._attached):
        backend.detach(each)


def small(model, where, seed=1):
    return adapter_files(where, tensors_of(model, seed=seed), **SMALL)


def large(model, where):
    most = tensors_of(model, [each for each in ALL if each != "down_proj"], rank=8, seed=2)
    return adapter_files(where, most | tensors_of(model, ["down_proj"], rank=2, seed=3), **LARGE)


def begin(backend, prompt, adapter="", act=None, **sampling):
    heard = Heard(act)
    options = {"max_tokens": 24, "temperature": 0} | sampling
    stop = backend.generate(Generate(prompt, Sampling(**options), adapter), heard)
    return heard, stop


def answer(backend, prompt, adapter="", **sampling):
    return begin(backend, prompt, adapter, **sampling)[0].wait()


def by_peft(backend, files):
    """The greedy answers to `WORDS` of a model with that adapter; None: of the model alone."""
    peft = pytest.importorskip("peft", reason="the reference for adapters: pip install peft")
    tokenizer = backend._loaded.tokenizer
    model = make_model(len(tokenizer))
    if files is not None:
        save_file(files.tensors, files.folder() / "adapter_model.safetensors")
        model = peft.PeftModel.from_pretrained(model, files.folder()).eval()
    said = []
    for words in WORDS:
        ids = torch.tensor([tokenizer(words).input_ids])
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=24,
            do_sample=False,
            eos_token_id=1,
            pad_token_id=1,
        )
        said.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    return said


def test_two_adapters_and_none_in_one_batch_are_what_peft_makes_of_each(backend, tmp_path):
    model = backend._loaded.model
    files = {"": None, "a": small(model, tmp_path / "a"), "b": large(model, tmp_path / "b")}
    wanted = {name: by_peft(backend, each) for name, each in files.items()}
    plain = [answer(backend, words).text for words in WORDS]
    for name in "ab":
        backend.attach(named(name), files[name])
    asked = [(name, at) for _ in range(3) for at in range(3) for name in files]
    heard = [begin(backend, WORDS[at], name)[0] for name, at in asked]
    for (name, at), each in zip(asked, heard, strict=True):
        assert each.wait().text == wanted[name][at]
    assert plain == wanted[""]
    assert len({wanted[name][0] for name in files}) == 3


def test_pages_of_the_cache_are_shared_by_one_adapter_only(batch, tmp_path):
    model = batch._loaded.model
    for name, seed in (("a", 1), ("b", 2)):
        batch.attach(named(name), small(model, tmp_path / name, seed))
    fresh = {}
    for name in ("", "a", "b"):
        first = answer(batch, PAGES, name)
        assert first.end.cached_tokens == 0
        again = answer(batch, PAGES, name)
        assert again.end.cached_tokens >= 32
        assert again.text == first.text
        fresh[name] = first.text
    assert len(set(fresh.values())) == 3
    for name in ("b", "", "a"):
        assert answer(batch, PAGES, name).text == fresh[name]


def test_a_new_release_by_the_same_name_shares_no_page_with_the_old_one(batch, tmp_path):
    model = batch._loaded.model
    batch.attach(named("a", "11"), small(model, tmp_path / "1", 1))
    old = answer(batch, PAGES, "a").text
    batch.attach(named("a", "22"), small(model, tmp_path / "2", 2))
    new = answer(batch, PAGES, "a")
    assert (new.end.cached_tokens, new.text == old) == (0, False)
    assert answer(batch, PAGES, "11").text == old
    assert answer(batch, PAGES, "22").text == new.text
    assert batch.info.adapters == ("a",)
    batch.detach("11")
    assert answer(batch, PAGES, "a").text == new.text


def test_adapters_are_told_with_their_memory_and_leave_the_model_as_it_was(backend, tmp_path):
    before = backend.info
    plain = answer(backend, WORDS[0]).text
    files = small(backend._loaded.model, tmp_path / "a")
    size = sum(each.nbytes for each in files.tensors.values())
    told = backend.attach(named("a"), files)
    assert told == backend.attach(named("a"), files) == backend.info
    assert (told.adapters, told.weight_bytes) == (("a",), before.weight_bytes + size)
    assert backend.detach("a") == backend.detach("a") == before
    assert all("forward" not in vars(each) for each in backend._loaded.model.modules())
    assert answer(backend, WORDS[0]).text == plain
    gone, _ = begin(backend, WORDS[0], "a")
    assert isinstance(gone.error, UnsupportedError)


def test_answers_of_an_adapter_that_is_taken_away_end_and_the_others_go_on(backend, tmp_path):
    backend.attach(named("a", "11"), small(backend._loaded.model, tmp_path / "a"))
    begun = threading.Event()
    endless = {"max_tokens": 200, "logit_bias": {1: -100.0}}
    using = [begin(backend, WORDS[at], "a", lambda _: begun.set(), **endless)[0] for at in range(3)]
    other, _ = begin(backend, WORDS[0], **endless)
    assert begun.wait(30)
    backend.detach("11")
    for each in using:
        assert each.over.wait(10)
        assert isinstance(each.error, EngineError)
        assert each.ends == 1
    assert other.wait().end.completion_tokens == 200


@pytest.mark.parametrize("huge", [float("inf"), float("nan"), 3e38])
def test_an_adapter_of_impossible_numbers_harms_nobody_else(batch, tmp_path, huge):
    model = batch._loaded.model
    plain = [answer(batch, words).text for words in WORDS]
    tensors = {key: each.fill_(huge) for key, each in tensors_of(model, ALL).items()}
    batch.attach(named("bad"), adapter_files(tmp_path / "bad", tensors))
    using = [begin(batch, words, "bad", temperature=1.0, seed=1)[0] for words in WORDS]
    heard = [begin(batch, words)[0] for words in WORDS]
    assert [each.wait().text for each in heard] == plain
    assert all(each.wait().end for each in using)


def test_an_adapter_for_which_the_device_has_no_room_costs_that_one(batch, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    files = small(batch._loaded.model, tmp_path / "a")
    monkeypatch.setattr(files, "state_dict", full)
    with pytest.raises(NoMemoryError, match="no room for a"):
        batch.attach(named("a"), files)


def test_requests_go_on_while_adapters_come_and_go(batch, tmp_path):
    model = batch._loaded.model
    plain = answer(batch, WORDS[1], max_tokens=150, logit_bias={1: -100.0}).text
    heard = [begin(batch, WORDS[1], max_tokens=150, logit_bias={1: -100.0})[0] for _ in range(4)]
    files = small(model, tmp_path / "a")
    for at in range(20):
        batch.attach(named("a", str(at)), files)
        batch.detach(str(at))
    assert [each.wait().text for each in heard] == [plain] * 4


@pytest.mark.parametrize(
    ("change", "said", "kind", "words"),
    [
        (lambda t: t | {f"{Q}A.weight": torch.zeros(4, 63)}, {}, MalformedError, "lora_A.*4×63"),
        (lambda t: t | {f"{Q}B.weight": torch.zeros(64, 5)}, {}, MalformedError, "lora_B.*64×5"),
        (lambda t: t | {f"{Q}A.weight": torch.zeros(256)}, {}, MalformedError, "lora_A of"),
        (lambda t: t | {f"{Q}A.weight": torch.zeros(4, 64).int()}, {}, MalformedError, "int32"),
        (lambda t: t | {f"{Q}A.weight": torch.zeros(4, 64, dtype=torch.float8_e4m3fn)}, {},
         MalformedError, "float8"),
        (lambda t: {k: v for k, v in t.items() if k != f"{Q}B.weight"}, {}, MalformedError,
         "lora_B of model.layers.0.self_attn.q_proj .* is missing"),
        (lambda t: t | {f"{Q}A.default.weight": t[f"{Q}A.weight"]}, {}, MalformedError, "twice"),
        (lambda t: t | {f"{PREFIX}model.layers.9.q.lora_A.weight": torch.zeros(1)}, {},
         MalformedError, r"layers\.9\.q.* does not have"),
        (lambda t: {}, {}, MalformedError, "no tensors"),
        (lambda t: t, {"r": 5}, MalformedError, "rank 4"),
        (lambda t: t, {"use_dora": True}, UnsupportedError, "use_dora"),
        (lambda t: t | {f"{Q}magnitude_vector": torch.zeros(64)}, {}, UnsupportedError,
         "magnitude"),
        (lambda t: t | {f"{PREFIX}model.norm.lora_A.weight": torch.zeros(1)}, {},
         UnsupportedError, "LlamaRMSNorm"),
        (lambda t: t | {f"{PREFIX}lm_head.weight": torch.zeros(300, 64)}, {}, UnsupportedError,
         "lm_head"),
        (lambda t: t | {f"{PREFIX}model.nowhere.weight": torch.zeros(3)}, {}, UnsupportedError,
         "nowhere"),
    ],
)  # fmt: skip
def test_a_wrong_adapter_is_refused_whole(batch, tmp_path, change, said, kind, words):
    tensors = change(tensors_of(batch._loaded.model))
    with pytest.raises(kind, match=words):
        batch.attach(named("a"), adapter_files(tmp_path / "a", tensors, **said))
    assert batch.info.adapters == ()
    assert all("forward" not in vars(each) for each in batch._loaded.model.modules())


def test_a_compiled_model_refuses_adapters_it_would_not_see(batch, tmp_path, monkeypatch):
    model = batch._loaded.model
    files = small(model, tmp_path / "a")
    monkeypatch.setattr(model.model.layers[0], "_compiled_call_impl", print)
    with pytest.raises(UnsupportedError, match="compiled"):
        batch.attach(named("a"), files)


def test_an_adapter_without_its_configuration_is_malformed(batch, tmp_path):
    files = small(batch._loaded.model, tmp_path / "a")
    (tmp_path / "a" / "adapter_config.json").unlink()
    with pytest.raises(MalformedError, match="adapter_config"):
        batch.attach(named("a"), files)


def test_other_spellings_and_weights_of_the_base_that_peft_saved_are_read(batch, tmp_path):
    model = batch._loaded.model
    plain = tensors_of(model)
    batch.attach(named("a"), adapter_files(tmp_path / "a", plain))
    spelled = {key.replace(".weight", ".default.weight"): each for key, each in plain.items()}
    spelled[f"{PREFIX}lm_head.base_layer.weight"] = model.lm_head.weight.detach()
    batch.attach(named("b"), adapter_files(tmp_path / "b", spelled))
    assert answer(batch, WORDS[0], "a").text == answer(batch, WORDS[0], "b").text


def test_a_table_of_embeddings_is_changed_as_by_peft(batch, tmp_path):
    model = batch._loaded.model
    key = f"{PREFIX}model.embed_tokens.lora_embedding_"
    torch.manual_seed(4)
    width = model.model.embed_tokens.num_embeddings
    tensors = {f"{key}A": torch.randn(4, width), f"{key}B": torch.randn(64, 4)}
    files = adapter_files(tmp_path / "a", tensors, target_modules=["embed_tokens"])
    batch.attach(named("a"), files)
    assert [answer(batch, words, "a").text for words in WORDS] == by_peft(batch, files)
