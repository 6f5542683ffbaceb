r"""Draws data sets in color: letters of free fonts on textured grounds.

    python benchmarks/glyphs.py --fonts=FOLDER --output=glyphs

makes three, of 32x32x3 pixels: `k_to_t`, ten classes; `a_to_z`, 26 classes;
`pairs`, 100 classes (ten first letters by ten second ones). Each is a folder
with `train.npz` (30,000 images), `held_out.npz` (5,000 others of the same
fonts, to tune by), `test.npz` (5,000 of fonts that no other image is of), each
of `images`, `labels` and the `fonts` that they are of, and `grid.png`, training
images above, test images below. The same fonts and seed give the same images.

FOLDER is searched for .ttf and .otf files, such as those of Debian's packages
of fonts, which need not be installed:

    apt-get download fonts-lato fonts-dejavu-core ...
    for package in *.deb; do dpkg -x $package FOLDER; done

It was run with those of Debian 12 named fonts- and adf-accanthis,
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
urw-base35, vollkorn, yanone-kaffeesatz: 869 of their fonts have all letters,
142 were trained on and 37 tested on. It took eleven minutes on two cores that
much else was running on.
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
flags.DEFINE_list("sets", list(SETS), "Of those three.")
flags.DEFINE_integer("train", 30_000, "Images to train on.", 1)
flags.DEFINE_integer("held_out", 5_000, "Images to tune by.", 1)
flags.DEFINE_integer("test", 5_000, "Images to test on, of other fonts.", 1)
flags.DEFINE_integer("per_family", 2, "Fonts of a family at most.", 1)
flags.DEFINE_integer("seed", 0, "Of all draws.", 0)
flags.DEFINE_string("output", "output/glyphs", "Folder, with one for each set.")


def main(_):
    if not FLAGS.fonts:
        raise app.UsageError("--fonts: a folder of .ttf and .otf files.")
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
