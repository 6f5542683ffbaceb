"""The callback that updates masks during training."""

import warnings

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.keras_internals import averages_of
from tf_deepinversion.pruning.layer_names import layer_names
from tf_deepinversion.pruning.masks.magnitude import required_masks
from tf_deepinversion.pruning.masks.schedule import end_of
from tf_deepinversion.pruning.masks.schedule import trained_and_last


class UpdatePruningStep(keras.callbacks.Callback):
    """Updates masks according to their schedule, and reports the sparsity.

    The callback counts the optimizer's steps, so a continued training continues
    the schedule. In a custom loop without `compile` it counts the calls of
    `on_train_batch_begin`. Keras traces again a step that it traced before the
    masks existed. With weight averages (`use_ema`), which the optimizer updates
    before the constraints, the callback also masks the averages: put it before
    `SwapEMAWeights`.

    After training the weights are masked, wherever the callback stands in the
    list. If the schedule has ended, they have its last sparsity. The callback
    warns if the schedule is longer than the training, or if another callback
    restored earlier weights, as `EarlyStopping(restore_best_weights=True)`
    does.

    At the end of each epoch `logs` gets `sparsity`, over all masked weights,
    and `sparsity/{layer}`.

    Args:
        model: The model with masks. Required if `fit` trains another model,
            such as a `Distillation`. Defaults to the model of `fit`.
        log_dir: Path of a TensorBoard log for the same figures, or None.
            Defaults to None.

    Raises:
        ValueError: at the start of training, if the model has no masks; at the
            second step, if the training does not keep the masks.

    Example:
        >>> model = di.networks.copy_of(teacher)
        >>> schedule = di.pruning.ConstantSparsity(0.5)
        >>> model = di.pruning.prune_low_magnitude(model, schedule)
        >>> update = di.pruning.UpdatePruningStep(model)
        >>> update.on_train_begin()  # `fit` calls both
        >>> update.on_train_batch_begin(0)
        >>> update.sparsities()["sparsity"]
        0.5
    """

    def __init__(self, model=None, log_dir=None):
        super().__init__()
        self._pruned, self.log_dir = model, log_dir
        self._masks, self._last, self._writer = [], {}, None
        self._calls, self._in_last_epoch = 0, False
        self._masked_at, self._checked, self._warned = None, False, False

    def on_train_begin(self, logs=None):
        model = self._pruned or self.model
        if model is None:
            raise ValueError(
                "There is no model to prune: pass `UpdatePruningStep(model)`, "
                "or call `set_model(model)` first, as `fit` does. "
                "Received: model=None"
            )
        self._masks = required_masks(model)
        self._trace_anew()
        for mask in self._masks:
            mask.watched = True
            mask.apply()
        # Restored masks already include the updates before this step.
        step = self._step()
        self._last = {
            id(m): m.schedule.last_update(step - 1) if m.sparsity else None
            for m in self._masks
        }
        self._masked_at, self._checked, self._warned = None, False, False
        self._in_last_epoch = False
        self._warn_of_late_start(step)
        params = self.params or {}
        if params.get("steps") and params.get("epochs"):
            self._warn_of_long_schedules(
                step + params["steps"] * params["epochs"]
            )
        self._come_last()

    def on_epoch_begin(self, epoch, logs=None):
        epochs = (self.params or {}).get("epochs")
        self._in_last_epoch = epoch + 1 == epochs

    def on_train_batch_begin(self, batch, logs=None):
        step = self._step()
        self._require_held(step)
        for mask in self._masks:
            self._make(mask, step)
        if self._masked_at is None and any(m.sparsity for m in self._masks):
            self._masked_at = step
        self._calls += 1

    def on_train_batch_end(self, batch, logs=None):
        # Before other callbacks evaluate and save the network.
        if self._in_last_epoch:
            self._make_final()

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
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._make_final()
        self._hold()
        self._warn_of_long_schedules(self._step())

    def _trace_anew(self):
        """Makes Keras trace a step again that it traced before these masks."""
        function = getattr(self.model, "train_function", None)
        if function is None or getattr(function, "masks", None) == self._masks:
            return
        self.model.make_train_function(force=True)
        self.model.train_function.masks = self._masks

    def _make(self, mask, step):
        due = mask.schedule.last_update(step)
        if due is not None and due != self._last[id(mask)]:
            mask.update(mask.schedule.sparsity(due))
        self._last[id(mask)] = due

    def _make_final(self):
        """Makes the masks of a schedule that ends with the last step."""
        step = self._step()
        for mask in self._masks:
            if 0 <= end_of(mask.schedule) <= step:
                self._make(mask, step)

    def _require_held(self, step):
        """Checks once, after the first step with masks."""
        if self._checked or self._masked_at is None or step == self._masked_at:
            return
        self._checked = True
        lost = [m.variable.path for m in self._masks if not m.is_held()]
        if lost:
            raise ValueError(
                "The training step does not keep the masks: it was traced "
                "before `prune_low_magnitude`, or its optimizer applies no "
                "constraints. Create its `tf.function` after "
                "`prune_low_magnitude`, and update the weights with a Keras "
                f"optimizer. Received: zeros lost in {lost[:3]}"
            )

    def _come_last(self):
        """Masks the weights after all callbacks: Keras calls History last."""
        # Keras adds `History` after the callbacks of the user.
        history = getattr(self.model, "history", None)
        if not isinstance(history, keras.callbacks.History):
            return

        others = history.on_train_end

        def on_train_end(logs=None):
            vars(history).pop("on_train_end", None)
            others(logs)
            self._hold()

        history.on_train_end = on_train_end

    def _hold(self):
        """Masks weights that another callback has replaced."""
        if not all(mask.is_held() for mask in self._masks):
            warnings.warn(
                "Another callback, such as "
                "EarlyStopping(restore_best_weights=True), restored weights "
                "from before the last masks. They are masked now, without "
                "training. Pass it a `start_from_epoch` so that it compares "
                "only epochs with the last masks.",
                UserWarning,
                stacklevel=2,
            )
        self._apply()

    def _warn_of_late_start(self, step):
        """Warns of schedules that ended before training begins."""
        for mask in self._masks:
            end = end_of(mask.schedule)
            # Only a schedule that ended before this step, and never made its
            # masks.
            if self._last[id(mask)] is not None or not 0 <= end < step:
                continue
            weights = keras.ops.convert_to_numpy(mask.variable)
            if (weights == 0).mean() < 0.99 * mask.schedule.sparsity(end):
                warnings.warn(
                    f"The optimizer has made {step} steps, and the schedule "
                    f"ends at step {end}: all zeros are made at once. Compile "
                    "again, which restarts the count at 0, or begin the "
                    f"schedule at step {step}. Received: end_step={end}",
                    UserWarning,
                    stacklevel=2,
                )
                return

    def _warn_of_long_schedules(self, steps):
        """Warns of a schedule whose last sparsity is never trained."""
        for mask in () if self._warned else self._masks:
            trained, last = trained_and_last(mask.schedule, steps)
            if trained >= last:
                continue
            self._warned = True
            warnings.warn(
                "The schedule of the masks is longer than the training, whose "
                f"last step has a sparsity of {trained:.2f} instead of "
                f"{last:.2f}. Train longer (another `fit` continues), or end "
                "the schedule earlier: after 50% of the steps, the rest "
                "remains for recovery. Received: a training to step "
                f"{steps}, and end_step={end_of(mask.schedule)}",
                UserWarning,
                stacklevel=2,
            )
            return

    def sparsities(self) -> dict[str, float]:
        """Returns the share of zeros by layer and over all masked weights."""
        zeros, sizes = {}, {}
        masked = [mask.layer for mask in self._masks]
        names = layer_names(self._pruned or self.model, masked)
        for mask in self._masks:
            weights = keras.ops.convert_to_numpy(mask.variable)
            name = names[mask.layer]
            zeros[name] = zeros.get(name, 0) + int((weights == 0).sum())
            sizes[name] = sizes.get(name, 0) + weights.size
        figures = {f"sparsity/{n}": zeros[n] / sizes[n] for n in zeros}
        total = sum(zeros.values()) / sum(sizes.values())
        return {"sparsity": total, **figures}

    def _step(self):
        optimizer = self._optimizer()
        if optimizer is None:
            return self._calls
        return int(keras.ops.convert_to_numpy(optimizer.iterations))

    def _optimizer(self):
        return getattr(self.model or self._pruned, "optimizer", None)

    def _apply(self):
        """Masks the weights, and the averages that may replace them."""
        masks = {id(mask.variable): mask for mask in self._masks}
        for mask in self._masks:  # empty if the model was only evaluated
            mask.apply()
        for variable, average in averages_of(self._optimizer()):
            if id(variable) in masks:
                mask = keras.ops.convert_to_numpy(masks[id(variable)].mask)
                average.assign(
                    keras.ops.convert_to_numpy(average)
                    * mask.astype(np.float32)
                )

    def _add_to_tensorboard(self, figures, step):
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.log_dir))
        with self._writer.as_default():
            for name, value in figures.items():
                tf.summary.scalar(name, value, step)
        self._writer.flush()
