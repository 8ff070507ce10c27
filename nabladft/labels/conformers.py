"""From a molecule to distinct geometries, by the protocol of the published data.

Many conformers are embedded by ETKDG (version 3) of RDKit and clustered by the algorithm of Butina;
the centroids of the smallest set of clusters that covers 95 % of the conformers are the geometries.
They are not relaxed. Molecules with fewer conformers than wanted get thermally displaced geometries
(:mod:`nabladft.labels.thermal`), and every record says which way it was made.

Example:
    >>> settings = GeometrySettings(seed=1, conformations=3, temperature=300.0)
    >>> molecule = InputMolecule(1, "OCCO", "ethylene glycol", "line 1")
    >>> [record.geometry_origin for record in make_geometries(molecule, settings)]
    ['etkdg', 'etkdg', 'etkdg']

Source:
    ETKDG: Riniker and Landrum, J. Chem. Inf. Model. 55, 2562 (2015); Wang et al., J. Chem. Inf.
    Model. 60, 2044 (2020). Clustering: Butina, J. Chem. Inf. Comput. Sci. 39, 747 (1999).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.units import BOHR_IN_ANGSTROM
from nabladft.conformation import Conformation
from nabladft.errors import ConfigError, LabelError
from nabladft.labels.molecules import InputMolecule, load_rdkit
from nabladft.labels.thermal import find_normal_modes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

#: Share of the embedded conformers that the kept clusters hold at least.
COVERAGE: Final = 0.95
#: Conformers nearer than this belong together: angstrom, root mean square over the heavy atoms and
#: the hydrogens on N, O and S, after alignment and exchange of equivalent atoms.
CLUSTER_RADIUS: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class GeometrySettings:
    """Everything that decides the geometries made for a molecule.

    Attributes:
        seed: Same seed, same geometries.
        embeddings: Conformers to embed before clustering.
        conformations: Geometries wanted per molecule: at most this many centroids, those of the
            largest clusters first, filled up with displaced ones. None: all centroids, and no
            displaced geometries.
        temperature: Of the displaced geometries, kelvin.
        displaced: Least share of the wanted geometries that is displaced, also where the molecule
            has enough conformers, so that forces and energies near the minima are sampled.
    """

    seed: int = 0
    embeddings: int = 100
    conformations: int | None = None
    temperature: float = 300.0
    displaced: float = 0.0

    def __post_init__(self) -> None:
        """Check the domains.

        Raises:
            ConfigError: A value is outside its domain.
        """
        problems = {
            "embeddings must be at least 1": self.embeddings < 1,
            "conformations must be at least 1": self.conformations is not None
            and self.conformations < 1,
            "temperature must be above 0 kelvin": not self.temperature > 0,
            "displaced must be from 0 to below 1": not 0 <= self.displaced < 1,
            "seed must not be negative": self.seed < 0,
            "displaced needs conformations": bool(self.displaced) and self.conformations is None,
        }
        wrong = [text for text, is_wrong in problems.items() if is_wrong]
        if wrong:
            message = f"{'; '.join(wrong)}: got {self}."
            raise ConfigError(message)


def make_geometries(molecule: InputMolecule, settings: GeometrySettings) -> list[Conformation]:
    """Make the geometries of one molecule, without labels.

    The outcome depends on the arguments and the version of RDKit only.

    Returns:
        Records with ``conformation_id`` 0, 1, ...; conformers first, then displaced geometries.

    Raises:
        LabelError: No conformer can be embedded, or none can be displaced.
        MissingExtraError: RDKit is not installed.
    """
    mol = embed(molecule, settings)
    centroids = cluster_centroids(mol)
    origins = ["etkdg"] * len(centroids)
    geometries = [_positions(mol, conformer) for conformer in centroids]
    if settings.conformations is not None:
        n_kept = max(1, int(settings.conformations * (1 - settings.displaced)))
        geometries, origins = geometries[:n_kept], origins[:n_kept]
        generator = np.random.default_rng([settings.seed, molecule.molecule_id])
        # Displaced geometries start from the centroids in turn, the unused ones before the others.
        starts = [*centroids[n_kept:], *centroids[:n_kept]]
        n_missing = settings.conformations - len(geometries)
        modes = [find_normal_modes(mol, start) for start in starts[:n_missing]]
        for index in range(n_missing):
            chosen = modes[index % len(modes)]
            geometries.append(chosen.displaced(settings.temperature, generator))
            origins.append(f"thermal {settings.temperature:g} K ({chosen.force_field})")
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.int32)
    return [
        Conformation(
            molecule_id=molecule.molecule_id,
            conformation_id=index,
            atomic_numbers=numbers,
            positions=positions,
            smiles=molecule.smiles,
            geometry_origin=origin,
        )
        for index, (positions, origin) in enumerate(zip(geometries, origins, strict=True))
    ]


def embed(molecule: InputMolecule, settings: GeometrySettings) -> Any:
    """Embed conformers of a molecule.

    Returns:
        An RDKit molecule with explicit hydrogens and conformers.

    Raises:
        LabelError: No conformer can be embedded.
        MissingExtraError: RDKit is not installed.
    """
    chem = load_rdkit()
    from rdkit.Chem import rdDistGeom  # noqa: PLC0415 - optional dependency

    mol = chem.AddHs(chem.MolFromSmiles(molecule.smiles))
    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.numThreads = 1
    # RDKit takes a positive 32-bit seed; molecules get their own, independent of their neighbours.
    sequence = np.random.SeedSequence([settings.seed, molecule.molecule_id])
    parameters.randomSeed = int(sequence.generate_state(1)[0] & 0x7FFFFFFF)
    found = rdDistGeom.EmbedMultipleConfs(mol, settings.embeddings, parameters)
    if not len(found):
        parameters.useRandomCoords = True  # what RDKit advises for difficult cases
        found = rdDistGeom.EmbedMultipleConfs(mol, settings.embeddings, parameters)
    if not len(found):
        message = f"RDKit finds no conformer of {molecule.smiles} ({molecule.place})."
        raise LabelError(message)
    return mol


def cluster_centroids(mol: Any) -> list[int]:
    """Choose distinct conformers.

    Args:
        mol: An RDKit molecule with explicit hydrogens and conformers.

    Returns:
        Identifiers of the centroids of the smallest set of clusters that covers
        :data:`COVERAGE` of the conformers, largest cluster first.
    """
    from rdkit.Chem import rdMolAlign  # noqa: PLC0415 - optional dependency
    from rdkit.ML.Cluster import Butina  # noqa: PLC0415

    cluster_data: Any = Butina.ClusterData

    identifiers = [conformer.GetId() for conformer in mol.GetConformers()]
    if len(identifiers) == 1:
        return identifiers
    # Hydrogens on carbon follow the skeleton; without them there are few equivalent atoms.
    skeleton = _without_carbon_hydrogens(mol)
    distances = list(rdMolAlign.GetAllConformerBestRMS(skeleton, numThreads=1))
    clusters = cluster_data(
        distances, len(identifiers), CLUSTER_RADIUS, isDistData=True, reordering=True
    )
    clusters = sorted(clusters, key=len, reverse=True)  # stable: ties stay as they are
    covered = np.cumsum([len(cluster) for cluster in clusters]) / len(identifiers)
    n_kept = int(np.searchsorted(covered, COVERAGE - 1e-12)) + 1
    return [identifiers[cluster[0]] for cluster in clusters[:n_kept]]


def _without_carbon_hydrogens(mol: Any) -> Any:
    chem = load_rdkit()
    editable = chem.RWMol(mol)
    for atom in reversed(list(mol.GetAtoms())):
        if atom.GetAtomicNum() == 1 and atom.GetNeighbors()[0].GetAtomicNum() == 6:
            editable.RemoveAtom(atom.GetIdx())
    skeleton = editable.GetMol()
    chem.SanitizeMol(skeleton)
    return skeleton


def _positions(mol: Any, conformer_id: int) -> FloatArray:
    return np.array(mol.GetConformer(conformer_id).GetPositions()) / BOHR_IN_ANGSTROM
