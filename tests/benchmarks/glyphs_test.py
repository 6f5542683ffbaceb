"""benchmarks/glyphs.py: which fonts count, and that one seed is one set."""

import numpy as np
import pytest
from PIL import Image
from PIL import ImageFont
from processes import start

from benchmarks import letters

ORDER = range(len(letters.LETTERS))


@pytest.fixture(scope="module")
def font_file(tmp_path_factory):
    """A font file: the one that Pillow carries."""
    path = tmp_path_factory.mktemp("fonts") / "font.ttf"
    path.write_bytes(ImageFont.load_default(20).path.getvalue())
    return path


def made_up(name, shapes):
    family, _, style = name.rpartition(" ")
    return letters.Font(family, style, f"{name}.ttf", np.float32(shapes))


def stripes(width=8, order=ORDER):
    """Letters of a made-up font: each is a bar at a place of its own."""
    shapes = np.zeros((len(ORDER), letters.SHAPE, letters.SHAPE), "float32")
    for i, letter in enumerate(order):
        rows = (np.arange(width) + letter) % letters.SHAPE
        shapes[i, rows, : letters.SHAPE - letter // letters.SHAPE] = 1
    return shapes


def test_files_that_are_no_fonts_are_passed_over(font_file):
    (font_file.parent / "none.otf").write_text("no font")
    (font_file.parent / "readme.txt").write_text("a font? no")
    (font,) = letters.read_fonts(font_file.parent)
    assert (font.family, font.path) == ("Aileron", str(font_file))
    assert font.shapes.shape == (26, letters.SHAPE, letters.SHAPE)
    # An O is hollow, an I is a bar, and a mask has no margin.
    o, i = (font.shapes[letters.LETTERS.index(x)] for x in "OI")
    assert o[10:14, 10:14].max() == 0
    assert min(side.max() for side in (o[0], o[-1], o[:, 0], o[:, -1])) > 0
    assert i.min() > 0.2


def test_a_font_without_letters_is_passed_over(font_file, monkeypatch):
    monkeypatch.setattr(letters, "LETTERS", "AB\ue000")
    assert letters.read_fonts(font_file.parent) == []
    monkeypatch.setattr(letters, "LETTERS", "A ")
    assert letters.read_fonts(font_file.parent) == []


def test_symbols_hairlines_clones_and_too_many_of_a_family_are_left_out():
    fonts = [
        made_up("Sans Regular", stripes()),
        made_up("Twin Regular", stripes()),
        made_up("Sans Bold", stripes(width=10)),
        made_up("Symbols Regular", stripes(order=np.roll(ORDER, 9))),
        made_up("Hair Thin", stripes(width=2)),
        made_up("Sans Black", stripes(width=13)),
        made_up("Serif Regular", stripes(width=12)),
    ]
    chosen = [font.name for font in letters.choose(fonts, per_family=2)]
    assert chosen == ["Sans Regular", "Sans Bold", "Serif Regular"]


def test_no_family_is_both_trained_on_and_tested_on():
    fonts = [
        made_up(f"{family} {kind} {style}", stripes())
        for family in "abcdefghijk"
        for kind in ("Sans", "Serif")
        for style in ("Bold", "Regular")
    ]
    trained, tested = letters.split(fonts)
    assert sorted(trained + tested, key=fonts.index) == fonts
    groups = [{font.family[0] for font in part} for part in (trained, tested)]
    assert [len(group) for group in groups] == [9, 2]
    assert not groups[0] & groups[1]
    # Nor does it depend on the order of the files.
    assert {font.name for font in letters.split(fonts[::-1])[1]} == {
        font.name for font in tested
    }
    with pytest.raises(ValueError, match="at least two families"):
        letters.split(fonts[:4])


def test_a_person_reads_the_text():
    """Ink and ground are apart wherever ink is."""
    random = np.random.default_rng(0)
    square = Image.new("L", (40, 40), 255)
    for _ in range(20):
        ink, one, other = letters.colors(random) @ letters.LUMINANCE
        assert min(abs(ink - one), abs(ink - other)) > 80
        texture = letters.texture(random)
        assert texture.shape == (32, 32)
        assert 0 <= texture.min() < texture.max() <= 1
        # 62 to 88 % of 32 pixels, stretched by 15 % at most one way and shrunk
        # the other: its area is nearly that of the square.
        ink = letters.turned(random, square)
        assert 0.75 * (0.62 * 32) ** 2 < ink.sum() < 1.05 * (0.88 * 32) ** 2


def test_one_seed_is_one_set(font_file):
    fonts = letters.read_fonts(font_file.parent)
    made, again, other = (
        letters.draw_split(("AC", "DB"), fonts, 7, [seed, 1])
        for seed in (3, 3, 4)
    )
    assert made["images"].shape == (7, 32, 32, 3)
    assert made["images"].dtype == "uint8"
    assert sorted(made["labels"]) == [0, 0, 0, 0, 1, 1, 1]
    for name, array in made.items():
        np.testing.assert_array_equal(array, again[name])
    assert (made["images"] != other["images"]).mean() > 0.9


def test_a_set_is_three_files_and_a_picture(font_file, tmp_path):
    (font,) = letters.read_fonts(font_file.parent)
    fonts = [font], [font._replace(style="Tested")]
    counts = {"train": 101, "held_out": 9, "test": 8}
    letters.make_set("pairs", fonts, counts, 0, tmp_path)
    parts = {}
    for name in counts:
        with np.load(tmp_path / f"{name}.npz") as file:
            parts[name] = dict(file)
    assert [len(p["images"]) for p in parts.values()] == [101, 9, 8]
    assert np.bincount(parts["train"]["labels"]).tolist() == [2] + 99 * [1]
    assert set(parts["held_out"]["fonts"]) == {font.name}
    assert set(parts["test"]["fonts"]) == {"Aileron Tested"}
    assert parts["train"]["images"][:9].tolist() != (
        parts["held_out"]["images"].tolist()
    )
    with Image.open(tmp_path / "grid.png") as image:
        # 101 training images and 8 to test on, twenty a row.
        assert image.size == (20 * 34 - 2, 6 * 34 - 2)


@pytest.mark.slow
def test_the_script_wants_two_families(font_file):
    process = start("glyphs.py", f"--fonts={font_file.parent}")
    output = process.communicate()[0]
    assert process.returncode == 1
    assert "Expected fonts of at least two families" in output
