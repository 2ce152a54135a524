"""Optimisation, checkpoints, resume, devices, evaluation."""
