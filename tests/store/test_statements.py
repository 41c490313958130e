"""SQL lives in its files, and the two ways to a schema lead to the same place."""

import ast
import re
import sqlite3
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

import p2phub.store
from p2phub.store import statements
from p2phub.store.search import Filters, Order

FOLDER = Path(p2phub.store.__file__).parent


def made_by(*scripts):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for script in scripts:
        connection.executescript(script)
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    found = [(kind, name, table, " ".join((sql or "").split())) for kind, name, table, sql in rows]
    connection.close()
    return version, found


def test_all_migrations_on_an_empty_store_give_the_schema_of_today():
    steps = [text for _, text in statements.migrations()]
    assert made_by(*steps) == made_by(statements.schema())


def test_migrations_are_numbered_without_a_gap_and_each_says_its_number():
    numbers = [number for number, _ in statements.migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
    for number, text in statements.migrations():
        assert re.findall(r"PRAGMA user_version = (\d+);", text) == [str(number)]
    assert statements.version() == numbers[-1]


def test_every_table_is_strict():
    tables = re.findall(r"^CREATE TABLE.*?;$", statements.schema(), re.MULTILINE | re.DOTALL)
    assert len(tables) > 10
    for table in tables:
        assert re.search(r"\) STRICT(, WITHOUT ROWID)?;$", table), table


def test_an_unknown_name_is_a_bug_and_not_an_empty_query():
    with pytest.raises(KeyError):
        statements.query("documents.nonsense")


def sources():
    return sorted(path for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_no_python_file_holds_sql(path):
    tree = ast.parse(path.read_text())
    docstrings = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    }
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    for text in texts - docstrings:
        assert not re.search(r"\b(SELECT|INSERT|UPDATE|DELETE|PRAGMA|BEGIN|CREATE)\b", text), text


def test_only_the_index_knows_sqlite():
    users = [path.name for path in sources() if "import sqlite3" in path.read_text()]
    assert users == ["index.py"]


def names_used():
    text = "\n".join(path.read_text() for path in sources())
    return set(re.findall(r'"([a-z]+\.[a-z0-9_]+)"', text))


def test_every_named_statement_is_used_by_somebody():
    unused = set(statements._queries()) - names_used()
    assert {name for name in unused if not name.startswith("search.")} == set()


def test_every_filter_and_order_of_a_search_has_its_part_and_no_part_is_left_over():
    filters = {field.name for field in fields(Filters)}
    orders = {f"order_{order}" for order in get_args(Order)}
    walks = {f"every_{order}" for order in get_args(Order) if order != "relevance"}
    counts = {"count_matching", "count_small"}
    parts = filters | orders | walks | counts | {"aliases", "named", "matching", "enough", "hit"}
    names = {name for name in statements._queries() if name.startswith("search.")}
    assert names == {f"search.{part}" for part in parts}
