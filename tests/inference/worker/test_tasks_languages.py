"""A model of many languages translates into the one that was asked for, or says that it cannot."""

import pytest
import torch
import transformers

from p2phub.errors import UsageError
from p2phub.inference.requests import TaskRequest
from p2phub.inference.worker.tasks import load
from p2phub.inference.worker.tasks_languages import Languages
from tests.inference.worker import task_models as models
from tests.inference.worker.tiny_models import source

MANY = {
    models.nllb: ("eng_Latn", "fra_Latn"),
    models.mbart: ("en_XX", "fr_XX"),
    models.m2m100: ("en", "fr"),
}
TEXT = "the cat"
FEW = {"max_new_tokens": 6}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A function: the folder of a model, itself, and what asks it."""
    known = {}

    def make(maker):
        if maker not in known:
            folder = tmp_path_factory.mktemp(maker.__name__)
            model = maker(folder, "translation")
            from_ = source(folder, "translation", device="cpu")
            known[maker] = folder, model, load(from_.spec, from_.weights, lambda *_: None)
        return known[maker]

    return make


def ask(made, maker, **parameters):
    asked = TaskRequest("translation", TEXT, parameters={**FEW, **parameters})
    return made(maker)[2].run(asked).value[0]["translation_text"]


@pytest.mark.slow
@pytest.mark.parametrize("maker", MANY, ids=lambda each: each.__name__)
@torch.inference_mode()
def test_the_answer_begins_with_the_token_of_its_language(made, maker):
    folder, model, _ = made(maker)
    source_code, target = MANY[maker]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer._build_translation_inputs(
        TEXT, return_tensors="pt", src_lang=source_code, tgt_lang=target
    )
    begin = inputs["forced_bos_token_id"]
    assert begin != tokenizer.unk_token_id
    wanted = model.generate(**inputs, min_new_tokens=4, **FEW)[0]
    assert begin in wanted
    answer = ask(made, maker, src_lang=source_code, tgt_lang=target, min_new_tokens=4)
    assert answer == tokenizer.decode(wanted, skip_special_tokens=True)
    assert answer


@pytest.mark.parametrize("maker", [models.nllb], ids=lambda each: each.__name__)
def test_a_language_that_is_not_known_is_named_with_those_near(made, maker):
    source_code, target = MANY[maker]
    with pytest.raises(UsageError, match=f"'x{target}' is no language") as caught:
        ask(made, maker, src_lang=source_code, tgt_lang=f"x{target}")
    assert target in caught.value.remedy


def test_a_translation_into_no_language_is_refused(made):
    with pytest.raises(UsageError, match="both src_lang and tgt_lang"):
        ask(made, models.nllb)


def test_what_one_request_says_does_not_hold_for_the_next(made):
    tokenizer = made(models.nllb)[2]._task.tokenizer
    before = tokenizer.src_lang
    ask(made, models.nllb, src_lang="deu_Latn", tgt_lang="fra_Latn")
    asked = TaskRequest("summarization", TEXT, parameters=FEW)
    made(models.nllb)[2].run(asked)
    assert tokenizer.src_lang == before


class _Marked:
    """A tokenizer of one source and two targets."""

    source_lang, target_lang = "en", "roa"

    def __init__(self):
        self.texts = []

    def __call__(self, text, **_):
        self.texts.append(text)

    def get_vocab(self):
        return {">>fra<<": 1, ">>ita<<": 2, "cat": 3}


def test_a_target_is_marked_in_the_text_where_the_tokenizer_has_a_mark_for_it():
    tokenizer = _Marked()
    languages = Languages(tokenizer, None)
    languages.tokens(TEXT, "translation", {"src_lang": "en", "tgt_lang": "fra"}, {})
    languages.tokens(TEXT, "translation", {"tgt_lang": "roa"}, {})
    assert tokenizer.texts == [f">>fra<< {TEXT}", TEXT]
    for wrong in ({"tgt_lang": "deu"}, {"src_lang": "fr"}):
        with pytest.raises(UsageError, match="translates to fra, ita"):
            languages.tokens(TEXT, "translation", wrong, {})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Recommended")
def test_marian_is_told_with_a_mark(made):
    folder, model, _ = made(models.marian)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(f">>fra<< {TEXT}", return_tensors="pt")
    assert tokenizer.unk_token_id not in inputs["input_ids"]
    wanted = tokenizer.decode(model.generate(**inputs, **FEW)[0], skip_special_tokens=True)
    assert ask(made, models.marian, tgt_lang="fra") == wanted
    assert wanted


def test_t5_is_told_in_words_which_pair_is_wanted(made):
    folder, model, _ = made(models.t5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(f"where is {TEXT}", return_tensors="pt")
    inputs.pop("token_type_ids", None)
    wanted = tokenizer.decode(model.generate(**inputs, **FEW)[0], skip_special_tokens=True)
    assert ask(made, models.t5, src_lang="en", tgt_lang="de") == wanted
    with pytest.raises(UsageError, match="no pair") as caught:
        ask(made, models.t5, src_lang="en", tgt_lang="fr")
    assert "en_to_de" in caught.value.remedy
