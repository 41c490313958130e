"""The Python API: a small HTTP client of a node. Imports nothing heavy."""
