r"""Draws data sets in color: letters of free fonts on textured backgrounds.

    python benchmarks/glyphs.py --fonts=FOLDER --output=glyphs

The command makes three data sets of 32x32x3 pixels: `k_to_t` with ten classes,
`a_to_z` with 26 classes, and `pairs` with 100 classes (ten first letters times
ten second letters). Each data set is a folder:

- `train.npz`: 30,000 images;
- `held_out.npz`: 5,000 other images of the same fonts, for tuning;
- `test.npz`: 5,000 images of other fonts;
- `grid.png`: training images above, test images below.

Each .npz holds `images`, `labels` and `fonts`, the font of each image. The same
fonts and seed give the same images.

The command searches FOLDER for .ttf and .otf files, such as the files of
Debian's font packages. The packages need not be installed:

    apt-get download fonts-lato fonts-dejavu-core ...
    for package in *.deb; do dpkg -x $package FOLDER; done

We ran the command with these packages of Debian 12, each name after `fonts-`:
adf-accanthis,
adf-baskervald, adf-berenis, adf-gillius, adf-ikarius, adf-irianis, adf-libris,
adf-mekanus, adf-romande, adf-solothurn, adf-switzera, adf-tribun,
adf-universalis, adf-verana, allerta, anonymous-pro, arapey, averia-sans-gwf,
averia-serif-gwf, b612, bebas-neue, beteckna, breip, cabin, cantarell, cardo,
clear-sans, comfortaa, comic-neue, courier-prime, crosextra-caladea,
crosextra-carlito, dejavu-core, dosis, dustin, ebgaramond, essays1743,
eurofurence, fantasque-sans, fanwood, firacode, freefont-ttf, georgewilliams,
go, goudybookletter, hack, humor-sans, inconsolata, jetbrains-mono, junction,
junicode, jura, karla, lato, league-mono, league-spartan, liberation,
lindenhill, linuxlibertine, lmodern, manrope, national-park, oldstandard,
open-sans, opendin, opendyslexic, oxygen, paratype, play, prociono,
quattrocento, quicksand, roboto-slab, roboto-unhinted, routed-gothic,
sil-andika, sil-charis, sil-gentium-basic, sora, stix, texgyre, tiresias, tuffy,
urw-base35, vollkorn, yanone-kaffeesatz. 869 of their fonts have all letters;
142 fonts are for training and 37 for testing. The run took eleven minutes on
two busy cores.
"""

import json
import pathlib
import time

from absl import app
from absl import flags
from letters import SETS
from letters import choose
from letters import make_set
from letters import read_fonts
from letters import split

FLAGS = flags.FLAGS
flags.DEFINE_string("fonts", None, "Folder of .ttf and .otf files.")
flags.DEFINE_list("sets", list(SETS), "Data sets to make.")
flags.DEFINE_integer("train", 30_000, "Training images.", 1)
flags.DEFINE_integer("held_out", 5_000, "Images for tuning.", 1)
flags.DEFINE_integer("test", 5_000, "Test images, of other fonts.", 1)
flags.DEFINE_integer("per_family", 2, "Most fonts of a family.", 1)
flags.DEFINE_integer("seed", 0, "Random seed.", 0)
flags.DEFINE_string("output", "output/glyphs", "Folder for the data sets.")


def main(_):
    if not FLAGS.fonts:
        raise app.UsageError("--fonts needs a folder of .ttf and .otf files.")
    for name in FLAGS.sets:
        if name not in SETS:
            raise app.UsageError(f"--sets: {name!r} is not in {list(SETS)}.")
    begin = time.monotonic()
    found = read_fonts(FLAGS.fonts)
    fonts = split(choose(found, FLAGS.per_family))
    counts = {name: FLAGS[name].value for name in ("train", "held_out", "test")}
    for name in FLAGS.sets:
        folder = pathlib.Path(FLAGS.output) / name
        make_set(name, fonts, counts, FLAGS.seed, folder)
    figures = {
        "sets": {name: len(SETS[name]) for name in FLAGS.sets},
        "images": counts,
        "fonts_found": len(found),
        "training_fonts": len(fonts[0]),
        "test_fonts": len(fonts[1]),
        "test_families": sorted({font.family for font in fonts[1]}),
        "seed": FLAGS.seed,
        "seconds": time.monotonic() - begin,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
