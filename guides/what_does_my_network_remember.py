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
weights show. Each BatchNormalization layer keeps the mean and the variance of
every feature over the training images. DeepInversion
([Yin et al., 2020](https://arxiv.org/abs/1912.08795)) starts from noise and
moves the pixels until the network takes the images for the classes asked for
*and* its layers see the statistics that they remember. What appears looks like
the training data, and no training image is read.

This guide takes ten minutes on a CPU. It uses a network that the library
ships, a ResNet-20 trained on Fashion-MNIST, and says at each step what to
change for a network of your own.
"""

"""
## Setup
"""

import numpy as np

import tf_deepinversion as di

STEPS = 200  # 1,000 make the best images

"""
## The network

Any `keras.Model` with BatchNormalization layers will do: functional,
sequential or subclassed, with logits or a softmax at its end. For a network of
your own, write `teacher = keras.models.load_model("mine.keras")`.
"""

teacher = di.load_pretrained("fashion_mnist_resnet20")
names = di.datasets.FASHION_MNIST_CLASSES

"""
## Is the preprocessing right?

The commonest mistake is a network that is fed other values than in training:
pixels from 0 to 255 where it knows values from -1 to 1. A `Preprocessing` says
what a network is fed. The library knows the preprocessing of the networks that
it ships and of `keras.applications`. For a network of your own, say the mean
and the deviation of the training pixels in gray levels, and the values that
the network is fed for black and white:

    preprocessing = di.Preprocessing(mean=73, std=90, pixel_range=(-1, 1))

`check_preprocessing` compares the preprocessing with what the network
remembers. The first BatchNormalization layer sees a linear function of the
image, so its statistics tell the mean and the deviation of the images that the
network was fed.
"""

found = di.check_preprocessing(teacher)
print("the preprocessing feeds:", found.told)
print("the network remembers:  ", found.remembered)

"""
The two agree. A contradiction would be a warning, with both numbers.

## The images

A `DeepInversion` is a Keras model whose only variables are the images. `fit`
synthesizes an image for each label. An epoch is a number of steps here, for
there is no data to pass over.
"""

labels = np.arange(10).repeat(2)
model = di.DeepInversion(teacher)
history = model.fit(labels, steps=STEPS, steps_per_epoch=50)

"""
The objective has three terms: the cross-entropy asks the network to take each
image for its class, the feature statistics ask each layer to see what it
remembers, and the total variation asks for smooth images.
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

The network itself takes the images for their classes, since they were made for
that. The honest question is whether *another* network, which had no part in
making them, recognizes them. The library ships a second network of another
family, a VGG-11.
"""

verifier = di.load_pretrained("fashion_mnist_vgg11")
for network, name in ((teacher, "the network itself"), (verifier, "another")):
    right = di.metrics.accuracy(network, model.images, labels)
    print(f"{name} recognizes {right:.0%} of the images")

"""
Without the statistics the same pixels fool the network and nobody else. The
statistics are what makes the images look like the data.

## What this means for privacy

A network that is published with its BatchNormalization statistics tells what
its training data looked like: of a network that recognizes emotions, faces
appear. The images are averages of what the network learned rather than copies
of training images, but whoever publishes a network publishes them, too.

## What to do next

- Better images: leave out `steps`, for the 1,000 of the recipe.
- Images to keep: `di.synthesize(teacher, folder="pool")` makes a pool of them.
- A smaller network without data: the guide
  [A smaller network without its data](a_smaller_network_without_its_data.py).
"""
