"""Compares the cost of a pruned network with its teacher's, as SavedModels."""

import pathlib

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.files import require_local
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.pruning.channels.latency import compare_latency
from tf_deepinversion.pruning.channels.traced_flops import count_flops
from tf_deepinversion.serving import Served
from tf_deepinversion.serving import export


def measure_pruned(
    teacher,
    student,
    images,
    folder,
    *,
    preprocessing=None,
    test_data=None,
    latency_batch=32,
) -> dict:
    """Exports a pruned network and its teacher, and compares the SavedModels.

    Args:
        teacher: A `keras.Model` classifier.
        student: The pruned network, with the teacher's preprocessing.
        images: uint8 array `(n, height, width, channels)` to time.
        folder: Path of a folder for `teacher_saved_model` and `saved_model`.
        preprocessing: The teacher's `Preprocessing`, or None if the teacher is
            known by its name. Defaults to None.
        test_data: A pair, real images and labels, or None. Defaults to None.
        latency_batch: Int, number of images of a timed call. Defaults to 32.

    Returns:
        A dict of figures. Ratios are the student's cost divided by the
        teacher's. `sparsity` is the share of the teacher's kernel weights that
        are removed or zero. `latency_ms` lists the teacher's and the student's
        latency. `saved_model_max_difference` is the largest difference between
        the student's logits in the SavedModel and in Keras. With `test_data`,
        both accuracies are included.

    Example:
        ```python
        figures = di.reports.measure_pruned(teacher, student, images, "output")
        ```
    """
    require_local(folder=folder)
    preprocessing = Preprocessing.of(teacher, preprocessing)
    served = []
    for network, name in (
        (teacher, "teacher_saved_model"),
        (student, "saved_model"),
    ):
        export(network, pathlib.Path(folder) / name, preprocessing)
        served.append(Served(pathlib.Path(folder) / name))
    batch, sample = tf.constant(images[:latency_batch]), images[:100]
    # The two take turns, so both see the same load of the machine. `numpy`
    # waits for the result.
    seconds = compare_latency(
        [lambda n=n: n.signature(batch)["logits"].numpy() for n in served]
    )
    flops = [count_flops(network.signature) for network in served]
    expected = student(preprocessing.fed(sample), training=False)
    figures = {
        "flops_ratio": flops[1] / flops[0],
        "parameters_ratio": student.count_params() / teacher.count_params(),
        "sparsity": 1
        - np.count_nonzero(_kernels(student)) / _kernels(teacher).size,
        "latency_ms": [1000 * s for s in seconds],
        "latency_batch": latency_batch,
        "latency_ratio": seconds[1] / seconds[0],
        "saved_model_max_difference": float(
            np.abs(served[1](sample) - expected).max()
        ),
    }
    if test_data is not None:
        figures["baseline_test_accuracy"] = served[0].accuracy(*test_data)
        figures["test_accuracy"] = served[1].accuracy(*test_data)
        figures["test_images"] = len(test_data[0])
    return figures


def _kernels(model) -> np.ndarray:
    """Returns all kernel weights of a model as one array."""
    found = [w for w in model.weights if w.name.endswith("kernel")]
    return np.concatenate([np.ravel(w) for w in found])
