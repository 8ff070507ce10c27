"""What is published, where it is, and where it lies on this machine.

Example:
    >>> from nabladft.catalog import load_catalogue
    >>> load_catalogue().get("energy/train-tiny").n_conformations
    12145
"""

from nabladft.catalog.catalogue import Catalogue, load_catalogue, read_catalogue
from nabladft.catalog.product import Defect, Licence, Method, Product, ProductField

__all__ = [
    "Catalogue",
    "Defect",
    "Licence",
    "Method",
    "Product",
    "ProductField",
    "load_catalogue",
    "read_catalogue",
]
