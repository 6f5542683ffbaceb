r"""Makes a trained network smaller, without the data it was trained on.

The network that ships, at half its FLOPs, recovered on synthesized images:

    python examples/prune.py --target=0.5 --output=output/prune

Beside it, as ceiling and floors, the same on real images, on noise, and
without any recovery (ranked on the same images):

    python examples/prune.py --data=real \
        --idx_dir=/usr/share/datasets/fashion-mnist
    python examples/prune.py --data=noise
    python examples/prune.py --data=none

`--criterion=magnitude` masks single weights, and the target is then the share
of them that become zero; all others remove whole channels, and the target is
the share of the FLOPs (`--cost`: parameters, latency) that goes. `--pool` takes
the images that `examples/distill.py` left in `OUTPUT/pool`. The same command
started again goes on where it was stopped. In the output folder:
`pruned.keras`; `saved_model/`, whose serving signature takes uint8 pixels;
`report.html`. Figures are of the SavedModels, reloaded.

A tiny run, to see that everything works: `--rounds=1 --steps=2 --images=20
--first_steps=5 --ranking_batches=2`.
"""

import json
import pathlib
import time

import given
import numpy as np
from absl import app
from absl import flags

import tf_deepinversion as di
from tf_deepinversion import pruning
from tf_deepinversion.datasets import load_images
from tf_deepinversion.reports import bars
from tf_deepinversion.reports import measure_pruned
from tf_deepinversion.reports import page

FLAGS = flags.FLAGS
COSTS = ["flops", "parameters", "latency"]
CRITERIA = ["taylor", "fisher", "bn_scale", "filter_norm", "random"]
DATA = ["none", "noise", "synthesized", "real"]
given.define_network()
given.define_images()
flags.DEFINE_float("target", 0.5, "The share that is to go.")
flags.DEFINE_enum("cost", "flops", COSTS, "What the target counts.")
flags.DEFINE_enum(
    "criterion", "taylor", [*CRITERIA, "magnitude"], "What ranks channels."
)
flags.DEFINE_enum("data", "synthesized", DATA, "What it recovers on.")
flags.DEFINE_string("pool", None, "Folder of images, if none are made.")
flags.DEFINE_integer("images", 2560, "Synthesized, or noise.", lower_bound=1)
flags.DEFINE_integer("synthesis_steps", 50, "A batch of 256 images.")
flags.DEFINE_integer("first_steps", 300, "Of the generator's first batch.")
flags.DEFINE_integer("rounds", 5, "Each ranks, removes and trains.")
flags.DEFINE_integer("steps_per_round", 100, "Of training, but the last.")
flags.DEFINE_integer("steps", 1000, "Of training in the last round.")
flags.DEFINE_integer("ranking_batches", 30, "By which channels are ranked.")
flags.DEFINE_integer("batch_size", 128, "Of training and ranking.")
flags.DEFINE_integer("multiple_of", 1, "Of the channels left; 8 for speed.")
flags.DEFINE_float("eta", 0.0, "Weight of the hardware-aware term.")
flags.DEFINE_float("strength", 1.0, "Of what images go through.")
flags.DEFINE_integer("latency_batch", 32, "Images a call, where it is timed.")
flags.DEFINE_integer("seed", 0, "Another seed gives other images.")
flags.DEFINE_string("output", None, "Folder; by default output/prune_DATA.")


def make_images(teacher, fed, output):
    """A pool of the images on which channels are ranked and all is trained."""
    shape, classes = teacher.input_shape[1:], teacher.output_shape[-1]
    if FLAGS.data == "real":
        images, labels = given.training_images()
    elif FLAGS.pool:
        images, labels = load_images(FLAGS.pool, shape[-1])
    elif FLAGS.data == "noise":
        random = np.random.default_rng(FLAGS.seed)
        images = random.integers(0, 256, (FLAGS.images, *shape), "uint8")
        labels = np.arange(FLAGS.images) % classes
    else:
        batch = min(256, FLAGS.images)
        return di.synthesize(
            teacher,
            folder=output,
            seed=FLAGS.seed,
            batches=FLAGS.images // batch,
            images=batch,
            steps=FLAGS.synthesis_steps,
            first_steps=FLAGS.first_steps,
            preprocessing=fed,
        )
    return di.Pool.of(images, labels, classes)


def prune(teacher, fed, pool, output):
    """The network, and by layer what it had and what is left."""
    recovered = FLAGS.data != "none"
    recovery = {
        "batch_size": FLAGS.batch_size,
        "transforms": di.augmentations(FLAGS.strength),
        "preprocessing": fed,
        "folder": output,
        "seed": FLAGS.seed,
    }
    if FLAGS.criterion == "magnitude":
        steps = FLAGS.steps if recovered else 0
        student, _, kept = di.sparsify(
            teacher, pool, target=FLAGS.target, steps=steps, **recovery
        )
        return student, kept
    graph, cost = pruning.ChannelGraph(teacher), FLAGS.cost
    if cost == "latency":
        path = output / "latency_table.json"
        if not path.exists():  # a second measurement would be another run
            batch = FLAGS.latency_batch
            pruning.LatencyTable.measure(graph, batch_size=batch).save(path)
        cost = pruning.LatencyTable.load(path)
    result = di.prune(
        teacher,
        pool,
        target=FLAGS.target,
        cost=cost,
        criterion=FLAGS.criterion,
        rounds=FLAGS.rounds if recovered else 1,
        steps_per_round=FLAGS.steps_per_round,
        final_steps=FLAGS.steps if recovered else 0,
        ranking_batches=FLAGS.ranking_batches,
        multiple_of=FLAGS.multiple_of,
        eta=FLAGS.eta,
        **recovery,
    )
    return result.student, pruning.channel_widths(graph, result.keep)


def main(_):
    if FLAGS.data == "real" and not (FLAGS.idx_dir or FLAGS.tfds_dir):
        raise app.UsageError("--data=real needs --idx_dir or --tfds_dir.")
    if FLAGS.pool and FLAGS.data in ("noise", "real"):
        raise app.UsageError(f"--data={FLAGS.data} reads no --pool.")
    if FLAGS.images % min(256, FLAGS.images):
        raise app.UsageError(
            "--images are made 256 at a time: expected a multiple of 256, or "
            f"fewer. Received: {FLAGS.images}"
        )
    begin = time.monotonic()
    teacher, fed, test, _ = given.load()
    output = pathlib.Path(FLAGS.output or f"output/prune_{FLAGS.data}")
    output.mkdir(parents=True, exist_ok=True)
    pool = make_images(teacher, fed, output)
    made = time.monotonic()
    student, left = prune(teacher, fed, pool, output)
    student.save(output / "pruned.keras")
    figures = measure_pruned(
        teacher,
        student,
        pool.images,
        output,
        preprocessing=fed,
        test_data=test,
        latency_batch=FLAGS.latency_batch,
    )
    figures |= {
        "data": FLAGS.data,
        "criterion": FLAGS.criterion,
        "target": FLAGS.target,
        "widths": left,
        "images": len(pool),
        "minutes_images": (made - begin) / 60,
        "minutes": (time.monotonic() - begin) / 60,
        **given.identity(teacher),
    }
    chart = bars(left, "What each layer had, and what is left of it.")
    body = chart + page.listed(figures)
    page.write_page(output / "report.html", "What is left", body)
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
