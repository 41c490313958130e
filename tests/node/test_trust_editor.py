"""Aliases, rules and lists in a store: nothing that is known is changed by a list or a claim."""

import json

import pytest

from p2phub.errors import AliasTakenError, NotFoundError, UsageError
from p2phub.formats.ids import PublisherId
from p2phub.node.trust_editor import TrustEditor
from p2phub.node.trust_view import export_list
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.trust.lab_list import Entry
from p2phub.trust.policy import Rule

LAB, THIEF, OTHER = (PublisherId(bytes([n]) * 32) for n in range(3))


@pytest.fixture
def store(tmp_path):
    with Store.open(Layout.of(tmp_path / "home")) as store:
        yield store


@pytest.fixture
def editor(store):
    return TrustEditor(store, Rule("warn"), lambda: 7)


def listed(*publishers):
    return json.dumps({"p2phub": "trust list", "version": 1, "publishers": publishers})


def entry(publisher, alias="lab", **more):
    return {"alias": alias, "publisher_id": str(publisher)} | more


class TestARule:
    def test_is_that_of_everybody_until_one_is_laid_down(self, editor):
        editor.add("lab", str(LAB))
        told = editor.set_policy("lab", None, None)
        assert (told.policy, told.stale, told.own_rule) == ("warn", "warn", False)

    def test_holds_for_its_publisher_under_every_alias_and_its_id(self, editor, store):
        editor.add("lab", str(LAB))
        editor.add("b", str(LAB))
        editor.set_policy("lab", "enforce", "refuse")
        for who in ("lab", "b", str(LAB)):
            told = editor.set_policy(who, None, None)
            assert (told.policy, told.stale, told.own_rule) == ("enforce", "refuse", True)
        assert editor.set_policy(str(OTHER), None, None).own_rule is False
        assert store.rules.rule(LAB) == Rule("enforce", "refuse")

    def test_keeps_what_is_not_said(self, editor, store):
        editor.set_policy(str(LAB), None, "refuse")
        assert store.rules.rule(LAB) == Rule("warn", "refuse")
        editor.set_policy(str(LAB), "off", None)
        assert store.rules.rule(LAB) == Rule("off", "refuse")

    def test_is_dropped_by_default(self, editor, store):
        editor.set_policy(str(LAB), "off", None)
        told = editor.set_policy(str(LAB), "default", None)
        assert (told.policy, told.own_rule) == ("warn", False)
        assert store.rules.rule(LAB) is None

    def test_that_is_none_or_for_nobody_changes_nothing(self, editor, store):
        for who, policy, stale, error in (
            (str(LAB), "strict", None, UsageError),
            (str(LAB), None, "off", UsageError),
            (str(LAB), "default", "refuse", UsageError),
            ("nobody", "off", None, NotFoundError),
        ):
            with pytest.raises(error):
                editor.set_policy(who, policy, stale)
        assert store.rules.all() == {}

    def test_lets_no_python_of_anybody_run_unless_it_says_so(self, editor, store):
        assert editor.set_policy(str(LAB), "off", "warn").code == "refuse"
        assert not store.rules.allows_code(LAB)
        assert editor.set_policy(str(LAB), None, None, "allow").code == "allow"
        assert editor.set_policy(str(LAB), "enforce", None).code == "allow"
        assert (store.rules.allows_code(LAB), store.rules.allows_code(OTHER)) == (True, False)
        with pytest.raises(UsageError):
            editor.set_policy(str(LAB), None, None, "yes")

    @pytest.mark.parametrize("words", [("default", None), (None, None, "refuse")])
    def test_that_let_python_run_is_given_up(self, editor, store, words):
        editor.set_policy(str(LAB), None, None, "allow")
        assert editor.set_policy(str(LAB), *words[:1], None, *words[2:]).code == "refuse"
        assert store.rules.all_that_allow_code() == set()

    def test_that_lets_python_run_travels_in_no_list(self, editor, store):
        editor.set_policy(str(LAB), "enforce", "warn", "allow")
        assert "allow" not in export_list(store).text
        text = listed(entry(OTHER, policy="off", stale="warn"))
        editor.import_list(text, confirmed=True)
        assert store.rules.all_that_allow_code() == {LAB}

    def test_outlives_the_alias(self, editor, store):
        editor.add("lab", str(LAB))
        editor.set_policy("lab", "enforce", "refuse")
        editor.remove("lab")
        assert store.rules.rule(LAB) == Rule("enforce", "refuse")


class TestAList:
    def test_is_shown_first_and_done_when_it_was_confirmed(self, editor, store):
        text = listed(entry(LAB, policy="off", stale="refuse"), entry(OTHER, "other"))
        told = editor.import_list(text, confirmed=False)
        assert (told.done, len(told.new)) == (False, 2)
        assert store.documents.aliases().pins == {}
        assert editor.import_list(text, confirmed=True).done is True
        assert store.documents.aliases().pins == {"lab": LAB, "other": OTHER}
        assert store.rules.all() == {LAB: Rule("off", "refuse")}

    def test_that_pins_a_known_alias_anew_changes_it_not(self, editor, store):
        editor.add("lab", str(LAB))
        told = editor.import_list(listed(entry(THIEF), entry(OTHER, "other")), confirmed=True)
        (conflict,) = told.conflicts
        assert (conflict.called, conflict.here, conflict.listed) == ("lab", str(LAB), str(THIEF))
        assert store.documents.aliases().pins == {"lab": LAB, "other": OTHER}

    def test_that_weakens_a_rule_changes_it_not(self, editor, store):
        editor.set_policy(str(LAB), "enforce", "refuse")
        told = editor.import_list(listed(entry(LAB, policy="off", stale="warn")), confirmed=True)
        assert [each.called for each in told.conflicts] == ["lab"]
        assert store.rules.rule(LAB) == Rule("enforce", "refuse")

    def test_with_a_mistake_in_its_last_entry_pins_nobody(self, editor, store):
        text = listed(entry(LAB), entry(OTHER, "other"), entry(THIEF, "Not An Alias"))
        with pytest.raises(UsageError, match="entry 3"):
            editor.import_list(text, confirmed=True)
        assert store.documents.aliases().pins == {}

    def test_that_says_nothing_new_is_done(self, editor):
        editor.add("lab", str(LAB))
        told = editor.import_list(listed(entry(LAB)), confirmed=False)
        assert (told.done, told.new, told.known) == (True, (), 1)

    def test_goes_to_another_machine_whole(self, editor, store, tmp_path):
        editor.add("lab", str(LAB))
        editor.add("b", str(LAB))
        editor.set_policy("lab", "enforce", "refuse")
        editor.set_policy(str(OTHER), "off", None)
        exported = export_list(store)
        assert exported.publishers == 3
        with Store.open(Layout.of(tmp_path / "other")) as other:
            TrustEditor(other).import_list(exported.text, confirmed=True)
            assert other.documents.aliases() == store.documents.aliases()
            assert other.rules.all() == store.rules.all()

    def test_is_adopted_whole_or_not_at_all(self, editor, store):
        editor.add("lab", str(LAB))
        with pytest.raises(AliasTakenError):
            store.rules.adopt([Entry(OTHER, "other", Rule("off")), Entry(THIEF, "lab")], 1)
        assert store.documents.aliases().pins == {"lab": LAB}
        assert store.rules.all() == {}
