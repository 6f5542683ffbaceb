"""The callback that makes masks as training goes on."""

import keras
import numpy as np

from tf_deepinversion.pruning.magnitude import masks_of


class UpdatePruningStep(keras.callbacks.Callback):
    """Makes the masks when their schedule says so, and reports sparsity.

    The steps counted are the optimizer's, so a training that is continued
    goes on in the schedule too. With weight averages (`use_ema`), which the
    optimizer updates before any constraint, the averages are masked as well:
    put this callback before `SwapEMAWeights`.

    At the end of each epoch `logs` gets `sparsity`, over all masked weights,
    and `sparsity/{layer}`.

    Args:
        model: The model with masks; None for the one that is trained. Needed
            where that is another, such as a `Distillation` of the model.
        log_dir: Path of a TensorBoard log for the same figures, or None.

    Raises:
        ValueError: at the start of training, if the model has no masks.
    """

    def __init__(self, model=None, log_dir=None):
        super().__init__()
        self._pruned, self.log_dir = model, log_dir
        self._masks, self._last = [], {}

    def on_train_begin(self, logs=None):
        model = self._pruned or self.model
        self._masks = masks_of(model)
        if not self._masks:
            raise ValueError(
                "The model has no masks: call `prune_low_magnitude` first. "
                f"Received: {model.name!r}"
            )
        for mask in self._masks:
            mask.apply()
        # What was due before has been done, if the masks were restored too.
        step = self._step()
        self._last = {
            id(m): m.schedule.last_update(step - 1) if m.sparsity else None
            for m in self._masks
        }

    def on_train_batch_begin(self, batch, logs=None):
        step = self._step()
        for mask in self._masks:
            due = mask.schedule.last_update(step)
            if due is not None and due != self._last[id(mask)]:
                mask.update(mask.schedule.sparsity(due))
            self._last[id(mask)] = due

    def on_epoch_end(self, epoch, logs=None):
        self._apply()
        figures = self.sparsities()
        if logs is not None:
            logs.update(figures)
        if self.log_dir is not None:
            self._add_to_tensorboard(figures, epoch + 1)

    def on_test_begin(self, logs=None):
        self._apply()

    def on_predict_begin(self, logs=None):
        self._apply()

    def on_train_end(self, logs=None):
        self._apply()

    def sparsities(self) -> dict[str, float]:
        """The share of zeros by layer, and over all masked weights."""
        zeros, sizes = {}, {}
        for mask in self._masks:
            weights = keras.ops.convert_to_numpy(mask.variable)
            name = mask.layer.name
            zeros[name] = zeros.get(name, 0) + int((weights == 0).sum())
            sizes[name] = sizes.get(name, 0) + weights.size
        figures = {f"sparsity/{n}": zeros[n] / sizes[n] for n in zeros}
        total = sum(zeros.values()) / sum(sizes.values())
        return {"sparsity": total, **figures}

    def _step(self):
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))

    def _apply(self):
        """Masks the weights and the averages that may take their place."""
        if not self._masks:  # evaluated, not trained
            return
        for mask in self._masks:
            mask.apply()
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        averages = getattr(optimizer, "_model_variables_moving_average", ())
        masks = {id(mask.variable): mask for mask in self._masks}
        for variable, average in zip(
            optimizer._trainable_variables, averages, strict=False
        ):
            if average is not None and id(variable) in masks:
                mask = keras.ops.convert_to_numpy(masks[id(variable)].mask)
                average.assign(
                    keras.ops.convert_to_numpy(average)
                    * mask.astype(np.float32)
                )

    def _add_to_tensorboard(self, figures, step):
        import tensorflow as tf

        with tf.summary.create_file_writer(str(self.log_dir)).as_default():
            for name, value in figures.items():
                tf.summary.scalar(name, value, step)
