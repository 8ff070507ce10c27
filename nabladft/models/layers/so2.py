"""Maps of features in local frames: one matrix for each |m|, the same for m and -m.

A feature in a frame has components (l, m) in the order of
:func:`nabladft.models.layers.frames.frame_order`, each with the same number of channels.

A mirror that holds the axis leaves components m >= 0 of a harmonic alone and changes the sign of
those with m < 0. A map that treats m and -m alike therefore keeps parities; one that exchanges
them, with opposite signs, turns a feature of parity (-1)^l into one of the opposite parity
(a pseudotensor), as the blocks of two p shells need.

Example:
    >>> layer = FrameLinear(2, 2, mmax=1, channels_in=4, channels_out=3)
    >>> [tuple(weight.shape) for weight in layer.weights]
    [(12, 9), (8, 6)]
    >>> layer(torch.randn(5, 7, 4)).shape
    torch.Size([5, 7, 3])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from nabladft.models.layers.frames import frame_order

if TYPE_CHECKING:
    from torch import Tensor


class FrameLinear(nn.Module):
    """Mixes degrees and channels of each |m|.

    Args:
        lmax_in: Largest degree of the input, all of parity (-1)^l.
        lmax_out: Largest degree of the output.
        mmax: Largest |m| of the input and of the output.
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        pseudo: Whether the output is of parity -(-1)^l instead; its components with m = 0 vanish.
        gain: Size of the output for an input of size one.
    """

    def __init__(
        self,
        lmax_in: int,
        lmax_out: int,
        *,
        mmax: int,
        channels_in: int,
        channels_out: int,
        pseudo: bool = False,
        gain: float = 1.0,
    ) -> None:
        """See the class."""
        super().__init__()
        self.channels_in, self.channels_out, self.pseudo = channels_in, channels_out, pseudo
        self._n_in = [max(lmax_in + 1 - m, 0) for m in range(mmax + 1)]
        self._n_out = [max(lmax_out + 1 - m, 0) for m in range(mmax + 1)]
        self.order = tuple(frame_order(lmax_out, mmax))
        self.weights = nn.ParameterList(
            nn.Parameter(
                torch.randn(n_in * channels_in, n_out * channels_out)
                * (gain / max(n_in * channels_in, 1) ** 0.5)
            )
            for n_in, n_out in zip(self._n_in[pseudo:], self._n_out[pseudo:], strict=True)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features of shape (n, components, channels_in) to those of :attr:`order`."""
        n = len(features)
        sizes = [count * (1 if m == 0 else 2) for m, count in enumerate(self._n_in)]
        parts = torch.split(features, sizes, dim=1)
        rows = [features.new_zeros(n, self._n_out[0], self.channels_out)] if self.pseudo else []
        for m in range(int(self.pseudo), len(parts)):
            copies = 1 if m == 0 else 2
            flat = parts[m].reshape(n * copies, self._n_in[m] * self.channels_in)
            mapped = (flat @ self.weights[m - self.pseudo]).view(
                n, copies * self._n_out[m], self.channels_out
            )
            if self.pseudo:
                positive, negative = mapped.split(self._n_out[m], dim=1)
                rows += [-negative, positive]
            else:
                rows.append(mapped)
        return torch.cat(rows, dim=1)


class FrameGate(nn.Module):
    """Multiplies each degree and channel by a function of what turning about the axis leaves alone.

    That are the components with m = 0, and of each |m| > 0 the length of the pair (m, -m), all
    degrees together. Of a sum of features of two atoms, the latter know how those are turned
    against each other.

    Args:
        lmax: Largest degree.
        mmax: Largest |m|.
        channels: Channels.
    """

    def __init__(self, lmax: int, *, mmax: int, channels: int) -> None:
        """See the class."""
        super().__init__()
        order = frame_order(lmax, mmax)
        self.n_degrees = lmax + 1
        self.weights = nn.Linear((lmax + 1 + mmax) * channels, (lmax + 1) * channels)
        absolute = torch.tensor([abs(m) for _, m in order])
        around = (absolute == torch.arange(1, mmax + 1)[:, None]).float()
        around = around / around.sum(dim=1, keepdim=True)
        self.register_buffer("_around", around, persistent=False)
        degrees = torch.tensor([l for l, _ in order])
        self.register_buffer("_degree", degrees, persistent=False)

    _around: Tensor
    _degree: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Gate features of shape (n, components, channels)."""
        n, _, channels = features.shape
        along = features[:, : self.n_degrees]
        # The square root has no gradient at zero, which is where linear molecules are.
        lengths = torch.sqrt(self._around @ features.square() + 1e-6)
        invariant = torch.cat([along, lengths], dim=1).flatten(1)
        gates = 2.0 * torch.sigmoid(self.weights(invariant)).view(n, self.n_degrees, channels)
        return features * gates.index_select(1, self._degree)
