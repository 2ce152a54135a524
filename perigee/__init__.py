"""Perigee: a masked-diffusion language model trained from books and web pages, with its lineage."""

__version__ = "0.1.0"
