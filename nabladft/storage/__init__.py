"""Bytes on disk to conformations and back: stores, and readers of foreign formats."""
