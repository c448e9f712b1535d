from __future__ import annotations

import numpy as np
import torch

from beampipe.tracking.training.networks import InteractionNetwork


def straightforward(network: InteractionNetwork, x: torch.Tensor, e: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The interaction network as its definition reads."""
    inner, outer = index
    x, e = network.node_encoder(x), network.edge_encoder(e)
    for edge, node in zip(network.edge, network.node, strict=True):
        e = e + edge(torch.cat([x[inner], x[outer], e], 1))
        ending = torch.zeros_like(x).index_add(0, outer, e)
        starting = torch.zeros_like(x).index_add(0, inner, e)
        x = x + node(torch.cat([x, ending, starting], 1))
    logit: torch.Tensor = network.classifier(torch.cat([x[inner], x[outer], e], 1)).squeeze(1)
    return logit


def random_graph(n_hits: int = 40, n_edges: int = 200) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    index = torch.randint(0, n_hits, (2, n_edges), generator=generator)
    return torch.randn(n_hits, 3, generator=generator), torch.randn(n_edges, 12, generator=generator), index


def test_interaction_network_is_its_definition_with_the_same_gradients() -> None:
    torch.manual_seed(0)
    network = InteractionNetwork(hidden=16, steps=2)
    x, e, index = random_graph()
    assert (np.bincount(index[0]) > 1).any()
    fast, slow = network(x, e, index), straightforward(network, x, e, index)
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-4)
    of_fast = torch.autograd.grad(fast.square().sum(), list(network.parameters()))
    of_slow = torch.autograd.grad(slow.square().sum(), list(network.parameters()))
    for a, b in zip(of_fast, of_slow, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_edge_order_does_not_matter() -> None:
    torch.manual_seed(0)
    network = InteractionNetwork(hidden=16, steps=2)
    x, e, index = random_graph()
    order = torch.randperm(len(e), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(x, e[order], index[:, order]), network(x, e, index)[order], atol=1e-5, rtol=1e-4)
