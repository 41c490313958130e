"""Where the two nodes of a scenario live, and what one of them publishes."""

import pytest

from tests.scenarios.nodes import model


@pytest.fixture
def here(tmp_path):
    """The home of the node that pulls."""
    return tmp_path / "consumer"


@pytest.fixture
def there(tmp_path):
    """The home of the node that publishes."""
    return tmp_path / "publisher"


@pytest.fixture
def folder(tmp_path):
    """A small model: two shards, a config and a card."""
    return model(tmp_path / "model")
