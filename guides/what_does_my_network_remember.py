"""
Title: What does my network remember?
Author: The tf_deepinversion authors
Date created: 2026/11/28
Last modified: 2026/11/28
Description: Synthesize the images that a trained classifier remembers.
Accelerator: None
"""

"""
## Introduction

A trained image classifier remembers more of its training data than its
weights show. Each BatchNormalization layer stores the mean and the variance of
every feature over the training images. DeepInversion
([Yin et al., 2020](https://arxiv.org/abs/1912.08795)) starts from noise and
changes the pixels until two conditions hold: the network recognizes the images
as the requested classes, *and* its layers see the stored statistics. The result
looks like the training data, although DeepInversion reads no training image.

This guide takes ten minutes on a CPU. It uses a network that the library
ships, a ResNet-20 trained on Fashion-MNIST. Each step says what to change for
your own network.
"""

"""
## Setup
"""

import numpy as np

import tf_deepinversion as di

STEPS = 200  # 1,000 make the best images

"""
## The network

Any `keras.Model` with BatchNormalization layers works: functional, sequential
or subclassed, with logits or a softmax at its end. For your own network, write
`teacher = keras.models.load_model("mine.keras")`.
"""

teacher = di.load_pretrained("fashion_mnist_resnet20")
names = di.datasets.FASHION_MNIST_CLASSES

"""
## Is the preprocessing right?

The most common mistake is wrong preprocessing: the network gets pixels from 0
to 255, but it was trained on values from -1 to 1. A `Preprocessing` describes
the inputs of a network. The library knows the preprocessing of the networks
that it ships and of `keras.applications`. For your own network, give the mean
and the standard deviation of the training pixels in gray levels, and the
network's inputs for black and white:

    preprocessing = di.Preprocessing(mean=73, std=90, pixel_range=(-1, 1))

`check_preprocessing` compares the preprocessing with what the network
remembers. The first BatchNormalization layer sees a linear function of the
image, so its statistics tell the mean and the deviation of the network's inputs
in training.
"""

found = di.check_preprocessing(teacher)
print("the preprocessing feeds:", found.told)
print("the network remembers:  ", found.remembered)

"""
The two agree. If they contradicted each other, a warning would name both.

## The images

A `DeepInversion` is a Keras model whose only variables are the images. `fit`
synthesizes an image for each label. Here an epoch is a number of steps, because
there is no data to pass over.
"""

labels = np.arange(10).repeat(2)
model = di.DeepInversion(teacher)
history = model.fit(labels, steps=STEPS, steps_per_epoch=50)

"""
The objective has three terms. The cross-entropy makes the network recognize
each image as its class. The feature statistics make each layer see the
statistics that it stores. The total variation makes the images smooth.
"""

for name, values in history.history.items():
    print(f"{name}: {values[0]:.3g} -> {values[-1]:.3g}")

"""
Here is what the network remembers. In a notebook the last line of a cell is
displayed; in a script, write `picture.save("images.png")`.
"""

picture = di.show(model.images, labels, names)
picture

"""
## Are the images good?

The network itself recognizes the images, because they were optimized for that.
The real test is whether *another* network recognizes them, which took no part
in the synthesis. The library ships a second network of another family, a
VGG-11.
"""

verifier = di.load_pretrained("fashion_mnist_vgg11")
for network, name in ((teacher, "the network itself"), (verifier, "another")):
    right = di.metrics.accuracy(network, model.images, labels)
    print(f"{name} recognizes {right:.0%} of the images")

"""
Without the statistics, the pixels fool only the network itself. The statistics
make the images look like the training data.

## What this means for privacy

A network with its BatchNormalization statistics reveals what its training data
looked like: a network that recognizes emotions reveals faces. The images are
averages of what the network learned, not copies of training images. But whoever
publishes a network publishes these images, too.

## What to do next

- Make better images: leave out `steps`, for the recipe's 1,000 steps.
- Keep images: `di.synthesize(teacher, folder="pool")` makes a pool.
- Make the network smaller without data, with the guide
  [A smaller network without its data](a_smaller_network_without_its_data.py).
"""
