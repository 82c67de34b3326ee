"""Image files from outside -> pixels, with work and memory bounded by the size of the file."""

from clickcut.image_file.decode import decode
from clickcut.image_file.parts import Parts
from clickcut.image_file.structure import FORMATS, ImageLimits, examine

__all__ = ["FORMATS", "ImageLimits", "Parts", "decode", "examine"]
