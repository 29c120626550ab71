"""The picture of the architecture: every text lies within its box, or outside of all boxes."""

from pathlib import Path
from xml.etree import ElementTree

import matplotlib
from PIL import ImageFont

PICTURE = Path(__file__).parent.parent / "docs/architecture.svg"
FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"  # wider than what browsers take
MARGIN = 4


def test_no_text_overflows() -> None:
    root = ElementTree.parse(PICTURE).getroot()
    name = "{http://www.w3.org/2000/svg}"
    rects = [[float(rect.get(key, 0)) for key in ("x", "y", "width", "height")] for rect in root.iter(f"{name}rect")]
    for group in root.iter(f"{name}g"):
        font = ImageFont.truetype(FONT, int(group.get("font-size", root.get("font-size", ""))))
        for text in group.iter(f"{name}text"):
            half = font.getlength(str(text.text)) / 2
            x, y = float(text.get("x", 0)), float(text.get("y", 0))
            for left, top, width, height in rects:
                inside = left + MARGIN <= x - half and x + half <= left + width - MARGIN
                outside = x + half < left or x - half > left + width
                assert inside or outside or not top - 2 <= y <= top + height + 8, text.text
