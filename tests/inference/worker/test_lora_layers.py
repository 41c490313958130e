import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
import torch

from p2phub.inference.worker.lora_layers import Part, Running, Site, Step, all_of, step_of

INF = float("inf")


@pytest.fixture
def layer():
    torch.manual_seed(1)
    with torch.no_grad():
        yield torch.nn.Linear(6, 5)


def part(seed, scale=2.0):
    made = torch.Generator().manual_seed(seed)
    return Part(torch.randn(3, 6, generator=made), torch.randn(5, 3, generator=made), scale)


def merged(layer, x, part):
    return layer(x) + part.scale * x @ part.a.t() @ part.b.t()


def test_each_row_is_changed_by_its_own_adapter_alone(layer):
    x = torch.randn(1, 7, 6)
    plain, first, second = layer(x), merged(layer, x, part(1)), merged(layer, x, part(2))
    running = Running()
    site = Site("q", layer, running, last=False)
    site.parts.update({1: part(1), 2: part(2)})
    running.step = step_of([(1, 2, False), (0, 1, True), (2, 2, True), (1, 1, True), (0, 1, True)],
                           "cpu")  # fmt: skip
    out = layer(x)
    assert torch.allclose(out[:, [0, 1, 5]], first[:, [0, 1, 5]], atol=1e-6)
    assert torch.allclose(out[:, 3:5], second[:, 3:5], atol=1e-6)
    assert torch.equal(out[:, [2, 6]], plain[:, [2, 6]])


@pytest.mark.parametrize("huge", [INF, float("nan"), 1e38])
def test_an_infinity_of_one_adapter_reaches_no_row_of_another(layer, huge):
    x = torch.randn(1, 4, 6)
    running = Running()
    site = Site("q", layer, running, last=False)
    site.parts[1] = part(1)
    running.step = step_of([(1, 1, True), (2, 1, True), (0, 1, True), (2, 1, True)], "cpu")
    alone = layer(x)
    site.parts[2] = Part(torch.full((3, 6), huge), torch.full((5, 3), huge), 1.0)
    out = layer(x)
    assert torch.equal(out[:, [0, 2]], alone[:, [0, 2]])
    assert torch.isfinite(out).all()


def test_a_layer_is_as_it_was_once_its_site_is_removed(layer):
    before = layer.forward
    Site("q", layer, Running(), last=False).remove()
    assert layer.forward == before
    assert "forward" not in vars(layer)
    layer.forward = own = lambda x: x
    Site("q", layer, Running(), last=False).remove()
    assert layer.forward is own


def test_the_last_layer_sees_only_rows_that_get_a_token(layer):
    x = torch.randn(1, 2, 6)
    wanted = torch.cat([layer(x)[:, :1], merged(layer, x, part(1))[:, 1:]], dim=1)
    running = Running()
    site = Site("head", layer, running, last=True)
    site.parts[1] = part(1)
    running.step = step_of([(1, 30, False), (0, 1, True), (1, 1, True)], "cpu")
    assert torch.allclose(layer(x), wanted, atol=1e-6)


def test_a_layer_that_does_not_see_all_tokens_is_no_silent_mistake(layer):
    running = Running()
    Site("expert", layer, running, last=False).parts[1] = part(1)
    running.step = step_of([(1, 5, True)], "cpu")
    with pytest.raises(RuntimeError, match="expert"):
        layer(torch.randn(1, 4, 6))


def test_a_table_of_embeddings_is_changed_by_token():
    table = torch.nn.Embedding(9, 4)
    tokens = torch.tensor([[3, 8, 3]])
    change = Part(torch.randn(2, 9), torch.randn(4, 2), 0.5)
    with torch.no_grad():
        wanted = table(tokens) + 0.5 * (change.a.t()[tokens] @ change.b.t())
        running = Running(all_of(4))
        Site("embed", table, running, last=False).parts[4] = change
        assert torch.allclose(table(tokens), wanted, atol=1e-6)


def test_a_step_without_adapters_says_nothing():
    assert step_of([(0, 3, True), (0, 1, True)], "cpu") == all_of(0) == Step()


def test_a_layer_of_another_type_than_the_adapter_keeps_its_own(layer):
    half = layer.to(torch.bfloat16)
    x = torch.randn(1, 4, 6, dtype=torch.bfloat16)
    running = Running()
    Site("q", half, running, last=False).parts[1] = part(1)
    for running.step in (all_of(1), step_of([(1, 1, True), (0, 2, True), (1, 1, True)], "cpu")):
        assert half(x).dtype == torch.bfloat16
