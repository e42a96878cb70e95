"""Verdiff-Net without the harness: it needs only torch and diffusers.

`verdiff.model` has an example.
"""

from verdiff.diffusion import Diffusion
from verdiff.model import VerdiffNet
from verdiff.msfm import MSFM
from verdiff.nsa import NSA

__all__ = ["MSFM", "NSA", "Diffusion", "VerdiffNet"]
