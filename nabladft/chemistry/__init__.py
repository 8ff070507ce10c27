"""Conventions and physics: units, elements, basis sets, orbital orders, electronic structure."""
