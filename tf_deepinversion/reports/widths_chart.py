"""A picture of what is left of each layer."""

import numpy as np
from PIL import Image
from PIL import ImageDraw

WHOLE, LEFT = (215, 222, 230), (27, 108, 168)


ROW, MARGIN, BAR = 16, 8, 360


def widths_picture(widths) -> np.ndarray:
    """A bar for each layer: in grey what it was, in blue what is left.

    All bars are equally long, with the two numbers beside them.

    Args:
        widths: Dict from names to pairs of numbers, before and after.

    Returns:
        A uint8 array `(height, width, 3)`.
    """
    font_width = 6 * max(map(len, widths))
    left = MARGIN + font_width + MARGIN
    size = (left + BAR + 120, ROW * len(widths) + 2 * MARGIN)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for i, (name, (before, after)) in enumerate(widths.items()):
        y = MARGIN + ROW * i
        draw.text((MARGIN, y), name, fill="black")
        box = [left, y, left + BAR - 1, y + ROW - 4]
        draw.rectangle(box, fill=WHOLE)
        length = round(BAR * after / before)
        if length:
            draw.rectangle([*box[:2], left + length - 1, box[3]], fill=LEFT)
        draw.text((left + BAR + MARGIN, y), f"{after} / {before}", fill="black")
    return np.asarray(image)
