"""Verdiff-Net, usable without the harness."""
