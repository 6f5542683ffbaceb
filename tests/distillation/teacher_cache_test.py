"""Answers of a teacher that serve several steps stay those of their images."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from divergences import PIXELS
from divergences import kl
from inversions import NORMALIZED
from tiny import CLASSES
from tiny import SHAPE
from tiny import tiny_teacher

from tf_deepinversion import HorizontalFlip
from tf_deepinversion.callbacks import training_state
from tf_deepinversion.callbacks.training_state import TrainingState
from tf_deepinversion.core import row_parts
from tf_deepinversion.core import run_state
from tf_deepinversion.distillation._distillation import Distillation
from tf_deepinversion.distillation.teacher_cache import TeacherCache


def draws(store, steps, count=64, size=2):
    """The numbers of the images that a store gives at each of these steps.

    Those that it asks for at a step are numbered from twice that on, in their
    first two pixels.

    Returns:
        A pair: the steps at which it asked, and an int array for each step.
    """
    asked, given = [], []
    for step in steps:

        def ask(step=step):
            asked.append(step)
            numbers = 2 * step + np.arange(size)
            images = np.zeros((size, *SHAPE), "float32")
            images[:, 0, 0, 0], images[:, 0, 1, 0] = divmod(numbers, 256)
            return tf.constant(images), tf.constant(answers(numbers))

        images, logits = store.batch(ask, tf.constant(step), tf.constant(count))
        assert images.shape == (count, *SHAPE)
        numbers = images.numpy()[:, 0, :2, 0].astype(int) @ [256, 1]
        # The answer is that of the image, wherever it was kept.
        np.testing.assert_array_equal(logits, answers(numbers))
        given.append(numbers)
    return asked, given


def answers(numbers):
    return np.eye(CLASSES, dtype="float32")[numbers % CLASSES] * 7


def test_the_oldest_make_room_every_few_steps():
    store = TeacherCache(SHAPE, CLASSES, steps_per_call=3, size=4)
    asked, given = draws(store, range(8))
    assert asked == [0, 3, 6]
    kept = [{0, 1}] * 3 + [{0, 1, 6, 7}] * 3 + [{6, 7, 12, 13}] * 2
    assert [set(numbers) for numbers in given] == kept
    again = draws(
        TeacherCache(SHAPE, CLASSES, steps_per_call=3, size=4), range(8)
    )[1]
    np.testing.assert_array_equal(again, given)
    assert (given[3] != given[4]).any()


def test_each_image_is_drawn_as_often_as_said():
    store = TeacherCache(SHAPE, CLASSES, steps_per_call=5, size=8)
    _, given = draws(store, range(1000), count=2)
    drawn = np.bincount(np.concatenate(given))
    # All but the first and the last images; Poisson's law has variance 5.
    counts = drawn[[i for i in range(40, 1960) if i % 10 < 2]]
    assert len(counts) == 384
    assert counts.mean() == pytest.approx(5, abs=3 * np.sqrt(5 / 384))


def test_an_empty_store_asks_whatever_the_step():
    asked, given = draws(
        TeacherCache(SHAPE, CLASSES, steps_per_call=3), [7, 8, 9]
    )
    assert asked == [7, 9] and set(given[0]) == {14, 15}


def test_batches_that_do_not_divide_the_store():
    store = TeacherCache(SHAPE, CLASSES, steps_per_call=1, size=5)
    _, given = draws(store, range(0, 6, 2), size=3)
    kept = [{0, 1, 2}, {1, 2, 4, 5, 6}, {5, 6, 8, 9, 10}]
    assert [set(numbers) for numbers in given] == kept


@pytest.mark.parametrize("jit", [False, True])
def test_a_student_learns_from_what_was_answered(jit):
    """One image, again and again: its loss is known whatever is drawn."""
    teacher, student = tiny_teacher(0), tiny_teacher(1)
    same = np.repeat(PIXELS[:1], 4, 0)
    model = Distillation(
        teacher,
        student,
        NORMALIZED,
        temperature=2.0,
        transforms=[],
        steps_per_teacher_call=2,
    )
    t = teacher(NORMALIZED.normalize(same), training=False).numpy()
    s = tiny_teacher(1)(NORMALIZED.normalize(same), training=True).numpy()
    model.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=jit)
    found = model.train_on_batch(same, return_dict=True)
    assert found["loss"] == pytest.approx(kl(t, s, 2.0).mean(), rel=1e-4)
    # The second step is on the same image, whatever it is given.
    s = student(NORMALIZED.normalize(same), training=True).numpy()
    model.reset_metrics()
    found = model.train_on_batch(PIXELS[1:5], return_dict=True)
    assert found["loss"] == pytest.approx(kl(t, s, 2.0).mean(), rel=1e-3)
    model.train_on_batch(PIXELS[1:5])
    images, logits, written = (v.numpy() for v in model.state_variables)
    assert written == 8
    np.testing.assert_array_equal(images[:8], [*same, *PIXELS[1:5]])
    t = teacher(NORMALIZED.normalize(images[:8]), training=False)
    np.testing.assert_allclose(logits[:8], t, rtol=1e-4, atol=1e-5)


def test_what_is_kept_is_what_the_teacher_saw(eagerly):
    teacher = tiny_teacher(0)
    model = Distillation(
        teacher,
        tiny_teacher(1),
        NORMALIZED,
        transforms=[Halve()],
        steps_per_teacher_call=2,
    )
    model.compile(optimizer="sgd")
    model.train_on_batch(PIXELS)
    images, logits = (v.numpy()[:6] for v in model.state_variables[:2])
    np.testing.assert_array_equal(images, np.rint(PIXELS / 2))
    t = teacher(NORMALIZED.normalize(images), training=False)
    np.testing.assert_allclose(logits, t, rtol=1e-4, atol=1e-5)


class Halve(HorizontalFlip):
    def __call__(self, images, drawn):
        return images / 2


def test_of_larger_images_fewer_are_kept():
    sizes = {
        shape: TeacherCache(shape, classes, steps_per_call=2).size
        for shape, classes in (
            ((28, 28, 1), 10),
            ((32, 32, 3), 1000),
            ((224, 224, 3), 1000),
        )
    }
    kept = 120_000_000 // (224 * 224 * 3 + 4 * 1000)
    assert list(sizes.values()) == [10_240, 10_240, kept]
    with pytest.raises(
        ValueError, match="a single image.*`teacher_cache_bytes`"
    ):
        TeacherCache(SHAPE, CLASSES, steps_per_call=2, most_bytes=70)
    small = 2 * (8 * 8 + 4 * CLASSES)
    model = Distillation(
        tiny_teacher(0),
        tiny_teacher(1),
        NORMALIZED,
        steps_per_teacher_call=2,
        teacher_cache_bytes=small,
    )
    assert model.settings()["steps_per_teacher_call"] == [2, 2]
    with pytest.raises(ValueError, match="at most 2 images.*batch of 3"):
        model.require_batch(3)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state.rows"


def kept(store, path):
    """The callback that keeps a store, which it restores from a file."""
    state = TrainingState(path, [], "run", store)
    state.params = {"epochs": 99}
    return state


def same(one, other):
    for mine, theirs in zip(one.variables, other.variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def ring(size=6):
    return TeacherCache(SHAPE, CLASSES, steps_per_call=1, size=size)


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8])
def test_a_state_goes_on_to_the_same_and_each_save_writes_new_rows_alone(
    tmp_path, folder, stride
):
    path, whole, part = tmp_path / "state.npz", ring(), ring()
    draws(part, [77])  # what is there before gives way
    for epoch, first in enumerate(range(0, 24, stride)):
        before = {x.name: x.stat().st_mtime_ns for x in folder.glob("*")}
        part = ring()
        state = kept(part, path)
        assert state.epoch == epoch
        same(part, whole)
        steps = range(first, first + stride)
        np.testing.assert_array_equal(
            draws(part, steps)[1], draws(whole, steps)[1]
        )
        state.on_epoch_end(epoch)
        after = {x.name: x.stat().st_mtime_ns for x in folder.glob("*")}
        new = set(after) - set(before)
        (name,) = new  # an epoch adds one file, of its own rows at most
        begin, end = map(int, name.removesuffix(".npz").split("-"))
        assert end - begin == min(2 * stride, 6)
        assert all(after[name] == before[name] for name in set(after) - new)
        rows = sum(len(np.load(x)["images"]) for x in folder.glob("*.npz"))
        assert rows < 2 * 6
    with np.load(path) as saved:
        assert set(saved.files) == {"past", "rows", "_header"}


class Dead(BaseException):
    pass


def die(*_, **__):
    raise Dead


@pytest.mark.parametrize("moment", ["rows", "state", "clean"])
def test_killed_at_any_moment_it_goes_on_to_the_same(
    tmp_path, folder, moment, monkeypatch
):
    path, whole = tmp_path / "state.npz", ring()
    for epoch in range(4):
        for killed in (True, False):
            store = ring()
            state = kept(store, path)
            same(store, whole)
            steps = [2 * epoch, 2 * epoch + 1]
            drawn = draws(store, steps)[1]
            if killed:
                with monkeypatch.context() as context:
                    where = {
                        "rows": (row_parts.run_state, "save"),
                        "state": (training_state.run_state, "save"),
                        "clean": (row_parts.RowParts, "clean"),
                    }[moment]
                    works = getattr(*where)

                    def stop(path, *rest, works=works):
                        if moment == "state" and path.parent == folder:
                            return works(path, *rest)
                        raise Dead

                    context.setattr(*where, stop)
                    with pytest.raises(Dead):
                        state.on_epoch_end(epoch)
                if moment == "clean":
                    break  # the state counts
        else:
            state.on_epoch_end(epoch)
        np.testing.assert_array_equal(drawn, draws(whole, steps)[1])
        same(store, whole)
    store = ring()
    kept(store, path)
    same(store, whole)


def test_what_was_left_by_another_run_goes(tmp_path, folder):
    path = tmp_path / "state.npz"
    store = ring()
    state = kept(store, path)
    draws(store, range(5))
    state.on_epoch_end(0)
    path.unlink()  # by which one starts again
    store = ring()
    state = kept(store, path)
    assert state.epoch == store.written == 0
    draws(store, [0])
    state.on_epoch_end(0)
    assert [x.name for x in folder.iterdir()] == [f"{0:012d}-{2:012d}.npz"]


@pytest.mark.parametrize("damage", ["missing", "damaged", "another run"])
def test_rows_that_are_not_there_are_named(tmp_path, folder, damage):
    path, store = tmp_path / "state.npz", ring()
    state = kept(store, path)
    draws(store, [0])
    state.on_epoch_end(0)
    (part,) = folder.iterdir()
    if damage == "missing":
        part.unlink()
    elif damage == "damaged":
        part.write_bytes(part.read_bytes()[:-9])
    else:
        run_state.save(part, {}, "another")
    message = f"{part.name}.*{damage}.*delete the state"
    with pytest.raises(ValueError, match=message):
        kept(ring(), path)


def test_a_state_of_an_earlier_version_is_refused(tmp_path):
    path = tmp_path / "state.npz"
    state = TrainingState(path, ring().variables, "run")
    state.params = {"epochs": 2}
    state.on_epoch_end(0)
    with pytest.raises(ValueError, match="earlier version.*start again"):
        kept(ring(), path)


def test_states_of_any_names_have_rows_of_their_own(tmp_path):
    """Of `with_suffix`, net.1 and net.2 would share net.rows."""
    for name in ("net.1", "net.2"):
        store = ring()
        draws(store, [0])
        kept(store, tmp_path / name).on_epoch_end(0)
    assert {x.name for x in tmp_path.glob("*.rows")} == {
        "net.1.rows",
        "net.2.rows",
    }
    assert kept(ring(), tmp_path / "net.1").epoch == 1


def test_no_rows_are_no_file(tmp_path, folder):
    store = ring()
    kept(store, tmp_path / "state.npz").on_epoch_end(0)
    assert not folder.exists()
    kept(store, tmp_path / "state.npz")
    assert store.written == 0


def test_bad_arguments():
    with pytest.raises(
        ValueError,
        match="`steps_per_teacher_call` must be.*steps_per_teacher_call=0",
    ):
        Distillation(
            tiny_teacher(0),
            tiny_teacher(1),
            NORMALIZED,
            steps_per_teacher_call=0,
        )
    store = TeacherCache(SHAPE, CLASSES, steps_per_call=2, size=1)
    with pytest.raises(
        ValueError, match="at most 1 images.*Received: a batch of 2"
    ):
        draws(store, [0])
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        with pytest.raises(
            ValueError, match="replicas.*steps_per_teacher_call=2 on 2"
        ):
            Distillation(
                tiny_teacher(0),
                tiny_teacher(1),
                NORMALIZED,
                steps_per_teacher_call=2,
            )
