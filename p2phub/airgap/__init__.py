"""Bundles on removable media: a source that lives in a folder."""
