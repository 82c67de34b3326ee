"""Annotation formats: masks -> files of other tools, and back.

    from clickcut_formats import LabelledImage, LabelledObject, encode, read, write

    image = LabelledImage("photo.jpg", width, height, [LabelledObject.of("cat", mask)])
    write(encode("coco", [image]).files, Path("out"))
    images = read(Path("out/annotations.json"))

Nothing here needs a server. Formats by name: `clickcut_formats.formats.FORMATS`; docs/formats.md
says what each of them holds and loses.
"""

from clickcut_formats.annotation import LabelledImage, LabelledObject
from clickcut_formats.errors import FormatError
from clickcut_formats.files import Encoded, write
from clickcut_formats.formats import FORMATS, encode, read

__all__ = [
    "FORMATS",
    "Encoded",
    "FormatError",
    "LabelledImage",
    "LabelledObject",
    "encode",
    "read",
    "write",
]
