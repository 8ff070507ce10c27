"""Making labels: molecules, geometries, DFT in worker processes, a store.

``labelling.label`` is the whole way. The steps, each usable alone: ``molecules`` reads lists of
SMILES, ``conformers`` and ``thermal`` make geometries, ``plan`` writes down what is to be done,
``runner`` labels in worker processes, ``staging`` keeps what is finished, ``compare`` tells how new
labels differ from given ones. A quantum-chemistry program is a file in ``backends`` behind the
interface in ``backend``.
"""
