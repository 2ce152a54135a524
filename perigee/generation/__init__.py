"""Samplers and the views of their denoising."""
