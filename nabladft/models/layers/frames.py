"""Local frames: features of pairs of atoms seen with the direction of the pair as polar axis.

In such a frame, what may be mixed is simple. A feature about an axis has components m = -l ... l;
turning it about the axis mixes m and -m of each degree, and no map that depends on the pair alone
mixes different |m|. So an equivariant product with the harmonics of the direction, a sum over many
Clebsch-Gordan paths, becomes one matrix for each |m|.

The angle about the axis is a free choice, which cancels where such a map stands between the
rotation into the frame and the one back.

Source:
    S. Passaro, C. L. Zitnick, "Reducing SO(3) Convolutions to SO(2) for Efficient Equivariant
    GNNs", ICML 2023, arXiv 2302.03655.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from nabladft.chemistry.rotations import wigner_d_real

if TYPE_CHECKING:
    from torch import Tensor

#: Turns the polar axis z into y: R_y(b) = A R_z(b) Aᵀ.
_POLAR_TO_Y = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def frame_order(lmax: int, mmax: int) -> list[tuple[int, int]]:
    """List the components (l, m) of a feature in a frame.

    Those with m = 0 come first, by degree, then for each |m| up to ``mmax`` those with m = |m|
    and those with m = -|m|, each by degree.

    Example:
        >>> frame_order(2, 1)
        [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (1, -1), (2, -1)]
    """
    order = [(l, 0) for l in range(lmax + 1)]
    for m in range(1, mmax + 1):
        order += [(l, sign * m) for sign in (1, -1) for l in range(m, lmax + 1)]
    return order


class LocalFrames(nn.Module):
    """Rotation matrices from the common frame into those of pairs of atoms.

    Args:
        lmax: Largest degree.
        mmax: Largest |m| that is kept in a frame.
    """

    def __init__(self, lmax: int, mmax: int | None = None) -> None:
        """See the class."""
        super().__init__()
        self.lmax = lmax
        self.order = tuple(frame_order(lmax, lmax if mmax is None else mmax))
        self._rows = tuple(l * l + l + m for l, m in self.order)
        m = np.concatenate([np.arange(-l, l + 1) for l in range(lmax + 1)])
        mirrored = np.concatenate([l * l + l - np.arange(-l, l + 1) for l in range(lmax + 1)])
        self.register_buffer("_m", torch.from_numpy(m), persistent=False)
        self.register_buffer("_mirrored", torch.from_numpy(mirrored), persistent=False)

    _m: Tensor
    _mirrored: Tensor

    def forward(self, vectors: Tensor) -> Tensor:
        """Give the rotation of each pair.

        Args:
            vectors: Shape (n, 3), not zero. No gradient flows through: the frame is a choice.

        Returns:
            Shape (n, len(order), (lmax + 1)²): from components l² + l + m, ascending, to
            :attr:`order`.
        """
        directions = vectors.detach() / torch.linalg.vector_norm(vectors.detach(), dim=1)[:, None]
        x, y, z = directions.unbind(1)
        across = torch.sqrt(x * x + y * y)
        # On the polar axis any angle will do.
        on_axis = across == 0
        safe = torch.where(on_axis, torch.ones_like(across), across)
        cosines, sines = _multiples(torch.where(on_axis, 1.0, x / safe), y / safe, self.lmax)
        polar = _multiples(z, across, self.lmax)
        table = _turns_about_y(self.lmax, self._rows, vectors.dtype, vectors.device)
        weights = torch.cat([polar[0], -polar[1][:, 1:]], dim=1)
        about_y = (weights @ table.flatten(1)).view(-1, *table.shape[1:])
        # Turned about z by minus the azimuth first: column (l, m) mixes with (l, -m).
        absolute = self._m.abs()
        signed = torch.sign(self._m).to(sines) * sines[:, absolute]
        return about_y * cosines[:, absolute][:, None] - (
            about_y[:, :, self._mirrored] * signed[:, None]
        )


def _multiples(cosine: Tensor, sine: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of 0, 1, ..., n times an angle, each of shape (..., n + 1)."""
    cosines, sines = [torch.ones_like(cosine)], [torch.zeros_like(sine)]
    for _ in range(n):
        before = cosines[-1], sines[-1]
        cosines.append(before[0] * cosine - before[1] * sine)
        sines.append(before[1] * cosine + before[0] * sine)
    return torch.stack(cosines, dim=-1), torch.stack(sines, dim=-1)


@lru_cache(maxsize=32)
def _turns_about_y(
    lmax: int, rows: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Matrices that give a rotation about y as a sum over cos(k b) and then sin(k b), k > 0."""
    size = (lmax + 1) ** 2
    table = np.zeros((2 * lmax + 1, size, size))
    for l in range(lmax + 1):
        part = slice(l * l, (l + 1) ** 2)
        turn = wigner_d_real(l, _POLAR_TO_Y)
        for m in range(-l, l + 1):
            cosine, sine = np.zeros((2, 2 * l + 1, 2 * l + 1))
            cosine[l + m, l + m] = 1.0
            sine[l + m, l - m] = -np.sign(m)
            table[abs(m), part, part] += turn @ cosine @ turn.T
            if m:
                table[lmax + abs(m), part, part] += turn @ sine @ turn.T
    # Made in float64 and rounded once; the cache may be filled while predicting.
    with torch.inference_mode(mode=False):
        return torch.from_numpy(table[:, list(rows)]).to(device=device, dtype=dtype)
