"""A gateway in front of a fake node, for clients that block."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from p2phub.gateway.server import Gateway
from p2phub.testing.gateways import gateway_in_a_thread
from p2phub.testing.nodes import FakeNode


@dataclass
class Running:
    home: Path
    node: FakeNode
    gateway: Gateway


@pytest.fixture
def running(tmp_path):
    nodes = []

    def make():
        nodes.append(FakeNode(tmp_path / "snapshot"))
        return nodes[0]

    with gateway_in_a_thread(make, tmp_path) as gateway:
        yield Running(tmp_path, nodes[0], gateway)
