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

You have a trained classifier without its training data, and the classifier is
too large for its device. This guide makes the classifier smaller in three ways.
Each way needs the network alone:

- *distillation* trains a smaller network of any architecture to predict like
  the large network;
- *pruning* removes channels of the network itself;
- *quantization* computes in integers of 8 bits.

All three need images. The library synthesizes images that the network
remembers. The guide
[What does my network remember?](what_does_my_network_remember.py) shows such
images. With the numbers below, the guide takes minutes and its students are
poor. The comments give the numbers for good students.
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

All following steps use one pool of images. `synthesize` makes the pool in
batches and saves it in a folder. You may stop the program at any moment:
repeating the same call resumes.
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
the student on random images of the pool, with the teacher's outputs as targets.
The outputs tell more than labels: how much a shirt looks like a coat. The
library knows the preprocessing of its own networks. For another student, pass
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

Without test data nobody can measure the student's accuracy on real images. But
you can measure how often student and teacher predict the same class. Use images
on which the student did not train: a second pool, with another seed.
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
If you have a few real images, labeled or not, measure the agreement on them,
too. Synthesized images lie closer to the borders between the classes than real
images, so the agreement on real images is higher.

## Pruning

`prune` works in rounds. Each round ranks the channels of the network, removes
the least important channels and trains the smaller network. Pruning starts from
a trained network, so it needs fewer steps than a student with random weights.
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

A `.keras` file stores the network for Keras. A SavedModel takes unchanged
pixels from 0 to 255 and runs wherever TensorFlow runs.
"""

result.student.save(output / "student.keras")
di.export(result.student, output / "saved_model")
keras.models.load_model(output / "student.keras").summary()

"""
## Eight bits

`quantize` needs images to measure the range of each layer's values; a hundred
images suffice. The result is a LiteRT model of 25 % of the size.
"""

content = di.quantize(result.student, pool.images[:100])
(output / "student.tflite").write_bytes(content)
int8 = di.quantization.LiteRT(content)
same = int8(held_out.images).argmax(-1) == held_out.labels
print(f"The int8 model has {len(content) / 1024:.0f} KiB.")
print(f"It agrees with the teacher on {same.mean():.0%} of new images.")

"""
## What to do next

- Train a better student with the numbers in the comments of the setup. A
  `ResNet20` of width 8, which has 25 % of the weights, then reaches 92.2 % on
  Fashion-MNIST's test images (three seeds). The teacher reaches 94.6 %.
- Add real images: make a pool of them by `di.Pool.of`, and join both pools by
  `di.datasets.join_pools`.
- Teach the network new classes by `di.learn_tasks`.
"""
