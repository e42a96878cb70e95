"""Datasets: readers of real files, phantoms, patient splits, and the shared augmentation stream."""
