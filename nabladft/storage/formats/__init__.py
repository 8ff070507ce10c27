"""Readers and writers of formats that are not the store."""
