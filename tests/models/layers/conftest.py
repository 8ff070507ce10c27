import numpy as np
import pytest
import torch

from nabladft.chemistry.rotations import wigner_d_real


@pytest.fixture
def rotation():
    """An improper one, so that parities matter."""
    orthogonal, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))
    return -orthogonal * np.linalg.det(orthogonal)


@pytest.fixture
def turned(rotation):
    """Turn features of shape (n, components, channels)."""

    def turn(features, irreps):
        parts, start = [], 0
        for irrep in irreps:
            matrix = torch.from_numpy(wigner_d_real(irrep.l, rotation))
            # The fixture's rotation inverts: harmonics get (-1)^l, which may not be the parity.
            sign = irrep.parity * (-1) ** irrep.l
            part = features[:, start : start + irrep.dim]
            parts.append(sign * torch.einsum("ab,nbc->nac", matrix, part))
            start += irrep.dim
        return torch.cat(parts, dim=1)

    return turn
