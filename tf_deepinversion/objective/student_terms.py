"""Terms for images that show what a student has not learned yet."""

import keras

from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.objective import losses
from tf_deepinversion.objective.priors import mean_sums
from tf_deepinversion.objective.priors import mean_value
from tf_deepinversion.objective.terms import Term


@keras.saving.register_keras_serializable("tf_deepinversion")
class Competition(Term):
    """R_compete = 1 - JS(p_T, p_S): rewards images that the student misjudges.

    Args:
        weight: Float, at least 0. Defaults to 1.
        temperature: Float, positive. Divides both networks' logits. Defaults
            to 3.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> logits = np.array([[2.0, 0.0]], "float32")
        >>> view = di.objective.View(None, [0], logits, [], logits)
        >>> term = di.Competition()
        >>> float(term.value(term.sums(view), []))  # teacher and student agree
        1.0

    Reference:
        - Yin et al., arXiv:1912.08795, eq. 8 (Adaptive DeepInversion)
    """

    name = "competition"
    needs_student = True

    def __init__(self, weight=1.0, temperature=3.0):
        super().__init__(weight)
        require_positive(temperature=temperature)
        self.temperature = float(temperature)

    def sums(self, view):
        return mean_sums(
            losses.jensen_shannon(
                view.logits, view.student_logits, self.temperature
            )
        )

    def value(self, sums, batch_norms):
        # A small value is a large divergence: the images seek disagreement.
        return 1 - mean_value(sums)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable("tf_deepinversion")
class AgreedDivergence(Term):
    """-KL(p_T || p_S) of images that teacher and student classify alike.

    An alternative to `Competition`. This term has no lower bound, whereas
    `Competition` levels off, so only the feature statistics restrain it.

    Args:
        weight: Float, at least 0. Defaults to 1.

    Example:
        >>> teacher = np.array([[2.0, 0.0]], "float32")
        >>> student = np.array([[1.0, 0.0]], "float32")
        >>> view = di.objective.View(None, [0], teacher, [], student)
        >>> term = di.AgreedDivergence()
        >>> round(float(term.value(term.sums(view), [])), 4)
        -0.0672

    Reference:
        - Fang et al., arXiv:2112.06253
    """

    name = "agreed_divergence"
    needs_student = True

    def sums(self, view):
        return mean_sums(
            losses.agreed_divergence(view.logits, view.student_logits)
        )

    def value(self, sums, batch_norms):
        # The objective is minimized, so the divergence grows.
        return -mean_value(sums)
