r"""Makes a trained network smaller, without the data it was trained on.

This command removes 50 % of the FLOPs of the network that ships, and trains the
smaller network on synthesized images:

    python examples/prune.py --target=0.5 --output=output/prune

For a comparison, the same on as many real images (the upper bound), on noise,
and without any training after the removal (ranked on the synthesized images):

    python examples/prune.py --data=real \
        --idx_dir=/usr/share/datasets/fashion-mnist
    python examples/prune.py --data=noise
    python examples/prune.py --data=none

`--criterion=magnitude` masks single weights; the target is then the share of
weights that become zero. All other criteria remove whole channels; the target
is then the share of the FLOPs to remove (or, with `--cost`, of the parameters
or the latency). `--pool` takes the images that `examples/distill.py` wrote to
`OUTPUT/pool`.

Repeating the same command resumes a stopped run. The output folder holds
`pruned.keras`; `saved_model/`, whose serving signature takes uint8 pixels; and
`report.html`. The figures are measured on the reloaded SavedModels.

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
from tf_deepinversion.commands import values
from tf_deepinversion.core.files import save_network
from tf_deepinversion.core.labels import classes_of
from tf_deepinversion.datasets import load_images
from tf_deepinversion.quantization import on_litert
from tf_deepinversion.reports import bars
from tf_deepinversion.reports import measure_pruned
from tf_deepinversion.reports import page

FLAGS = flags.FLAGS
COSTS = ["flops", "parameters", "latency"]
RUNTIMES = {
    "tensorflow": None,
    "litert": on_litert(),
    "litert_int8": on_litert("int8"),
}
CRITERIA = ["taylor", "fisher", "bn_scale", "filter_norm", "random"]
DATA = ["none", "noise", "synthesized", "real"]
given.define_network()
given.define_images()
given.define_targets()
flags.DEFINE_float("target", 0.5, "Share of the cost to remove.", 0, 1)
flags.DEFINE_enum("cost", "flops", COSTS, "Cost to reduce.")
flags.DEFINE_enum(
    "criterion", "taylor", [*CRITERIA, "magnitude"], "How to rank."
)
flags.DEFINE_enum("data", "synthesized", DATA, "Training images.")
flags.DEFINE_string("pool", None, "Folder of existing images.")
flags.DEFINE_integer("images", 2560, "Number of images.", lower_bound=1)
flags.DEFINE_string("recipe", "distillation_pixels", "Of the images.")
flags.DEFINE_integer(
    "synthesis_steps", None, "Per batch of 256 images; the recipe's."
)
flags.DEFINE_integer(
    "first_steps", None, "Of the first batch, in which a generator learns most."
)
flags.DEFINE_integer("rounds", None, "Of removing; as --target needs.")
flags.DEFINE_integer("steps_per_round", 300, "Training steps.")
flags.DEFINE_integer("steps", 3000, "Training steps in the last round.")
flags.DEFINE_float("learning_rate", 0.06, "Of the training.")
flags.DEFINE_integer("ranking_batches", 30, "Batches for the ranking.")
flags.DEFINE_integer("batch_size", 128, "For training and ranking.")
flags.DEFINE_integer("multiple_of", 1, "Divisor of the widths; 8: fast.")
flags.DEFINE_enum(
    "selection", "ranking", ["ranking", "knapsack"], "How to choose channels."
)
flags.DEFINE_float("strength", 0.25, "Strength of the augmentations.")
flags.DEFINE_string(
    "dtype", None, "mixed_bfloat16; or auto, which takes it if faster here."
)
flags.DEFINE_integer("latency_batch", 32, "Images of a timed call.")
flags.DEFINE_enum(
    "runtime", "tensorflow", [*RUNTIMES], "For the table of --cost=latency."
)
flags.DEFINE_integer("seed", 0, "Another seed gives other images.")
flags.DEFINE_string("output", None, "Folder; default: output/prune_DATA.")


def make_images(teacher, fed, output):
    """Returns the pool of images for ranking and training."""
    shape = teacher.input_shape[1:]
    classes = classes_of(teacher)
    if FLAGS.data == "real":
        images, labels = given.training_images()
        order = np.random.default_rng(FLAGS.seed).permutation(len(images))
        rows = order[: FLAGS.images]
        images, labels = images[rows], labels[rows]
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
            recipe=FLAGS.recipe,
            folder=output,
            seed=FLAGS.seed,
            batches=FLAGS.images // batch,
            images=batch,
            steps=FLAGS.synthesis_steps,
            first_steps=FLAGS.first_steps,
            preprocessing=fed,
            dtype=FLAGS.dtype,
            targets=values.targets(FLAGS),
        )
    return di.Pool.of(images, labels, classes)


def prune(teacher, fed, pool, output):
    """Returns the network, and for each layer the widths before and after."""
    recovered = FLAGS.data != "none"
    recovery = {
        "batch_size": FLAGS.batch_size,
        "transforms": di.augmentations(FLAGS.strength),
        "preprocessing": fed,
        "dtype": FLAGS.dtype,
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
        measured = FLAGS.runtime, FLAGS.multiple_of, FLAGS.latency_batch
        path = output / ("_".join(["latency", *map(str, measured)]) + ".json")
        if not path.exists():  # another measurement would change the run
            pruning.LatencyTable.measure(
                graph,
                levels=8,
                step=FLAGS.multiple_of,
                batch_size=FLAGS.latency_batch,
                run=RUNTIMES[FLAGS.runtime],
            ).save(path)
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
        learning_rate=FLAGS.learning_rate,
        ranking_batches=FLAGS.ranking_batches,
        multiple_of=FLAGS.multiple_of,
        selection=FLAGS.selection,
        **recovery,
    )
    return result.student, pruning.channel_widths(graph, result.keep)


def unread() -> list:
    """Lists the flags that a run with the other flags does not read."""
    found = []
    if FLAGS.criterion == "magnitude":
        found += ["cost", "rounds", "steps_per_round", "ranking_batches"]
        found += ["multiple_of", "selection", "learning_rate"]
    if FLAGS.cost != "latency" or FLAGS.criterion == "magnitude":
        found += ["runtime"]
    if FLAGS.pool:
        found += ["images"]
    if FLAGS.pool or FLAGS.data in ("noise", "real"):
        found += ["recipe", "synthesis_steps", "first_steps", "targets"]
    return found


def main(_):
    given.refuse_unread(unread())
    if FLAGS.data == "real" and not (FLAGS.idx_dir or FLAGS.tfds_dir):
        raise app.UsageError("--data=real needs --idx_dir or --tfds_dir.")
    if FLAGS.pool and FLAGS.data in ("noise", "real"):
        raise app.UsageError(f"--data={FLAGS.data} reads no --pool.")
    synthesizes = FLAGS.data in ("none", "synthesized") and not FLAGS.pool
    if synthesizes and FLAGS.images % min(256, FLAGS.images):
        raise app.UsageError(
            "Expected a multiple of 256, or fewer images: a batch has 256. "
            f"Received: --images={FLAGS.images}"
        )
    begin = time.monotonic()
    teacher, fed, test, _ = given.load()
    output = pathlib.Path(FLAGS.output or f"output/prune_{FLAGS.data}")
    output.mkdir(parents=True, exist_ok=True)
    pool = make_images(teacher, fed, output)
    made = time.monotonic()
    student, left = prune(teacher, fed, pool, output)
    save_network(output / "pruned.keras", student)
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
        # Masks reduce no cost, and choose no channels.
        **{
            name: None if FLAGS.criterion == "magnitude" else FLAGS[name].value
            for name in ("cost", "selection")
        },
        "target": FLAGS.target,
        "widths": left,
        "images": len(pool),
        "minutes_images": (made - begin) / 60,
        "minutes": (time.monotonic() - begin) / 60,
        **given.identity(teacher),
    }
    chart = bars(
        left, "Channels or weights of each layer: before (gray), after (blue)."
    )
    body = chart + page.listed(figures)
    page.write_page(output / "report.html", "What is left", body)
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main, given.command_line())
