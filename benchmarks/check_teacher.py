"""Checks one network of keras.applications as a teacher, from end to end.

`teachers.py` checks all these networks, `tests/applications_test.py` some.
"""

import keras
import numpy as np

import tf_deepinversion as di
from tf_deepinversion.networks.classifier import Classifier

# The smallest image size of each network; 32 for all others.
SMALLEST = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}


def names():
    """Lists the networks of keras.applications in the installed Keras."""
    return sorted(n for n in dir(keras.applications) if n[0].isupper())


def preprocess_input_of(name):
    """Finds the `preprocess_input` of the network's family."""
    if name.startswith("MobileNetV3"):
        return keras.applications.mobilenet_v3.preprocess_input
    for family in vars(keras.applications).values():
        if hasattr(family, name) and hasattr(family, "preprocess_input"):
            return family.preprocess_input
    raise ValueError(f"keras.applications has no preprocess_input for {name}")


def build(name, **kwargs):
    size = SMALLEST.get(name, 32)
    return getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), **kwargs
    )


def batch_norms_of(model):
    kind = keras.layers.BatchNormalization
    return [layer for layer in model.layers if isinstance(layer, kind)]


def give_statistics(model, preprocess_input, seed, images=32):
    """Gives the network moving statistics of noise, as training would.

    The noise is fine, coarse, or a mix. The statistics keep 1 % of the initial
    variance 1. With fewer images, or without this 1 %, deep layers have so
    little variance that the network amplifies other images without bounds.
    """
    height, width, channels = model.input_shape[1:]
    random = np.random.default_rng(seed)
    fine = random.normal(size=(images, height, width, channels))
    shape = (images, height // 8 + 1, width // 8 + 1, channels)
    coarse = random.normal(size=shape).repeat(8, axis=1).repeat(8, axis=2)
    share = random.uniform(size=(images, 1, 1, 1))
    noise = np.sqrt(share) * fine
    noise += np.sqrt(1 - share) * coarse[:, :height, :width]
    for layer in batch_norms_of(model):
        layer.momentum = 0.01
    pixels = (127 + 60 * noise).clip(0, 255).astype("float32")
    model(preprocess_input(pixels), training=True)


def require(condition, message):
    if not condition:
        raise ValueError(message)


def check_preprocessing(model, preprocess_input, pixels):
    """Returns what the model is fed for these uint8 pixels."""
    preprocessing = di.Preprocessing.of(model)
    fed = np.asarray(
        preprocessing.teacher_input(preprocessing.normalize(pixels))
    )
    expected = np.asarray(preprocess_input(pixels.copy()), "float64")
    gap = np.abs(fed - expected).max() / np.ptp(expected)
    require(gap < 1e-5, f"preprocess_input gives others, by {gap:.1e}")
    return fed


def check_classifier(model, fed):
    """Checks that every BatchNormalization is seen, and the logits."""
    classifier = Classifier(model)
    with classifier.open():
        reading = classifier.read(fed)
    seen = sorted(map(id, reading.batch_norms))
    there = sorted(map(id, batch_norms_of(model)))
    require(seen == there, f"{len(seen)} of {len(there)} BatchNorms seen")
    logits = np.asarray(reading.logits, "float64")
    if model.layers[-1].activation is keras.activations.softmax:
        e = np.exp(logits - logits.max(-1, keepdims=True))
        outputs = e / e.sum(-1, keepdims=True)
    else:
        outputs = logits
    gap = np.abs(outputs - np.asarray(model(fed, training=False))).max()
    require(gap < 1e-5 * np.abs(outputs).max(), f"the head is off by {gap}")
    return logits


def invert(model, batch_norms, images, steps, seed):
    """Returns the teacher's part of the loss, for noise and after all steps."""
    recipe = di.RECIPES["ours"].replace(transforms=[])
    inversion = di.DeepInversion(model, recipe=recipe, seed=seed)
    loss = None
    if not batch_norms:
        try:
            inversion.compile()
        except ValueError as error:
            require(
                "this teacher calls no such layer" in str(error), str(error)
            )
        else:
            raise ValueError("not refused, without a BatchNormalization")
        loss = [di.CrossEntropy(1.0), di.TotalVariation(0.025, form="l1")]
    labels = di.balanced_labels(inversion.classes, images)
    # Nothing is random, so only the gradient can lower the loss. Lion takes
    # small steps by the gradient's sign. Deep untrained networks have rugged
    # losses and need the smaller rates.
    for rate in (1e-2, 1e-3, 1e-4):
        inversion.compile(keras.optimizers.Lion(rate), loss)
        logs = inversion.fit(labels, steps, steps_per_epoch=1, verbose=0)
        # The image prior is subtracted, because it falls without a teacher. The
        # first step is left out, because it clips the noise to pixels.
        prior = logs.history["total_variation"][1:]
        losses = np.subtract(logs.history["loss"][1:], prior)
        require(np.isfinite(losses).all(), f"not finite: {losses}")
        if losses[-1] < losses[0]:
            break
    require(losses[-1] < losses[0], f"the loss does not fall: {losses}")
    require(inversion.images.dtype == "uint8", "the images are not pixels")
    return float(losses[0]), float(losses[-1])


def check(name, images=2, steps=8, seed=0):
    """Checks a network with random weights.

    Args:
        name: String, a class in keras.applications.
        images: Int, number of images to synthesize.
        steps: Int, 3 or more.
        seed: Int.

    Returns:
        A dictionary of figures.

    Raises:
        ValueError: if a check fails.
    """
    keras.utils.set_random_seed(seed)
    model, preprocess_input = build(name), preprocess_input_of(name)
    give_statistics(model, preprocess_input, seed)
    random = np.random.default_rng(seed)
    shape = (2, *model.input_shape[1:])
    pixels = random.integers(0, 256, shape, dtype="uint8")
    fed = check_preprocessing(model, preprocess_input, pixels)
    logits = check_classifier(model, fed)
    batch_norms = len(batch_norms_of(model))
    losses = invert(model, batch_norms, images, steps, seed)
    plain = build(name, classifier_activation=None)
    plain.set_weights(model.get_weights())
    gap = np.abs(check_classifier(plain, fed) - logits).max()
    require(
        gap < 1e-4 * np.abs(logits).max(),
        f"the logits of softmax and of none differ by {gap}",
    )
    preprocessing = di.Preprocessing.of(model)
    return {
        "size": model.input_shape[1],
        "parameters": model.count_params(),
        "batch_norms": batch_norms,
        "pixel_range": preprocessing.get_config()["pixel_range"],
        "channel_order": preprocessing.channel_order,
        "losses": losses,
    }
