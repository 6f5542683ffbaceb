"""Keras's callbacks and ours see an inversion as they see a training."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf
from inversions import LABELS
from inversions import NORMALIZED
from inversions import inversion
from PIL import Image
from tiny import tiny_teacher
from tiny import with_head

from tf_deepinversion import L2
from tf_deepinversion import ImageGrid
from tf_deepinversion import Pool
from tf_deepinversion import RefreshPool
from tf_deepinversion import Verifier
from tf_deepinversion.callbacks import Stopwatch
from tf_deepinversion.callbacks import TrainingState
from tf_deepinversion.callbacks import stopwatch
from tf_deepinversion.inversion import GivenImages
from tf_deepinversion.networks.reader import resized


def sgd_on_l2(rate=0.5):
    """The norm of the images falls by the learning rate, every step."""
    model = inversion(transforms=[])
    model.compile(
        keras.optimizers.SGD(rate),
        [L2(1.0)],
        steps_per_execution=2,
    )
    return model


def test_history_has_every_weighted_term_once_an_epoch(eagerly):
    model = inversion()
    history = model.fit(LABELS, steps=7, steps_per_epoch=3, verbose=0)
    terms = ["cross_entropy", "feature_statistics", "total_variation"]
    assert set(history.history) == {"loss", *terms, "recognized"}
    assert history.epoch == [0, 1, 2]
    np.testing.assert_allclose(
        np.sum([history.history[t] for t in terms], axis=0),
        history.history["loss"],
        rtol=1e-6,
    )


def test_callbacks_see_blocks_of_steps_within_epochs():
    seen = []
    log = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda e, logs: seen.append(f"epoch {e}"),
        on_train_batch_begin=lambda b, logs: seen.append(f"from {b}"),
        on_train_batch_end=lambda b, logs: seen.append(f"to {b}"),
    )
    sgd_on_l2().fit(
        LABELS, steps=5, steps_per_epoch=3, verbose=0, callbacks=[log]
    )
    assert seen == (
        ["epoch 0", "from 0", "to 1", "from 2", "to 2"]
        + ["epoch 1", "from 0", "to 1"]
    )


def test_progress_bar_prints_the_terms(capsys, eagerly):
    inversion().fit(LABELS, steps=4, steps_per_epoch=2, verbose=1)
    printed = capsys.readouterr().out
    assert "Epoch 2/2" in printed and "2/2" in printed
    assert "feature_statistics:" in printed and "loss:" in printed


def test_stop_training_stops_at_the_block():
    model = sgd_on_l2()
    stop = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda b, logs: setattr(
            model, "stop_training", b >= 3
        )
    )
    history = model.fit(LABELS, steps=100, verbose=0, callbacks=[stop])
    assert int(model.optimizer.iterations) == 4
    assert len(history.epoch) == 1


def test_terminate_on_nan_ends_in_place_of_the_error():
    model = inversion(transforms=[])
    model.compile(
        keras.optimizers.SGD(float("nan")),
        [L2()],
    )
    with pytest.raises(FloatingPointError, match="step 0"):
        model.fit(LABELS, steps=30, verbose=0)

    class Infinite(L2):
        def value(self, sums, batch_norms):
            return super().value(sums, batch_norms) * float("nan")

    model.compile(
        keras.optimizers.SGD(0.1),
        [Infinite()],
    )
    history = model.fit(
        LABELS,
        steps=30,
        verbose=0,
        callbacks=[keras.callbacks.TerminateOnNaN()],
    )
    assert np.isnan(history.history["loss"][0]) and len(history.epoch) == 1
    np.testing.assert_array_equal(
        model.images, NORMALIZED.to_pixels(model.start(0))
    )


def test_learning_rate_scheduler_sets_the_rate_of_each_epoch():
    model = sgd_on_l2()
    schedule = keras.callbacks.LearningRateScheduler(
        lambda epoch, rate: [0.5, 0.25, 0.0][epoch]
    )
    history = model.fit(
        LABELS,
        steps=6,
        steps_per_epoch=2,
        verbose=0,
        callbacks=[schedule],
    ).history
    assert history["learning_rate"] == [0.5, 0.25, 0.0]
    losses = history["loss"]  # before the last step of each epoch
    np.testing.assert_allclose(losses[0] - losses[1], 0.5 + 0.25, rtol=1e-3)
    np.testing.assert_allclose(losses[1] - losses[2], 0.25, rtol=1e-3)


def test_csv_logger_and_model_checkpoint(tmp_path):
    model = sgd_on_l2()
    model.fit(
        LABELS,
        steps=4,
        steps_per_epoch=2,
        verbose=0,
        callbacks=[
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            keras.callbacks.ModelCheckpoint(
                str(tmp_path / "{epoch}.weights.h5"), save_weights_only=True
            ),
        ],
    )
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert float(rows[0]["loss"]) - float(rows[1]["loss"]) == pytest.approx(
        1.0, rel=1e-3
    )
    last = model.images
    model.load_weights(tmp_path / "1.weights.h5")
    earlier = model.trainable_variables[0].numpy()
    assert not np.array_equal(model.images, last)
    model.load_weights(tmp_path / "2.weights.h5")
    np.testing.assert_array_equal(model.images, last)
    later = model.trainable_variables[0].numpy()
    assert np.linalg.norm(earlier) - np.linalg.norm(later) == pytest.approx(
        1.0, rel=1e-3
    )


@pytest.mark.parametrize(
    "do",
    [
        lambda model: model.save("inversion.keras"),
        lambda model: model.export("folder"),
        lambda model: model.get_config(),
        lambda model: model.predict(np.zeros((1, 8, 8, 1)), verbose=0),
        lambda model: model.fit(
            LABELS, 1, callbacks=[keras.callbacks.ModelCheckpoint("a.keras")]
        ),
    ],
)
def test_an_inversion_is_no_network_and_says_so(do, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = inversion()
    with pytest.raises(NotImplementedError, match="`images`.*Received"):
        do(model)
    assert not list(tmp_path.iterdir()) and model.labels is None
    model.summary(print_fn=lambda *args, **kwargs: None)


def scalars(folder):
    """Tags of the TensorBoard logs below a folder."""
    from tensorboard.backend.event_processing import event_accumulator

    tags = set()
    for path in folder.rglob("events.*"):
        log = event_accumulator.EventAccumulator(str(path)).Reload()
        tags |= set(log.Tags()["tensors"]) | set(log.Tags()["images"])
    return tags


def test_tensorboard_gets_the_terms_and_the_pictures(tmp_path):
    inversion().fit(
        LABELS,
        steps=3,
        steps_per_epoch=1,
        verbose=0,
        callbacks=[
            keras.callbacks.TensorBoard(tmp_path / "board"),
            ImageGrid(tmp_path / "grid.png", log_dir=tmp_path / "pictures"),
        ],
    )
    assert "epoch_feature_statistics" in scalars(tmp_path / "board")
    assert "images" in scalars(tmp_path / "pictures")
    assert len(list((tmp_path / "pictures").iterdir())) == 1  # of all epochs


def test_image_grid_writes_the_images_pixel_by_pixel(tmp_path):
    model = inversion()
    model.fit(
        LABELS,
        steps=6,
        steps_per_epoch=2,
        verbose=0,
        callbacks=[
            ImageGrid(tmp_path / "{epoch}.png", every=2, columns=3, scale=2),
            ImageGrid(tmp_path / "last.png", columns=2, scale=1),
        ],
    )
    assert {p.name for p in tmp_path.iterdir()} == {"2.png", "last.png"}
    with Image.open(tmp_path / "2.png") as picture:
        assert picture.size == (3 * 17 - 1, 2 * 17 - 1)
    with Image.open(tmp_path / "last.png") as picture:
        picture = np.asarray(picture)
    assert picture.shape == (17, 17)
    np.testing.assert_array_equal(picture[:8, 9:], model.images[1, ..., 0])
    np.testing.assert_array_equal(picture[9:, :8], model.images[2, ..., 0])


def test_verifier_counts_the_images_that_another_network_takes():
    model, other = inversion(), tiny_teacher(5)
    history = model.fit(
        LABELS,
        steps=4,
        steps_per_epoch=2,
        verbose=0,
        callbacks=[Verifier({"other": other}, {"other": NORMALIZED})],
    )
    z = (model.images.astype("float32") - 127.5) / 50
    guesses = other(tf.constant(z)).numpy().argmax(-1)
    assert history.history["other_accuracy"][-1] == np.mean(guesses == LABELS)


def test_verifier_of_another_size_sees_resized_images():
    layers = [keras.layers.Flatten(), keras.layers.Dense(3)]
    other = keras.Sequential([keras.Input((4, 4, 1)), *layers])
    model = inversion()
    history = model.fit(
        LABELS,
        steps=1,
        verbose=0,
        callbacks=[Verifier({"other": other}, {"other": NORMALIZED})],
    )
    seen = resized(model.images, other)
    assert seen.shape[1:] == (4, 4, 1)
    guesses = other((seen.astype("float32") - 127.5) / 50).numpy().argmax(-1)
    assert history.history["other_accuracy"] == [np.mean(guesses == LABELS)]


def test_bad_arguments():
    with pytest.raises(ValueError, match="`every` must be.*every=0"):
        ImageGrid("grid.png", every=0)
    with pytest.raises(ValueError, match="at least one network"):
        Verifier({})


def test_a_stopwatch_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(stopwatch.time, "monotonic", lambda: now[0])
    path = tmp_path / "seconds.json"

    def epoch(watch, before, within):
        now[0] += before
        watch.on_epoch_begin(0)
        now[0] += within
        watch.on_epoch_end(0)

    first = Stopwatch(path, begin=90.0)
    epoch(first, 3, 4)
    epoch(first, 1, 2)
    assert (first.total, first.training) == (20, 6)
    now[0] += 1000  # interrupted
    second = Stopwatch(path)
    epoch(second, 5, 7)
    assert (second.total, second.training) == (32, 13)
    now[0] += 600  # the images for the next epoch
    second.on_epoch_begin(2)
    now[0] += 50  # interrupted within it
    third = Stopwatch(path)
    assert (third.total, third.training) == (632, 13)


def test_a_verifier_of_other_classes_is_refused():
    verifier = Verifier(
        {"other": with_head(keras.layers.Dense(2))}, {"other": NORMALIZED}
    )
    with pytest.raises(ValueError, match="3 classes. Received: 'other' with 2"):
        inversion().fit(LABELS, steps=1, verbose=0, callbacks=[verifier])


def test_a_state_of_other_variables_is_refused(tmp_path):
    path, weight = tmp_path / "state.npz", keras.Variable(1.0)
    state = TrainingState(path, [weight], run="a")
    state.set_params({"epochs": 2})
    state.on_epoch_end(0, {"loss": 0.5})
    assert TrainingState(path, [weight], run="a").epoch == 1
    for others in ([weight, keras.Variable(2.0)], [], [keras.Variable([1.0])]):
        with pytest.raises(ValueError, match="state of other variables"):
            TrainingState(path, others, run="a")


@pytest.mark.parametrize("content", ["[1.0", "[1.0]", "{}", '["a", 1]'])
def test_a_damaged_stopwatch_is_named(tmp_path, content):
    path = tmp_path / "seconds.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="seconds.json is damaged"):
        Stopwatch(path)


@pytest.mark.parametrize("content", ["{", "[1.0]", '{"a": {}}', '{"0": 1}'])
def test_damaged_losses_of_batches_are_named(tmp_path, content):
    noise, pool = GivenImages((8, 8, 1), classes=3), Pool(8, (8, 8, 1), 3)
    pool.fill(noise, batches=1, images=4, verbose=0)
    path = tmp_path / "synthesis.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="synthesis.json is damaged.*delete"):
        RefreshPool(4).bind(pool, noise, path=path)


def test_a_pool_and_its_synthesizer_belong_together():
    noise = GivenImages((8, 8, 1), classes=3)
    for half in ({"pool": Pool(8, (8, 8, 1), 3)}, {"synthesizer": noise}):
        with pytest.raises(ValueError, match="belong together"):
            RefreshPool(4, **half)
