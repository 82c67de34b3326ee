"""Untrusted image files -> pixels, with work and memory bounded by the size of the file."""

from clickcut.image_file.decode import Decoded, decode, render
from clickcut.image_file.parts import Parts
from clickcut.image_file.structure import FORMATS, ImageLimits, examine
from clickcut.image_file.tones import Window

__all__ = ["FORMATS", "Decoded", "ImageLimits", "Parts", "Window", "decode", "examine", "render"]
