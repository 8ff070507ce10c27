"""Optimisers: what Muon does to matrices, and that everything else is AdamW's."""

import pytest
import torch
from torch import nn

from nabladft.errors import ConfigError
from nabladft.training.config import OptimizerConfig
from nabladft.training.optimizers import Muon, build_optimizer, matrices_of, orthogonalised


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.embedding = nn.Embedding(4, 6)
        self.hidden = nn.Linear(6, 3)
        self.stack = nn.Parameter(torch.randn(2, 3, 3))
        self.outside = nn.Linear(3, 2)
        self.outside.is_hidden = False

    def forward(self, index):
        x = torch.tanh(self.hidden(self.embedding(index)))
        return self.outside(torch.einsum("ni,kij->nj", x, self.stack))


def loss_of(network):
    return (network(torch.arange(4)) - 1.0).square().sum()


def stepped(config, n_steps=1):
    network = Network()
    optimizer = build_optimizer(network, config)
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss_of(network).backward()
        optimizer.step()
    return network


@pytest.mark.parametrize("shape", [(3, 5, 5), (1, 4, 9), (2, 9, 4)])
def test_orthogonalised_matrices_keep_their_singular_vectors(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape, dtype=torch.float64)

    found = orthogonalised(matrices)

    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    middle = left.mT @ found @ right.mT
    off = middle - torch.diag_embed(middle.diagonal(dim1=1, dim2=2))
    assert off.abs().max() < 1e-12
    large = values > 0.1 * values.max(dim=1, keepdim=True).values
    singular = middle.diagonal(dim1=1, dim2=2)[large]
    assert singular.min() > 0.65
    assert singular.max() < 1.25


def test_a_zero_matrix_stays_zero():
    assert orthogonalised(torch.zeros(1, 3, 2)).tolist() == [[[0.0, 0.0]] * 3]


def test_the_first_step_of_a_matrix_is_its_orthogonalised_gradient():
    weight = nn.Parameter(torch.zeros(6, 3))
    gradient = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    optimizer = Muon(
        [weight], [], lr=0.1, muon_factor=1.0, momentum=0.9, betas=(0.9, 0.99), weight_decay=0.0
    )
    weight.grad = gradient

    optimizer.step()

    expected = -0.1 * 2**0.5 * orthogonalised(gradient[None])[0]
    torch.testing.assert_close(weight.detach(), expected)


def test_a_stack_of_matrices_moves_as_each_matrix_alone():
    torch.manual_seed(3)
    values, gradients = torch.randn(3, 4, 4), torch.randn(3, 4, 4)
    options = {"lr": 0.1, "muon_factor": 1.0, "momentum": 0.9, "betas": (0.9, 0.99)}
    stack = nn.Parameter(values.clone())
    alone = [nn.Parameter(value.clone()) for value in values]
    stack.grad = gradients
    for one, gradient in zip(alone, gradients, strict=True):
        one.grad = gradient

    Muon([stack], [], weight_decay=0.1, **options).step()
    Muon(alone, [], weight_decay=0.1, **options).step()

    torch.testing.assert_close(stack.detach(), torch.stack(list(alone)).detach())


def test_embeddings_and_the_outside_are_not_matrices_of_muon():
    network = Network()

    found = matrices_of(network)

    assert {id(p) for p in found} == {id(network.hidden.weight), id(network.stack)}


def test_what_muon_leaves_moves_as_with_adamw():
    options = {"learning_rate": 1e-2, "weight_decay": 0.1}

    muon = stepped(OptimizerConfig(name="muon", **options))
    adamw = stepped(OptimizerConfig(name="adamw", **options))

    assert torch.equal(muon.embedding.weight, adamw.embedding.weight)
    assert torch.equal(muon.outside.weight, adamw.outside.weight)
    assert not torch.equal(muon.hidden.weight, adamw.hidden.weight)


def test_muon_lowers_a_loss():
    config = OptimizerConfig(name="muon", learning_rate=2e-2)

    before, after = loss_of(Network()), loss_of(stepped(config, 60))

    assert after < 0.2 * before


def test_muon_continues_from_its_state():
    config = OptimizerConfig(name="muon")
    whole = stepped(config, 4)
    network = stepped(config, 0)
    optimizer = build_optimizer(network, config)
    for step in range(4):
        if step == 2:
            state = optimizer.state_dict()
            optimizer = build_optimizer(network, config)
            optimizer.load_state_dict(state)
        optimizer.zero_grad()
        loss_of(network).backward()
        optimizer.step()

    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), network.parameters(), strict=True)
    )


def test_each_group_has_its_factor_of_the_schedule():
    config = OptimizerConfig(name="muon", learning_rate=1e-3, muon_learning_rate=2e-2)

    groups = build_optimizer(Network(), config).param_groups

    assert [group["lr_factor"] for group in groups] == pytest.approx([20.0, 1.0])


def test_amsgrad_of_muon_is_refused():
    with pytest.raises(ConfigError, match="amsgrad is an option of adam and adamw"):
        OptimizerConfig(name="muon", amsgrad=True)
