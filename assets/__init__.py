"""The graph: Dagster assets and asset checks, each a thin body over the library."""
