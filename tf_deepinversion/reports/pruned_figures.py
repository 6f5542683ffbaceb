"""What a pruned network costs beside its teacher, as both are served."""

import pathlib

import numpy as np
import tensorflow as tf

from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.pruning.channels.latency import compare
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
        student: The network that was made of it, fed as the teacher is.
        images: uint8 array `(n, height, width, channels)`, to be timed on.
        folder: Path; `teacher_saved_model` and `saved_model` are written there.
        preprocessing: The teacher's `Preprocessing`; None if known by name.
        test_data: A pair, real images and labels, or None.
        latency_batch: Int, how many images a call has that is timed.

    Returns:
        A dict of figures: ratios are the student's to the teacher's;
        `sparsity` is the share of the teacher's kernels that is gone or zero;
        `latency_ms` has the teacher's, then the student's;
        `saved_model_max_difference` is that of the student's logits from the
        ones in Keras. With `test_data` also both accuracies.
    """
    preprocessing = Preprocessing.of(teacher, preprocessing)
    served = []
    for network, name in (
        (teacher, "teacher_saved_model"),
        (student, "saved_model"),
    ):
        export(network, pathlib.Path(folder) / name, preprocessing)
        served.append(Served(pathlib.Path(folder) / name))
    batch, sample = tf.constant(images[:latency_batch]), images[:100]
    seconds = compare(
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
    """All numbers of the model's kernels."""
    found = [w for w in model.weights if w.name.endswith("kernel")]
    return np.concatenate([np.ravel(w) for w in found])
