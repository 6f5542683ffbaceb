"""Fonts, letters and backgrounds for `glyphs.py`."""

import functools
import hashlib
import pathlib
import string
import typing

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

from tf_deepinversion.core.files import write_atomically
from tf_deepinversion.core.labels import balanced_labels
from tf_deepinversion.core.pictures import grid
from tf_deepinversion.core.pictures import save_png

SETS = {
    "k_to_t": tuple("KLMNOPQRST"),
    "a_to_z": tuple(string.ascii_uppercase),
    "pairs": tuple(a + b for a in "ABDEGHKMRS" for b in "CFJLNOTUXY"),
}
SIDE = 32
LETTERS = string.ascii_uppercase
POINTS = 40  # size of letters as drawn, before they are turned
MISSING = "\U0010fffd"  # no font has this character, so all draw their .notdef
SHAPE = 24  # side of the squares in which letters are compared
LEAST_INK = 0.2  # share of a letter's box: hairlines are gray at 20 pixels
CLONE = 0.075  # a network cannot tell fonts that differ less
LUMINANCE = np.array([0.299, 0.587, 0.114])


class Font(typing.NamedTuple):
    """A font file and the shapes of its letters.

    Attributes:
        family: String.
        style: String.
        path: String.
        shapes: Float array `(26, SHAPE, SHAPE)` in [0, 1], each letter's box
            scaled to a square.
    """

    family: str
    style: str
    path: str
    shapes: np.ndarray

    @property
    def name(self):
        return f"{self.family} {self.style}".strip()


def mask(font, text) -> Image.Image:
    """Draws a text, cropped to its ink, as an image of gray levels."""
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), text, 255, font)
    return image.crop(
        image.getbbox()
    )  # the boxes that fonts state may be too wide


def shapes_of(font):
    """Returns `Font.shapes`; None if a letter is missing or blank."""
    missing = np.asarray(mask(font, MISSING))
    shapes = []
    for letter in LETTERS:
        drawn = mask(font, letter)
        pixels = np.asarray(drawn)
        if not pixels.any() or np.array_equal(pixels, missing):
            return None
        square = drawn.resize((SHAPE, SHAPE), Image.Resampling.BOX)
        shapes.append(np.asarray(square, "float32") / 255)
    return np.stack(shapes)


def read_fonts(folder) -> list:
    """Lists the fonts of a folder that have all letters, in a random order.

    The order comes from a hash of the names, so it does not depend on the
    files.
    """
    found = []
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.suffix.lower() not in (".ttf", ".otf"):
            continue
        try:
            font = ImageFont.truetype(str(path), POINTS)
        except OSError:  # not a font, or a kind that FreeType does not read
            continue
        shapes = shapes_of(font)
        if shapes is not None:
            names = (str(name or "").strip() for name in font.getname())
            found.append(Font(*names, str(path), shapes))
    return sorted(found, key=lambda font: (hash_of(font.name), font.path))


def hash_of(text) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def group_of(font) -> str:
    """Returns the first word of the family, which related fonts share."""
    return font.family.split(" ")[0]


def choose(fonts, per_family) -> list:
    """Selects fonts whose letters a person reads, no two of them alike.

    The selection drops symbol fonts, scripts and similar fonts: it keeps a font
        if
    at least 50 % of its letters are nearest to the median of the same letter
    over all fonts. It also drops hairlines and clones under another name.

    Args:
        fonts: List of `Font`. Of two similar fonts, the earlier stays.
        per_family: Int, largest number of fonts that share their family's first
            word.
    """
    medians = np.median([font.shapes for font in fonts], axis=0)
    kept, of_group = [], {}
    for font in fonts:
        distances = np.abs(font.shapes[:, None] - medians).mean((-1, -2))
        right = distances.argmin(-1) == np.arange(len(LETTERS))
        if right.mean() < 0.5 or font.shapes.mean() < LEAST_INK:
            continue
        if any(np.abs(font.shapes - k.shapes).mean() < CLONE for k in kept):
            continue
        count = of_group.get(group_of(font), 0)
        if count < per_family:
            of_group[group_of(font)] = count + 1
            kept.append(font)
    return kept


