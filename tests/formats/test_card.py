import pytest

from p2phub.formats import limits
from p2phub.formats.card import card_from_readme
from p2phub.formats.manifest import Card

REAL = """---
language: en
license: apache-2.0
library_name: sentence-transformers
tags:
- sentence-transformers
- feature-extraction
- transformers
datasets:
- s2orc
- flax-sentence-embeddings/stackexchange_xml
pipeline_tag: sentence-similarity
base_model:
  - nreimers/MiniLM-L6-H384-uncased
base_model_relation: finetune
model-index:
- name: x
  results:
  - task: {type: STS}
    metrics: [{type: cos, value: 0.5}]
widget:
  - source_sentence: "---"
---

# all-MiniLM-L6-v2
---
license: not this one
---
"""


def yaml(text):
    return f"---\n{text}\n---\n# Title\n"


def test_a_real_card_is_read_as_hugging_face_reads_it():
    assert card_from_readme(REAL) == (
        Card(
            license="apache-2.0",
            task="sentence-similarity",
            library="sentence-transformers",
            languages=("en",),
            tags=("sentence-transformers", "feature-extraction", "transformers"),
            base=("nreimers/MiniLM-L6-H384-uncased",),
            base_relation="finetune",
            datasets=("s2orc", "flax-sentence-embeddings/stackexchange_xml"),
        ),
        "",
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# Title only",
        "---\n---\n",
        "---\n\n---\n",
        "---\nnull\n---\n",
        "--- \nlicense: mit\n---\n",
        "text\n---\nlicense: mit\n---\n",
        "---\nlicense: mit\n",
        "---\nlicense: mit\n----\n",
        "---\nlicense:\n---\n",
        "---\nlicense: ~\ntags: []\n---\n",
        "---\nother: {license: mit}\n---\n",
        "---\n# a comment\n---\n",
    ],
)
def test_no_card_is_no_warning(text):
    assert card_from_readme(text) == (Card(), "")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_are_read(end):
    text = "---\nlicense: mit\ntags:\n- a\n---\n# x".replace("\n", end)
    assert card_from_readme(text)[0] == Card(license="mit", tags=("a",))


def test_a_byte_order_mark_and_blank_lines_before_it_do_not_hide_a_card():
    assert card_from_readme("\ufeff\n\n---\nlicense: mit\n---")[0].license == "mit"


@pytest.mark.parametrize(
    ("text", "card"),
    [
        ("language: no", Card(languages=("no",))),
        ("language: [en, 'no', \"fr\"]", Card(languages=("en", "no", "fr"))),
        ("tags: one", Card(tags=("one",))),
        (
            "tags: [a, a, 2023, 1.0, true, 2024-01-01]",
            Card(tags=("a", "2023", "1.0", "true", "2024-01-01")),
        ),
        ("tags: [a, [b], {c: d}, null, '']", Card(tags=("a",))),
        ("tags: {a: b}", Card()),
        ("license: 'null'", Card(license="null")),
        ("license: mit\nlicense: gpl", Card(license="gpl")),
        ("license: >\n  apache\n  2.0\n", Card(license="apache 2.0")),
        ("task_categories:\n- summarization", Card(task="summarization")),
        ("task_categories: [a]\npipeline_tag: b", Card(task="b")),
        ("tags: &x [a]", Card(tags=("a",))),
        ("? {a: b}\n: c\nlicense: mit", Card(license="mit")),
        ('tags: ["e\u0301", "é"]', Card(tags=("é",))),
    ],
)
def test_values_are_taken_as_they_are_written(text, card):
    assert card_from_readme(yaml(text)) == (card, "")


@pytest.mark.parametrize(
    "text",
    [
        "license: [mit",
        "license: mit\n  tags: a",
        "- license: mit",
        "just a sentence",
        "a: *x",
        "a: &x [1]\nlicense: mit\nb: *x",
        "\tlicense: mit",
        "license: \x07",
        "license: \ud800",
        "a: " + "[" * 100 + "]" * 100,
        "a: " + "[" * 100_000,
        "%BAD 1\nlicense: mit",
    ],
)
def test_a_broken_card_is_an_empty_card_and_a_warning(text):
    card, warning = card_from_readme(yaml(text))
    assert card == Card()
    assert warning.endswith("nothing of it is used")


def test_a_bomb_of_aliases_is_refused_unexploded():
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    assert "alias" in card_from_readme(yaml("\n".join(lines)))[1]


def test_nothing_in_a_card_is_executed():
    card, _ = card_from_readme(
        yaml("license: !!python/object/apply:sys.exit [1]\ntags: !!python/name:x y")
    )
    assert card == Card(license="1", tags=("y",))


def test_a_warning_names_the_line():
    assert "(line 3)" in card_from_readme("---\nlicense: mit\n\tx: y\n---\n")[1]


def test_a_swarm_of_tiny_values_is_given_up_halfway():
    text = "license: mit\na: [" + ",".join("x" * (limits.MAX_FRONT_MATTER_EVENTS + 1)) + "]"
    assert len(text) < limits.MAX_FRONT_MATTER - 20
    assert "too long" in card_from_readme(yaml(text))[1]


def test_a_card_without_end_is_given_up_at_its_limit():
    text = "---\n" + "# x\n" * (limits.MAX_FRONT_MATTER // 4) + "---\n"
    card, warning = card_from_readme(text)
    assert card == Card()
    assert "longer than" in warning


def test_what_does_not_fit_is_left_out_and_said():
    long, many = "x" * 97, ", ".join(f"t{n}" for n in range(limits.MAX_TAGS + 2))
    card, warning = card_from_readme(yaml(f"license: {long}\ntags: [{long}, {many}]\nlanguage: en"))
    assert card.license == ""
    assert len(card.tags) == limits.MAX_TAGS
    assert card.languages == ("en",)
    assert "3 of the values of tags" in warning
    assert "license" in warning


def test_two_licences_are_one_and_a_warning():
    card, warning = card_from_readme(yaml("license: [mit, gpl]"))
    assert card.license == "mit"
    assert "license is cut" in warning


def test_a_value_that_could_steer_a_terminal_is_left_out():
    card, warning = card_from_readme(yaml('tags: ["\\e[2J", ok, "a\\nb"]'))
    assert card.tags == ("ok", "a b")
    assert warning
