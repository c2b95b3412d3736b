"""Records runs of other engines as GRETA trace bundles (docs/python.md)."""