def split(fonts) -> tuple:
    """Splits fonts into fonts for training and for testing, by family.

    Raises:
        ValueError: if there are fewer than two families.
    """
    groups = sorted({group_of(font) for font in fonts}, key=hash_of)
    if len(groups) < 2:
        raise ValueError(
            "Expected fonts of at least two families, for training and for "
            f"testing: put more into the folder. Received: {groups}"
        )
    tested = set(groups[: max(1, len(groups) // 5)])
    return (
        [font for font in fonts if group_of(font) not in tested],
        [font for font in fonts if group_of(font) in tested],
    )


@functools.cache
def glyph(path, text) -> Image.Image:
    return mask(_font(path), text)


@functools.cache
def _font(path):
    return ImageFont.truetype(path, POINTS)


def turned(random, drawn) -> np.ndarray:
    """Turns, shears, scales and moves a text at random.

    Args:
        random: `numpy.random.Generator`.
        drawn: The result of `mask`.

    Returns:
        A float array `(SIDE, SIDE)`, the share of ink in each pixel.
    """
    share = random.uniform(0.62, 0.88)
    scale = max(drawn.size) / (share * 2 * SIDE)
    angle = np.radians(random.uniform(-15, 15))
    stretch = np.exp(random.uniform(-0.15, 0.15))
    shape = [[stretch, random.uniform(-0.2, 0.2)], [0, 1 / stretch]]
    rotation = [
        [np.cos(angle), np.sin(angle)],
        [-np.sin(angle), np.cos(angle)],
    ]
    # From places on a canvas of twice the side to places in `drawn`.
    matrix = scale * np.array(shape) @ rotation
    room = (1 - share) * SIDE
    center = SIDE + random.uniform(-room, room, 2)
    offset = np.array(drawn.size) / 2 - matrix @ center
    canvas = drawn.transform(
        (2 * SIDE, 2 * SIDE),
        Image.Transform.AFFINE,
        np.concatenate([matrix, offset[:, None]], axis=1).ravel().tolist(),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(canvas.reduce(2), "float64") / 255


def texture(random) -> np.ndarray:
    """Draws clouds, waves, checks or grain: `(SIDE, SIDE)` in [0, 1]."""
    kind = random.integers(4)
    if kind in (0, 3):
        cells = random.integers(2, 7) if kind == 0 else SIDE // 2
        coarse = random.uniform(0, 255, (cells, cells)).astype("uint8")
        return (
            np.asarray(
                Image.fromarray(coarse).resize(
                    (SIDE, SIDE), Image.Resampling.BICUBIC
                ),
                "float64",
            )
            / 255
        )
    angle, phase = random.uniform(0, np.pi), random.uniform(0, 2 * np.pi, 2)
    across = np.arange(SIDE) * 2 * np.pi / random.uniform(4, 20)
    u = np.cos(angle) * across + np.sin(angle) * across[:, None]
    v = np.cos(angle) * across[:, None] - np.sin(angle) * across
    waves = np.sin(u + phase[0])
    if kind == 1:
        return (1 + waves) / 2
    return (1 + np.sign(waves * np.sin(v + phase[1]))) / 2


def colors(random) -> np.ndarray:
    """Chooses the colors of the ink and of two backgrounds, `(3, 3)`.

    The backgrounds differ from the ink in luminance.
    """
    while True:
        found = random.uniform(0, 255, (3, 3))
        ink, ground, other = found @ LUMINANCE
        if (
            abs(ground - other) < 50
            and min(abs(ink - ground), abs(ink - other)) > 80
        ):
            return found


def draw(random, drawn) -> np.ndarray:
    """Draws one image of a text.

    Args:
        random: `numpy.random.Generator`.
        drawn: The result of `mask`.

    Returns:
        A uint8 array `(SIDE, SIDE, 3)`.
    """
    share, ground = turned(random, drawn)[..., None], texture(random)[..., None]
    ink, one, other = colors(random)
    image = share * ink + (1 - share) * (ground * one + (1 - ground) * other)
    image += random.uniform(0, 8) * random.standard_normal(image.shape)
    return np.rint(image).clip(0, 255).astype("uint8")


def draw_split(texts, fonts, count, seed) -> dict:
    """Draws images of texts in random fonts, the same number of each text.

    Args:
        texts: List of strings, one per class.
        fonts: List of `Font`.
        count: Int, number of images.
        seed: List of ints.

    Returns:
        A dictionary of arrays: uint8 `images`, int32 `labels`, and `fonts`, the
        name of the font of each image.
    """
    random = np.random.default_rng(seed)
    labels = random.permutation(balanced_labels(len(texts), count))
    of_font = random.integers(len(fonts), size=count)
    images = np.stack(
        [
            draw(random, glyph(fonts[i].path, texts[label]))
            for label, i in zip(labels, of_font, strict=True)
        ]
    )
    names = np.array([font.name for font in fonts])
    return {
        "images": images,
        "labels": labels.astype("int32"),
        "fonts": names[of_font],
    }


def first_by_label(made, count) -> np.ndarray:
    """Returns the first images of a part, in the order of their labels."""
    return made["images"][np.argsort(made["labels"][:count], kind="stable")]


def make_set(name, fonts, counts, seed, folder):
    """Draws a set into a folder: a file for each part, and a picture.

    Args:
        name: String, in `SETS`.
        fonts: The result of `split`.
        counts: Dictionary from `"train"`, `"held_out"` and `"test"` to numbers
            of images.
        seed: Int.
        folder: `pathlib.Path`.
    """
    texts, shown = SETS[name], []
    for i, (part, count) in enumerate(counts.items()):
        of_part = fonts[1] if part == "test" else fonts[0]
        key = [seed, list(SETS).index(name), i]
        made = draw_split(texts, of_part, count, key)
        write_atomically(
            folder / f"{part}.npz", functools.partial(np.savez, **made)
        )
        shown.append(first_by_label(made, 120))
    save_png(folder / "grid.png", grid(np.concatenate(shown[::2]), 20, 1, 2))
