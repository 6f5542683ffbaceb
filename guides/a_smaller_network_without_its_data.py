"""
Title: A smaller network without its data
Author: The tf_deepinversion authors
Date created: 2026/11/28
Last modified: 2026/11/28
Description: Distill, prune, export and quantize a network that has no data.
Accelerator: None
"""

"""
## Introduction

You have a trained classifier, its data are gone, and it is too large for where
it must run. This guide makes it smaller in three ways, each from the network
alone:

- *distillation* trains a smaller network of any architecture to answer as the
  network does;
- *pruning* removes channels of the network itself;
- *quantization* computes in whole numbers of 8 bits.

All three need images. The library synthesizes images that the network
remembers; the guide
[What does my network remember?](what_does_my_network_remember.py) shows how
they look. With the numbers below the guide takes minutes and its students are
poor. The comments say which numbers make good ones.
"""

"""
## Setup
"""

import pathlib

import keras

import tf_deepinversion as di

ROUNDS = 4  # 32 for a good student: an hour of one CPU core
STEPS_PER_ROUND = 60  # 480
IMAGES_PER_ROUND = 64  # 256
STEPS_OF_SYNTHESIS = 40  # 100

output = pathlib.Path("output/smaller")
teacher = di.load_pretrained("fashion_mnist_resnet20")
print(f"The teacher has {teacher.count_params():,} weights.")

"""
## Images first

A pool of images serves all that follows. `synthesize` makes it in batches and
keeps it in a folder: killed at any moment, the same call goes on.
"""

pool = di.synthesize(
    teacher,
    recipe="distillation_pixels",
    batches=ROUNDS,
    images=IMAGES_PER_ROUND,
    steps=STEPS_OF_SYNTHESIS,
    folder=output / "pool",
)
print(f"The pool has {len(pool)} images.")

"""
## A student

Any Keras model with the teacher's classes can be a student. `distill` trains
it on random images of the pool to give the teacher's answers, which say more
than labels do: how much a shirt looks like a coat. A student that is a network
of the library says by itself how it is fed; of another one, pass
`student_preprocessing`.
"""

student = di.models.ResNet14((28, 28, 1), classes=10, width=8)
result = di.distill(
    teacher,
    student,
    pool,
    rounds=ROUNDS,
    steps_per_round=STEPS_PER_ROUND,
    folder=output / "distill",
)
print(f"The student has {result.student.count_params():,} weights.")

"""
## Is the student good?

Without test data nobody can say how many images of the world the student gets
right. The question that can be answered is how often the student says what its
teacher says. Ask it about images that the student was not trained on: a second
pool, of another seed.
"""

held_out = di.synthesize(
    teacher,
    recipe="distillation_pixels",
    batches=1,
    images=IMAGES_PER_ROUND,
    steps=STEPS_OF_SYNTHESIS,
    seed=1,
)


def agreement(network):
    return di.metrics.agreement(teacher, network, held_out.images)


print(f"The student agrees on {agreement(result.student):.0%} of new images.")

"""
If you have a few real images, labeled or not, ask about these as well:
synthesized images lie closer to the borders of the classes than real ones, so
the agreement on real images is higher.

## Pruning

`prune` ranks the channels of the network, removes the least important ones and
trains what is left, in rounds. It starts from a trained network, so it needs
fewer steps than a student that starts from random weights.
"""

pruned = di.prune(
    teacher,
    pool,
    target=0.5,
    rounds=2,
    steps_per_round=STEPS_PER_ROUND,
    final_steps=STEPS_PER_ROUND,
)
print(f"The pruned network has {pruned.student.count_params():,} weights.")
print(f"It agrees on {agreement(pruned.student):.0%} of new images.")

"""
## Export

A `.keras` file keeps the network for Keras. A SavedModel takes pixels from 0
to 255 as they are and runs wherever TensorFlow does.
"""

result.student.save(output / "student.keras")
di.export(result.student, output / "saved_model")
keras.models.load_model(output / "student.keras").summary()

"""
## Eight bits

`quantize` needs images to learn the range of each layer's values; a hundred
will do. The file is a LiteRT model, a quarter of the size.
"""

content = di.quantize(result.student, pool.images[:100])
(output / "student.tflite").write_bytes(content)
int8 = di.quantization.LiteRT(content)
same = int8(held_out.images).argmax(-1) == held_out.labels
print(f"The int8 model has {len(content) / 1024:.0f} KiB.")
print(f"It agrees with the teacher on {same.mean():.0%} of new images.")

"""
## What to do next

- A better student: the numbers in the comments of the setup. The student of a
  quarter of the weights then has 91.2 % on Fashion-MNIST's test images, the
  teacher 94.6 % (mean of three seeds).
- Real images, even without labels, go into the pool by `pool.add`.
- New classes for the network: `di.learn_tasks`.
"""
