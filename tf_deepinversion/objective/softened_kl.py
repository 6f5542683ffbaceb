"""The distillation loss on softened logits."""

import keras
from keras import ops

from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.objective.losses import kullback_leibler


@keras.saving.register_keras_serializable("tf_deepinversion")
class SoftenedKL(keras.losses.Loss):
    """T^2 KL(softmax(t / T) || softmax(s / T)), the distillation loss.

    `y_true` holds the teacher's logits t, `y_pred` the student's logits s,
    both `(batch, classes)`. The factor T^2 keeps the size of the gradients
    independent of T.

    Args:
        temperature: Float T, positive. Defaults to 4.
        name: String. Defaults to `"softened_kl"`.
        **kwargs: Arguments of `keras.losses.Loss`.

    Example:
        >>> teacher, student = np.array([[1.0, 3.0]]), np.array([[3.0, 1.0]])
        >>> loss = di.SoftenedKL(temperature=1.0)
        >>> round(float(loss(teacher, student)), 4)
        1.5232

    Reference:
        - Hinton et al., arXiv:1503.02531
    """

    def __init__(self, temperature=4.0, name="softened_kl", **kwargs):
        super().__init__(name=name, **kwargs)
        require_positive(temperature=temperature)
        self.temperature = float(temperature)

    def call(self, y_true, y_pred):
        log_p = ops.log_softmax(y_true / self.temperature)
        log_q = ops.log_softmax(y_pred / self.temperature)
        return self.temperature**2 * kullback_leibler(log_p, log_q)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}
