"""Optimisers: those of torch, and Muon for the matrices of a network.

Source:
    K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024),
    kellerjordan.github.io/posts/muon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from nabladft.training.config import OptimizerConfig

#: Coefficients of the quintic iteration, chosen by the authors for speed: singular values end
#: between 0.7 and 1.2 after five steps, which is near enough.
_QUINTIC: Final = (3.4445, -4.7750, 2.0315)
_N_ITERATIONS: Final = 5


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Make the optimiser of the trainable parameters of a model.

    Each group of parameters has an entry ``lr_factor``, by which the learning rate of the schedule
    is multiplied.

    Args:
        model: The model.
        config: Which optimiser, and its options.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    options: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": (config.betas[0], config.betas[1]),
        "weight_decay": config.weight_decay,
    }
    if config.name != "muon":
        kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
        groups = [{"params": parameters, "lr_factor": 1.0}]
        return kind(groups, amsgrad=config.amsgrad, **options)
    matrices = set(matrices_of(model))
    return Muon(
        [parameter for parameter in parameters if parameter in matrices],
        [parameter for parameter in parameters if parameter not in matrices],
        muon_factor=config.muon_learning_rate / config.learning_rate,
        momentum=config.muon_momentum,
        **options,
    )


def matrices_of(model: nn.Module) -> list[nn.Parameter]:
    """List the trainable parameters that are (stacks of) matrices between hidden features.

    Those are all with two axes or more, except embeddings, and except those of submodules that
    state ``is_hidden = False``: the tables between features and the outside, of which each row
    should move on its own.
    """
    outside = {
        parameter
        for module in model.modules()
        if isinstance(module, nn.Embedding) or not getattr(module, "is_hidden", True)
        for parameter in module.parameters()
    }
    return [p for p in model.parameters() if p.requires_grad and p.ndim > 1 and p not in outside]


class Muon(torch.optim.AdamW):
    """Momentum whose update of each matrix is made orthogonal; AdamW for everything else.

    A parameter of shape (..., rows, columns) is a stack of matrices. Of each, the update is the
    nearest (semi-)orthogonal matrix to its Nesterov momentum, times the learning rate and
    ``sqrt(max(1, rows / columns))``: all directions are learned at the same pace. torch's own Muon
    (2.9 and later) takes single matrices only; here all of one shape are done at once.

    Args:
        matrices: Parameters with at least two axes.
        others: Parameters that AdamW updates.
        lr: Learning rate of AdamW.
        muon_factor: Learning rate of the matrices, in units of ``lr``.
        momentum: Of the matrices.
        betas: Of AdamW.
        weight_decay: Of both, relative to the learning rate.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        *,
        lr: float,
        muon_factor: float,
        momentum: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        """See the class."""
        groups = [
            {"params": list(matrices), "lr_factor": muon_factor, "momentum": momentum},
            {"params": list(others), "lr_factor": 1.0},
        ]
        super().__init__(
            [group for group in groups if group["params"]],
            lr=lr,
            betas=betas,
            weight_decay=weight_decay,
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make one step; gives what ``closure`` returns, which is called first."""
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        orthogonal = [group for group in self.param_groups if "momentum" in group]
        for group in orthogonal:
            self._step_matrices(group)
        # AdamW looks at gradients only, and leaves parameters without one alone.
        kept = [(p, p.grad) for group in orthogonal for p in group["params"]]
        for parameter, _ in kept:
            parameter.grad = None
        super().step()
        for parameter, gradient in kept:
            parameter.grad = gradient
        return result

    def _step_matrices(self, group: dict[str, Any]) -> None:
        by_shape: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape.setdefault(tuple(parameter.shape[-2:]), []).append(parameter)
        for (rows, columns), parameters in by_shape.items():
            directions = [self._direction(parameter, group["momentum"]) for parameter in parameters]
            updates = orthogonalised(torch.cat(directions))
            step = group["lr"] * max(1.0, rows / columns) ** 0.5
            sizes = [len(direction) for direction in directions]
            for parameter, update in zip(parameters, torch.split(updates, sizes), strict=True):
                parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
                parameter.add_(update.reshape(parameter.shape), alpha=-step)

    def _direction(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Update the momentum; gives the direction of Nesterov's step, shape (n, rows, columns)."""
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if "momentum" not in state:
            # AdamW asks every state it loads for a step.
            state["step"] = torch.zeros(())
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1.0 - momentum)
        direction = gradient.lerp(state["momentum"], momentum)
        stacked: Tensor = direction.reshape(-1, *parameter.shape[-2:])
        return stacked


def orthogonalised(matrices: Tensor) -> Tensor:
    """Bring the singular values of matrices near to one, by five Newton-Schulz steps.

    Args:
        matrices: Shape (n, rows, columns).

    Returns:
        Shape (n, rows, columns); U f(S) Vᵀ for matrices U S Vᵀ, f(S) between 0.7 and 1.2 but for
        singular values below a thousandth of the norm, which come out smaller. Zero stays zero.
    """
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if is_tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-20)
    a, b, c = _QUINTIC
    for _ in range(_N_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x
