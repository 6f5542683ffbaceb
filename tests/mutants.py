"""Plants one wrong thing at a time and asks the tests: `make mutants`.

Each mutant is a file, a piece of it that occurs once, what takes its place,
and the test files that must turn red. Each is a run of those files.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent

MUTANTS = [
    # The equations.
    ("priors.py", "window(0, 0, 1, 1) - window", "window(0, 0, 1, 1) + window", "priors"),
    ("priors.py", "ops.sum(root(squared_differences(images)))", "ops.sum(squared_differences(images))", "priors"),
    ("priors.py", "ops.sqrt(ops.where(some, squares, 1.0)), 0.0", "ops.sqrt(squares), 0.0", "priors"),
    ("priors.py", "some = squares != 0", "some = squares > 0", "priors"),
    ("priors.py", "sums[:4] / sums[4:]", "sums[:4]", "priors"),
    ("losses.py", "return -ops.sum(one_hot", "return ops.sum(one_hot", "losses"),
    ("losses.py", "- math.log(2)", "", "losses"),
    ("losses.py", "kullback_leibler(log_q, log_m)", "kullback_leibler(log_p, log_m)", "losses"),
    ("objective.py", "return 1 - mean_value(sums)", "return mean_value(sums)", "objective"),
    ("objective.py", "distances[0] * self.first_weight", "distances[0]", "objective"),
    ("objective.py", "return ops.sum(priors.root(sums[0]))", "return ops.sum(sums[0])", "objective"),
    ("objective.py", "logits / self.temperature", "logits", "objective"),
    ("deep_inversion.py", "noise /= noise.std(axis=(1, 2, 3), keepdims=True)", "pass", "deep_inversion"),
    ("deep_inversion.py", "ends.update(self._moments)", "pass", "deep_inversion"),
    ("deep_inversion.py", "self._snapshots = list(saved[\"snapshots\"])", "pass", "deep_inversion"),
    ("callbacks.py", "[*synthesizer.snapshots, synthesizer.images]", "[synthesizer.images]", "distillation"),
    ("callbacks.py", "if batch >= pool.batches:", "if batch == pool.batches:", "distillation"),
    ("labels.py", "first = batch * images if images < classes else 0", "first = 0", "synthesis"),
    ("callbacks.py", "self.synthesizer.classes, self.images, batch", "self.synthesizer.classes, self.images", "distillation"),
    ("deep_inversion.py", "balanced_labels(self.classes, size, batch)", "balanced_labels(self.classes, size)", "deep_inversion"),
    ("callbacks.py", "not_finite(self.network.variables)", "None", "distillation"),
    ("distill.py", "self.params[\"epochs\"] if ended else epoch + 1", "epoch + 1", "distillation"),
    ("distillation.py", ", sample_weight=size", "", "distillation"),
    ("student_report.py", "_evenly(images, 1000)", "images[:1000]", "student_report"),
    ("distillation.py", "gamma=2**strength", "gamma=2.0", "distillation"),
    ("distill.py", 'recipe="distillation_pixels",', 'recipe="ours",', "distillation"),
    # Copies.
    ("copies.py", "new.load_own_variables({k: _array(v) for k, v in store.items()})", "pass", "copies"),
    ("copies.py", "new.load_assets(folder)", "pass", "copies"),
    ("copies.py", "new.assign(_array(old))", "pass", "copies"),
    ("copies.py", "pairs.sort(key=lambda pair: -len(pair[0]._flatten_layers()))", "pass", "copies"),
    ("copies.py", " and type(model).call is kinds[0].call", "", "copies"),
    # Statistics.
    ("restatement.py", "beta + slope * (mean - m)", "beta + slope * (m - mean)", "restatement"),
    ("restatement.py", "slope * np.sqrt(variance + layer.epsilon)", "slope * np.sqrt(variance)", "restatement"),
    ("restatement.py", "calls = [sums for of, sums in seen if of is layer]", "calls = [sums for of, sums in seen if of is layer][:1]", "restatement"),
    ("incremental/memory.py", "if self._measured is not None and self._measured[0] is model:", "if self._measured is not None:", "incremental_memory"),
    ("feature_statistics.py", "- ops.square(mean_gap)", "", "feature_statistics"),
    ("feature_statistics.py", "norm(mean_gap) + norm(variance_gap)", "ops.sum(ops.square(mean_gap)) + norm(variance_gap)", "feature_statistics"),
    ("feature_statistics.py", "layer.moving_variance, mean_gap.dtype) + _epsilon(layer)", "layer.moving_variance, mean_gap.dtype) + 1.0", "feature_statistics"),
    ("feature_statistics.py", "np.ravel(getattr(layer, \"axis\", -1))[0]", "1", "zoo"),
    ("feature_statistics.py", "variance = sums.second / sums.count", "variance = sums.second / (sums.count - 1)", "feature_statistics"),
    ("feature_statistics.py", "ops.sum(ops.square(shifted), 0)", "ops.sum(ops.square(x), 0)", "feature_statistics"),
    ("feature_statistics.py", "replace(\"call\", functions),", "replace(\"call\", []),", "zoo"),
    ("fast_batch_norm.py", "(2 * d_second)", "d_second", "fast_batch_norm"),
    ("fast_batch_norm.py", "offset - mean * scale", "offset", "fast_batch_norm"),
    ("fast_batch_norm.py", "tf.tile(shift, [width])", "tf.tile(scale, [width])", "fast_batch_norm"),
    ("fast_batch_norm.py", "inputs.dtype != layer.compute_dtype", "False", "fast_batch_norm"),
    ("fast_batch_norm.py", "tf.square(shifted)", "tf.abs(shifted)", "fast_batch_norm"),
    ("fast_batch_norm.py", "((count - 1) / count)", "1", "fast_batch_norm"),
    ("fast_batch_norm.py", "_sum_rows(d_wide * shifted)", "_sum_rows(d_wide)", "fast_batch_norm"),
    ("fast_batch_norm.py", "if kwargs.get(\"training\") and layer.trainable:", "if kwargs.get(\"training\"):", "fast_batch_norm"),
    ("taps.py", "v for v in replaced.values if v is not value", "v for v in replaced.values if v != value", "taps"),
    ("taps.py", "if not replaced.values:", "if False:", "taps"),
    # The precision that a network is read in.
    ("reading.py", "[(layer, None) for layer in layers]", "[]", "zoo"),
    ("reading.py", "elif own.compute_dtype == \"float16\":", "elif False:", "zoo"),
    ("reading.py", "(x, keras.backend.result_type(own, least, \"float32\"))", "(x, own)", "zoo"),
    ("reading.py", "return self._kept", "return \"float32\"", "reading"),
    ("reading.py", "if own.quantization_mode or not floating:", "if not floating:", "reading"),
    # What the loop sees and does.
    ("classifier.py", "self.model(inputs, training=training)", "self.model(inputs)", "classifier"),
    ("classifier.py", "                    logits = call.inputs\n            elif", "                    logits = call.outputs\n            elif", "classifier"),
    ("classifier.py", "tf.GradientTape(watch_accessed_variables=False)", "tf.GradientTape()", "zoo"),
    ("classifier.py", "probe = probe.get_concrete_function(", "probe = (lambda spec: tf.function(probe.python_function))(", "ending"),
    ("classifier.py", "if bounded or values.shape[-1] < 2:", "if values.shape[-1] < 2:", "ending"),
    ("classifier.py", "if bounded or values.shape[-1] < 2:", "if bounded:", "bad_input"),
    ("classifier.py", "bounded = not self._unbounded and", "bounded = True and", "ending"),
    ("classifier.py", "probe(1e3 * noise)", "probe(noise)", "ending"),
    ("classifier.py", "if (linear and ending", "if (ending", "ending"),
    ("classifier.py", "        if changed:", "        if False:", "ending"),
    ("classifier.py", "shape = fixed or 2,", "shape = 2,", "ending"),
    ("ending.py", "    \"Cast\",\n", "", "ending"),
    ("ending.py", "inputs if len(inputs) == 1 else []", "[]", "ending"),
    ("ending.py", "or any(tensor is x for x in known)", "", "ending"),
    ("datasets.py", "return element[\"image\"], element.get(\"label\")", "return tuple(element.values())[:2]", "datasets"),
    ("checks.py", "if labels.shape != predictions.shape:", "if False:", "bad_input"),
    ("export.py", "if others or (", "if (", "export"),
    ("synthesis.py", "\"preprocessing\": synthesizer.preprocessing,", "", "bad_input"),
    ("distillation.py", "for v in changed if id(v) in own", "for v in changed if False", "bad_input"),
    ("classifier.py", "network.input_spec = spec", "pass", "deep_inversion"),
    ("classifier.py", "network.input_spec = None", "pass", "deep_inversion"),
    ("classifier.py", "self._any_size = True", "self._any_size = False", "deep_inversion"),
    ("classifier.py", "if head.layer.bias is not None", "if head.layer.bias is None", "classifier"),
    ("answered.py", " | (self._written.value == 0)", "", "answered"),
    ("answered.py", "tf.minimum(self._written.value, self.size)", "self.size", "answered"),
    ("distillation.py", "            images = tf.round(images)", "            pass", "answered"),
    ("distill.py", "        *model.carried,\n", "", "distillation"),
    ("conv_muon.py", "or 1 in _sides(variable)", "", "conv_muon"),
    ("conv_muon.py", "max(_sides(x))", "min(_sides(x))", "conv_muon"),
    ("pyramid_adam.py", "ops.average_pool(g, 2**level", "ops.max_pool(g, 2**level", "pyramid_adam"),
    ("inversion_step.py", "return self._one_pass(images, labels, draws, self._all_reduce)", "return self._one_pass(images, labels, draws)", "deep_inversion"),
    ("inversion_step.py", "total = self._all_reduce(self._sum_of_pieces(sums, batch))", "total = self._sum_of_pieces(sums, batch)", "deep_inversion"),
    ("inversion_step.py", "(tf.constant(1), first),", "(tf.constant(2), first),", "deep_inversion"),
    ("apart.py", "optimizer._all_reduce_sum_gradients = lambda pairs: pairs", "pass", "deep_inversion"),
    ("apart.py", "if not moves_images_alone(optimizer, shape, dtype):", "if False:", "apart"),
    ("apart.py", "images[1] *= 100\n    gradients[:, 1] *= 1000", "pass", "apart"),
    ("apart.py", "gradients[-1, 1] = np.inf", "pass", "apart"),
    ("inversion_step.py", "gradient = self.optimizer.scale_loss(gradient)", "pass", "deep_inversion"),
    ("generator_step.py", "gradient = self.optimizer.scale_loss(gradient)", "pass", "fast_inversion"),
    ("deep_inversion.py", "transforms, labelled=True, pixels=False", "transforms", "deep_inversion"),
    ("deep_inversion.py", "while len(self._steps) >= most:", "while False:", "deep_inversion"),
    ("inversion_step.py", "self._all_reduce(tf.cast(~finite, \"float32\")) == 0", "tf.constant(True)", "deep_inversion"),
    ("inversion_step.py", "variable.assign(self._rows(value))", "variable.assign(value[: self.share])", "deep_inversion"),
    ("objective.py", "return [own, ops.ones_like(own)]", "return [own, ops.zeros_like(own) + 2]", "objective"),
    ("inversion_step.py", "self._step(first + done, labels, seed)", "self._step(done, labels, seed)", "deep_inversion"),
    ("inversion_step.py", "tf.where(better, images, self.best_images.value)", "tf.where(better, moved, self.best_images.value)", "deep_inversion"),
    ("inversion_step.py", "tf.where(finite, self._clip(moved), before)", "tf.where(finite, moved, before)", "deep_inversion"),
    ("inversion_step.py", "for name, variable in self._variables().items():", "for name, variable in list(self._variables().items())[:-1]:", "resume"),
    ("generator_step.py", "self.latent_scale * noise / self.latent_rate", "self.latent_scale * noise", "fast_inversion"),
    ("generator_step.py", "self.latents.value + noise", "self.latents.value", "fast_inversion"),
    ("generator_step.py", "output_gradients=gradient", "output_gradients=tf.sign(gradient)", "fast_inversion"),
    ("fast_inversion.py", "old + self._meta_rate * (new - old)", "new", "fast_inversion"),
    ("transforms.py", "_gather_rolled(upstream, -shifts)", "_gather_rolled(upstream, shifts)", "transforms"),
    ("warps.py", "tall * (slant * cos + sin)", "tall * (slant * cos - sin)", "warps"),
    ("warps.py", "a * row + b * column + height * down", "a * row - b * column + height * down", "warps"),
    ("warps.py", "(1 - lower) * above + lower * below", "lower * above + (1 - lower) * below", "warps"),
    ("transforms.py", "share * images + (1 - share) * tf.gather", "share * images + share * tf.gather", "transforms"),
    ("losses.py", "ops.cast(agreed, kl.dtype) * kl", "kl", "losses"),
    ("transforms.py", "batch = replicas.whole(images)", "batch = images", "replicas"),
    ("transforms.py", "tf.gather(numbers, places)", "numbers[: tf.shape(places)[0]]", "replicas"),
    ("transforms.py", "key, number, alg=\"philox\"", "key, number", "transforms"),
    ("transforms.py", "uniform(key, (count, 1, 1, 1))", "tf.random.stateless_uniform((count, 1, 1, 1), key)", "transforms"),
    ("replicas.py", "first += tf.cumsum(of_all, exclusive=True)[replica]", "pass", "replicas"),
    ("replicas.py", "experimental_per_replica_buffer_size=0", "experimental_per_replica_buffer_size=1", "replicas"),
    ("transforms.py", "self.pixels + 1,", "self.pixels,", "transforms"),
    ("warps.py", "(pixels + 0.5) / size * share", "pixels / size * share", "warps"),
    ("warps.py", "stretch, 1 / stretch", "stretch, stretch", "warps"),
    ("preprocessing.py", "(std > 1).all() and (std**2 <= most).all()", "True", "preprocessing"),
    ("preprocessing.py", "if possible and _is_fed_pixels(model, layer):", "if possible:", "preprocessing"),
    ("preprocessing.py", "        if channels is not None:", "        if False:", "preprocessing"),
    ("preprocessing.py", "if self.channels not in (1, channels):", "if False:", "preprocessing"),
    ("preprocessing.py", "if not sizes <= {1, self.channels}:", "if False:", "preprocessing"),
    ("preprocessing.py", "offset = black + self.mean", "offset = black - self.mean", "preprocessing"),
    ("preprocessing.py", "if self.channel_order == \"bgr\"", "if self.channel_order == \"rgb\"", "preprocessing"),
    ("preprocessing.py", "np.rint(z * self.std + self.mean)", "np.floor(z * self.std + self.mean)", "preprocessing"),
    ("metrics.py", "ddof=1", "ddof=0", "metrics"),
    ("metrics.py", "labels.astype(int) * classes + predictions", "predictions.astype(int) * classes + labels", "metrics"),
    ("metrics.py", "kullback_leibler(log_p, log_q)", "kullback_leibler(log_q, log_p)", "metrics"),
    ("metrics.py", "np.exp(-np.sum(shares", "np.exp(np.sum(shares", "metrics"),
    ("classifier.py", "logits if head is None else _at_least_float32(head.inputs)", "logits", "metrics"),
    ("page.py", "(255 + (SHADE - 255) * share)", "(255 - (SHADE - 255) * share)", "page"),
    ("page.py", "(top - values) / span", "(values - bottom) / span", "page"),
    ("student_report.py", "metrics.within_class_spread(features, said)", "metrics.within_class_spread(features, 0 * said)", "student_report"),
    ("student_report.py", "rows[\"real images\"][\"answers\"], len(names)", "real[1], len(names)", "student_report"),
    ("callbacks.py", "if not self.synthesizer.carried:", "if True:", "distillation"),
    ("callbacks.py", "min(self.pool.batches, wanted - 1)", "self.pool.batches", "distillation"),
    ("distill.py", '"batches": 0}', '"batches": 1}', "distillation"),
    ("distill.py", "min(rounds, fitting)", "rounds", "distillation"),
    ("callbacks.py", "self._begin = begin - self.total", "self._begin = begin", "callbacks"),
    ("fast_inversion.py", "latents.get(\"latent_rate\", 1.0)", "1.0", "fast_inversion"),
    ("trained.py", "trace * np.sqrt(teacher.shape[1] - 1) / size", "trace * np.sqrt(teacher.shape[1]) / size", "trained"),
    ("trained.py", "return logits - logits.mean(axis=1, keepdims=True)", "return logits", "trained"),
    ("trained.py", "return bool(found) and all(found)", "return all(found)", "trained"),
    ("trained.py", "z > 3 if", "z > -9 if", "trained"),
    ("distill.py", "    warn_if_trained(model)  # before a state is loaded into it\n", "", "trained"),
    ("fast_inversion.py", "description = {**self._rates, \"meta_rate\": self._meta_rate}", "description = {}", "distillation"),
    ("distillation.py", "\"temperature\": self._kl.temperature,", "", "distillation"),
    ("deep_inversion.py", "\"transforms\": self._transforms,\n            \"feature_dropout\"", "\"feature_dropout\"", "distillation"),
    ("checkpoint.py", "return [type(value).__name__, config()]", "return repr(value)", "checkpoint"),
    ("checkpoint.py", "pair[0].get(n) != pair[1].get(n)", "pair[0].get(n)", "checkpoint"),
    ("baselines.py", "(np.arange(n) + batch * n)", "(np.arange(n) + batch)", "baselines"),
    ("image_metrics.py", "return ops.exp(self.negative_entropy / self.images - marginal)", "return ops.exp(self.negative_entropy / self.images + marginal)", "image_metrics"),
    ("image_metrics.py", "/ (count - 1)", "/ count", "image_metrics"),
    ("image_metrics.py", "- 2 * crossed", "- crossed", "image_metrics"),
    ("image_metrics.py", "neighbours, 1)[:, neighbours]", "neighbours - 1, 1)[:, neighbours - 1]", "image_metrics"),
    ("verification.py", "np.all(list(right.values()), axis=0)", "np.any(list(right.values()), axis=0)", "verification"),
    ("checkpoint.py", "if header.get(\"format\") != FORMAT or header.get(\"run\") != run:", "if header.get(\"format\") != FORMAT:", "checkpoint resume"),
    # Weights of others.
    ("models/efficientnet_lite.py", "epsilon=1e-3", "epsilon=1e-5", "efficientnet_lite"),
    ("models/efficientnet_lite.py", "strides if repeat == 0 else 1", "strides", "efficientnet_lite"),
    ("checkpoints/names.py", "transpose(2, 3, 1, 0)", "transpose(3, 2, 1, 0)", "efficientnet_lite"),
    ("checkpoints/names.py", "if given != set(names):", "if not given >= set(names):", "efficientnet_lite"),
    ("checkpoints/torch_legacy.py", "if file.read(1):", "if False:", "torch_legacy"),
    ("checkpoints/pickle_machine.py", "if math.prod(self.shape) > self.storage.count:", "if False:", "torch_legacy"),
    ("checkpoints/pickle_machine.py", "if name not in (DICTIONARY, TENSOR, *DTYPES):", "if False:", "torch_legacy"),
    ("quantization.py", "np.rint(images / scale + zero)", "np.rint(images + zero)", "quantization"),
    ("quantization.py", "(logits.astype(\"float32\") - zero) * scale", "logits.astype(\"float32\") * scale", "quantization"),
    ("quantization.py", "(fed[1] - fed[0]) / 255, fed[0]", "(fed[1] - fed[0]) / 255, fed[1]", "quantization"),
    # What is made is kept.
    ("records.py", "images.get(shard_name(i), 0)", "images.get(shard_name(i), 1)", "records"),
    ("pool.py", "apply_default_optimizations = False", "apply_default_optimizations = True", "pool"),
    ("pool.py", "default_rng((seed, step))", "default_rng((seed, 0))", "pool"),
    ("pool_folder.py", "if found != shard[\"sha256\"]:", "if found == \"no file\":", "pool"),
    ("pool_folder.py", "if not (self._path / n).exists()", "if n", "pool"),
    ("pool_folder.py", "fcntl.LOCK_EX", "fcntl.LOCK_SH", "pool"),
    # Pruning.
    ("pruning/schedule.py", "gap * (1 - p) ** self.power", "gap * p ** self.power", "pruning_masks"),
    ("pruning/schedule.py", "return last - (last - self.begin_step) % self.frequency", "return last - last % self.frequency", "pruning_masks"),
    ("pruning/patterns.py", "np.argsort(-values, axis=-1, kind=\"stable\")", "np.argsort(values, axis=-1, kind=\"stable\")", "pruning_masks"),
    ("pruning/patterns.py", "return max(1, round(n * (1 - sparsity)))", "return max(1, round(n * sparsity))", "pruning_masks"),
    ("pruning/patterns.py", "values = np.moveaxis(np.abs(weights), -2, -1)", "values = np.moveaxis(weights, -2, -1)", "pruning_masks"),
    ("pruning/magnitude.py", "            weights = self.before(weights)", "            pass", "pruning_masks"),
    ("pruning/update_pruning_step.py", "if average is not None and id(variable) in masks:", "if False:", "pruning_masks"),
    ("pruning/magnitude.py", "    model.train_function = None", "    pass", "pruning_update"),
    ("pruning/magnitude.py", "self.mask.assign(np.ones(self.variable.shape, \"float32\"))", "pass", "pruning_update"),
    ("pruning/magnitude.py", "        if not made:", "        if False:", "pruning_update"),
    ("pruning/update_pruning_step.py", "self.model.make_train_function(force=True)", "pass", "pruning_update"),
    ("pruning/update_pruning_step.py", "if self._in_last_epoch:", "if False:", "pruning_update"),
    ("pruning/update_pruning_step.py", "if 0 <= end_of(mask.schedule) <= step:", "if False:", "pruning_update"),
    ("pruning/update_pruning_step.py", "history.on_train_end = on_train_end", "pass", "pruning_update"),
    ("pruning/update_pruning_step.py", "if trained >= last:", "if True:", "pruning_update"),
    ("pruning/update_pruning_step.py", "return self._calls", "return 0", "pruning_update"),
    ("pruning/policy.py", "f\"/{v.path}\".endswith(ends)", "False", "pruning_policy"),
    ("pruning/policy.py", "_is_of_user(self.owner[id(v)]) or", "", "pruning_policy"),
    ("pruning/graph.py", "self._parents[b] = a  # the older one stands for both", "self._parents[a] = b", "pruning_shrink"),
    ("pruning/graph.py", "inner = np.repeat(units, layer.depth_multiplier)", "inner = np.tile(units, layer.depth_multiplier)", "pruning_shrink"),
    ("pruning/shrink.py", "return not np.any(_numpy(function(keras.ops.zeros((1, 2)))))", "return True", "pruning_shrink"),
    ("pruning/shrink.py", "scaled_away &= _numpy(layer.beta) == 0", "pass", "pruning_shrink"),
    ("pruning/shrink.py", "variable.assign(keras.ops.convert_to_numpy(variable) * stays)", "pass", "pruning_shrink"),
    ("pruning/importance.py", "return root - p * keras.ops.sum(root, axis=-1, keepdims=True)", "return root", "pruning_importance"),
    ("pruning/importance.py", "[tf.square(tf.reduce_sum(g, 0)) for g in per_image]", "[tf.reduce_sum(tf.square(g), 0) for g in per_image]", "pruning_importance"),
    ("pruning/importance.py", "product = gradient * call.outputs", "product = gradient", "pruning_importance"),
    ("pruning/importance.py", "np.divide(total, members, out=found, where=members > 0)", "np.divide(total, 1, out=found, where=members > 0)", "pruning_importance"),
    ("pruning/selection.py", "eta * saved / max(saved.mean(), 1e-30)", "-eta * saved / max(saved.mean(), 1e-30)", "pruning_importance"),
    ("pruning/selection.py", "keep[own[max(0, len(own) - wanted) :]] = True", "keep[own[:wanted]] = True", "pruning_importance"),
    ("pruning/cost.py", "return 2 * sum(", "return sum(", "pruning_importance"),
    ("pruning/iterative.py", "(1 - target) ** ((number + 1) / rounds)", "(1 - target) ** (number / rounds)", "pruning_iterative"),
    ("pruning/iterative.py", "self.keep[np.flatnonzero(self.keep)[~stays]] = False", "self.keep[: len(stays)] = stays", "pruning_iterative"),
    ("pruning/recovery.py", "layer.trainable and not keep_statistics", "layer.trainable", "pruning_iterative"),
    # New classes.
    ("incremental/equations.py", "cross_entropy(labels - old_classes, logits[:, old_classes:])", "cross_entropy(labels, logits)", "incremental_methods"),
    ("incremental/equations.py", "return temperature**2 * kullback_leibler", "return kullback_leibler", "incremental_methods"),
    ("incremental/equations.py", "ops.log_softmax(logits)[:, : old_logits.shape[-1]]", "ops.log_softmax(logits[:, : old_logits.shape[-1]])", "incremental_methods"),
    ("incremental/equations.py", "ops.softplus(logits) - targets * logits", "ops.softplus(logits) - logits", "incremental_methods"),
    ("incremental/equations.py", "share = old_classes / classes", "share = 0.5", "incremental_methods"),
    ("incremental/equations.py", "ops.matmul(features - old_features, kernel)", "features - old_features", "incremental_methods"),
    ("incremental/methods.py", "cross_entropy(view.labels, view.head_logits)", "cross_entropy(view.labels, view.logits)", "incremental_methods"),
    ("incremental/head.py", "np.concatenate([weights, new.astype(weights.dtype)], axis=-1)", "np.concatenate([new.astype(weights.dtype), weights], axis=-1)", "incremental_head"),
    ("incremental/head.py", "noise * old.std()", "noise", "incremental_head"),
    ("incremental/head.py", "        if self.layer.bias is not None:", "        if False:", "incremental_head"),
    ("incremental/learner.py", "self._heads[1](tf.stop_gradient(features))", "self._heads[1](features)", "incremental_learner"),
    ("incremental/learner.py", "self._read(1, images, training=True)", "self._read(1, images)", "incremental_learner"),
    ("incremental/learner.py", "View(*(part[:count] for part in whole))", "View(*(part[count:] for part in whole))", "incremental_learner"),
    ("incremental/learner.py", "[t.weight * v for t, v in zip", "[v for t, v in zip", "incremental_learner"),
    ("incremental/learner.py", "(labels < self.old_classes) |", "(labels < 0) |", "incremental_learner"),
    ("incremental/learner.py", "x = x.repeat()", "pass", "incremental_learner"),
    ("incremental/learner.py", "require_integers(keras.backend.standardize_dtype(pixels.dtype))", "pass", "incremental_learner"),
    ("incremental/learner.py", "drawn = self._checked(self._replay(step))", "drawn = self._replay(step)", "incremental_learner"),
    ("datasets.py", "(wide >= 0) & (wide <= 255)", "wide == wide", "datasets"),
    ("datasets.py", "    require_integers(dtype.as_numpy_dtype)\n", "", "datasets"),
    ("incremental/evaluation.py", "matrix[i:last, i].max()", "matrix[i, i]", "incremental_evaluation"),
    ("incremental/evaluation.py", "row[: t + 1].mean()", "row[t]", "incremental_evaluation"),
    ("incremental/data.py", "default_rng((seed, epoch))", "default_rng((seed, 0))", "incremental_tasks"),
    ("incremental/data.py", "if found[0] < classes:", "if False:", "incremental_tasks"),
    ("incremental/task_state.py", "if found != saved[\"sha256\"]:", "if False:", "incremental_tasks"),
    ("incremental/task.py", "done * steps),", "0),", "incremental_tasks"),
    ("distill.py", "pool.dataset(batch_size - lasting,", "pool.dataset(batch_size,", "distillation"),
    ("synthesis.py", "enumerate(synthesizer.carried)", "enumerate([])", "synthesis"),
    ("incremental/training.py", "seed, done * steps)\n    history", "seed, 0)\n    history", "incremental_tasks"),
    # What the benchmarks count.
    ("../benchmarks/speedup.py", "np.asarray(values) >= target", "np.asarray(values) > target", "time_to_quality"),
    ("../benchmarks/speedup.py", "np.sum(seconds[: at + 1])", "np.sum(seconds[:at])", "time_to_quality"),
    ("../benchmarks/speedup.py", " + many * drawing)", ")", "time_to_quality"),
    ("../benchmarks/speedup.py", "(slow * many / images)", "(slow * many)", "time_to_quality"),
    ("../benchmarks/time_to_quality.py", "max(slow[\"val_accuracy\"])", "max(slow[\"agreement\"])", "time_to_quality"),
    ("../benchmarks/ladder.py", "if t[0] != \"FeatureStatistics\"", "if t", "ladder"),
    ("../benchmarks/ladder.py", "student=student if method == \"adi\" else None", "student=None", "ladder"),
    ("../benchmarks/students.py", "            seconds = sum(history.history[\"seconds\"])", "            pass", "ladder"),
]  # fmt: skip


def survives(name, old, new, tests) -> bool:
    """Whether the named tests stay green with `old` replaced by `new`."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        ignore = shutil.ignore_patterns("__pycache__")
        for part in ("tf_deepinversion", "benchmarks", "tests", "tools"):
            shutil.copytree(ROOT / part, copy / part, ignore=ignore)
        for part in ("conftest.py", "setup.cfg"):
            shutil.copy(ROOT / part, copy)
        path = copy / "tf_deepinversion" / name
        source = path.read_text()
        if source.count(old) != 1:
            raise ValueError(f"{name} holds {old!r} {source.count(old)} times.")
        path.write_text(source.replace(old, new))
        paths = [str(copy), *filter(None, [os.environ.get("PYTHONPATH")])]
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-m", ""]
            + [f"tests/{test}_test.py" for test in tests.split()],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
        )
        if result.returncode not in (0, 1):
            raise RuntimeError(result.stdout.decode()[-2000:])
        return result.returncode == 0


def main():
    survivors = []
    for i, mutant in enumerate(MUTANTS):
        alive = survives(*mutant)
        survivors += [mutant] * alive
        mark = "SURVIVES" if alive else "killed"
        print(f"{i + 1}/{len(MUTANTS)} {mark}: {mutant[:3]}", flush=True)
    print(f"{len(MUTANTS) - len(survivors)} killed, {len(survivors)} survived")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
