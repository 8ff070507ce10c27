"""A Hamiltonian of two-centre terms, fitted in closed form: where a network may start from.

Most of a Hamiltonian is simple. The block of two atoms is nearly a function of their distance times
the harmonics of their direction (Slater and Koster's two-centre approximation), and the block of
one atom is nearly a constant of its element plus a sum of such terms over its neighbours. Both are
linear in functions of the distance, so ridge regression finds them in one pass over the data, and
they are exactly equivariant.

Source:
    J. C. Slater, G. F. Koster, Phys. Rev. 94, 1498 (1954).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from nabladft.models.layers.spherical import Irrep

#: Length by which the radial functions stretch, bohr.
_DECAY: Final = 4.0
#: Distances between which the radial functions have their centres, bohr.
_NEAREST: Final = 1.5
_FARTHEST: Final = 14.0


class TwoCenterReference(nn.Module):
    """Constants of elements and, if asked for, two-centre terms.

    Before :meth:`fit` it is zero.

    Args:
        irreps: Representations of a block.
        widths: Number of columns (pairs of shells) of each.
        n_elements: Number of elements.
        n_radial: Functions of the distance; 0 leaves only the constants.
        ridge: Strength of the regularisation, in units of an average pair.
    """

    def __init__(
        self,
        irreps: Sequence[Irrep],
        widths: Sequence[int],
        *,
        n_elements: int,
        n_radial: int,
        ridge: float = 1e-4,
    ) -> None:
        """See the class."""
        super().__init__()
        self.irreps = tuple(irreps)
        self.n_elements = n_elements
        self.n_radial = n_radial
        self._ridge = ridge
        n_types = n_elements**2
        n_features = 1 + n_elements * n_radial
        for k, (irrep, width) in enumerate(zip(irreps, widths, strict=True)):
            if irrep.parity != (-1) ** irrep.l:
                continue
            self.register_buffer(f"_pair_{k}", torch.zeros(n_types, n_radial, width))
            self.register_buffer(f"_atom_{k}", torch.zeros(n_elements, n_features, width))

    def pair(self, types: Tensor, distances: Tensor, harmonics: Tensor) -> list[Tensor | None]:
        """Give the coefficients of pairs of atoms.

        Args:
            types: Shape (n,): index of the first element times n_elements plus the second.
            distances: Shape (n,), bohr.
            harmonics: Shape (n, components), directions from the first to the second atom.

        Returns:
            For each representation, shape (n, 2l + 1, width), hartree, or None where it is zero.
        """
        if not self.n_radial:
            return [None] * len(self.irreps)
        radial = self._radial(distances)
        found: list[Tensor | None] = []
        for k, irrep in enumerate(self.irreps):
            if irrep.parity != (-1) ** irrep.l:
                found.append(None)
                continue
            table: Tensor = getattr(self, f"_pair_{k}")
            strength = (radial[:, None, :] @ table[types])[:, 0]
            found.append(_harmonics_of(harmonics, irrep.l)[:, :, None] * strength[:, None, :])
        return found

    def atom(
        self,
        elements: Tensor,
        first: Tensor,
        second: Tensor,
        distances: Tensor,
        harmonics: Tensor,
    ) -> list[Tensor | None]:
        """Give the coefficients of the blocks of single atoms.

        Args:
            elements: Shape (n_atoms_total,), index of the element of each atom.
            first: Shape (n_pairs,), an atom; all ordered pairs of a conformation are listed.
            second: Shape (n_pairs,), another atom of its conformation.
            distances: Shape (n_pairs,), bohr.
            harmonics: Shape (n_pairs, components), directions from ``first`` to ``second``.

        Returns:
            For each representation, shape (n_atoms_total, 2l + 1, width), hartree, or None.
        """
        found: list[Tensor | None] = []
        for k, irrep in enumerate(self.irreps):
            if irrep.parity != (-1) ** irrep.l:
                found.append(None)
                continue
            features = self._atom_features(irrep.l, elements, first, second, distances, harmonics)
            table: Tensor = getattr(self, f"_atom_{k}")
            found.append(features @ table[elements])
        return found

    def fit(self, samples: Iterable[TwoCenterSample]) -> None:
        """Fit everything by ridge regression, in float64.

        Args:
            samples: Batches of data; they are visited once.
        """
        equations: dict[str, tuple[Tensor, Tensor]] = {}
        for sample in samples:
            self._accumulate(sample, equations)
        for name, (left, right) in equations.items():
            size = left.shape[-1]
            scale = left.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
            damping = (self._ridge * scale + 1e-12) * torch.eye(size).to(left)
            if name.startswith("_atom"):
                # The constant of an element is up to a thousand times what the neighbours change.
                damping[:, 0, 0] = 1e-12
            matrix = left + damping
            buffer: Tensor = getattr(self, name)
            buffer.copy_(torch.linalg.solve(matrix, right))

    def _accumulate(
        self, sample: TwoCenterSample, equations: dict[str, tuple[Tensor, Tensor]]
    ) -> None:
        radial = self._radial(sample.distances)
        for k, irrep in enumerate(self.irreps):
            if irrep.parity != (-1) ** irrep.l:
                continue
            if self.n_radial:
                directions = _harmonics_of(sample.harmonics, irrep.l)[:, :, None]
                strength = (sample.pair_targets[k] * directions).mean(dim=1)
                _add(
                    equations,
                    f"_pair_{k}",
                    sample.types,
                    self.n_elements**2,
                    radial[:, :, None] * radial[:, None, :],
                    radial[:, :, None] * strength[:, None, :],
                )
            features = self._atom_features(
                irrep.l,
                sample.elements,
                sample.first,
                sample.second,
                sample.distances,
                sample.harmonics,
            )
            _add(
                equations,
                f"_atom_{k}",
                sample.elements,
                self.n_elements,
                features.transpose(1, 2) @ features,
                features.transpose(1, 2) @ sample.atom_targets[k],
            )

    def _atom_features(
        self,
        l: int,
        elements: Tensor,
        first: Tensor,
        second: Tensor,
        distances: Tensor,
        harmonics: Tensor,
    ) -> Tensor:
        """Sum radial functions times harmonics by element of the neighbour, with a constant."""
        n_atoms, n_components = len(elements), 2 * l + 1
        # Not float(l == 0), which is what torch 2.13 cannot compile.
        value = 1.0 if l == 0 else 0.0
        constant = harmonics.new_full((n_atoms, n_components, 1), value)
        if not self.n_radial:
            return constant
        terms = self._radial(distances)[:, None, :] * _harmonics_of(harmonics, l)[:, :, None]
        sums = terms.new_zeros(n_atoms * self.n_elements, n_components, self.n_radial)
        sums = sums.index_add(0, first * self.n_elements + elements[second], terms)
        sums = sums.view(n_atoms, self.n_elements, n_components, self.n_radial).transpose(1, 2)
        return torch.cat([constant, sums.reshape(n_atoms, n_components, -1)], dim=2)

    def _radial(self, distances: Tensor) -> Tensor:
        """Gaussians of exp(-r / decay), which itself takes them to zero far away."""
        if not self.n_radial:
            return distances.new_zeros(len(distances), 0)
        stretched = torch.exp(-distances / _DECAY)[:, None]
        ends = torch.exp(-torch.tensor([_FARTHEST, _NEAREST], dtype=torch.float64) / _DECAY)
        centres = torch.linspace(
            float(ends[0]),
            float(ends[1]),
            self.n_radial,
            dtype=distances.dtype,
            device=distances.device,
        )
        width = float(ends[1] - ends[0]) / max(self.n_radial - 1, 1)
        return stretched * torch.exp(-0.5 * ((stretched - centres) / width) ** 2)


class TwoCenterSample:
    """What :meth:`TwoCenterReference.fit` needs of one batch; all tensors in float64."""

    def __init__(
        self,
        *,
        elements: Tensor,
        types: Tensor,
        first: Tensor,
        second: Tensor,
        distances: Tensor,
        harmonics: Tensor,
        pair_targets: Sequence[Tensor],
        atom_targets: Sequence[Tensor],
    ) -> None:
        """Keep the arguments of ``pair`` and ``atom``, and the coefficients to reproduce."""
        self.elements = elements
        self.types = types
        self.first = first
        self.second = second
        self.distances = distances
        self.harmonics = harmonics
        self.pair_targets = pair_targets
        self.atom_targets = atom_targets


def _harmonics_of(harmonics: Tensor, l: int) -> Tensor:
    return harmonics[:, l * l : (l + 1) ** 2]


def _add(
    equations: dict[str, tuple[Tensor, Tensor]],
    name: str,
    index: Tensor,
    size: int,
    left: Tensor,
    right: Tensor,
) -> None:
    """Add to the normal equations of each index."""
    if name not in equations:
        equations[name] = (
            left.new_zeros(size, *left.shape[1:]),
            right.new_zeros(size, *right.shape[1:]),
        )
    equations[name][0].index_add_(0, index, left)
    equations[name][1].index_add_(0, index, right)
