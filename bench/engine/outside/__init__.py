"""Masks from outside: a folder of predictions beside references, in 2D or in 3D."""
