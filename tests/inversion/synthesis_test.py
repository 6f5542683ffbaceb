"""A pool of synthesized images: whole, killed and continued."""

import os
import signal

import numpy as np
import pytest
import tensorflow_datasets as tfds
from inversions import NORMALIZED
from tiny import CLASSES
from tiny import SHAPE
from tiny import learned_teacher
from tiny import tiny_teacher

import tf_deepinversion as di
from tf_deepinversion import DeepInversion
from tf_deepinversion import FastInversion
from tf_deepinversion import Pool
from tf_deepinversion import synthesize
from tf_deepinversion.core.progress import Progress
from tf_deepinversion.datasets import merge_batches
from tf_deepinversion.datasets.batch_folder import BatchFolder
from tf_deepinversion.inversion import Synthesizer
from tf_deepinversion.inversion import chain_states
from tf_deepinversion.inversion.recipes import RECIPES


def synthesized(folder, batches=2, **kwargs):
    sizes = {"batches": batches, "images": 4, "first_steps": 2, "steps": 1}
    return synthesize(
        learned_teacher(),
        CLASSES,
        folder=folder,
        preprocessing=NORMALIZED,
        recipe=RECIPES["generator"],
        **{**sizes, **kwargs},
    )


def test_synthesis_goes_on_to_the_same_pool(tmp_path, eagerly, capsys):
    whole = synthesized(None)
    assert isinstance(whole, Pool)
    assert whole.requested.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    part = synthesized(tmp_path, batches=1)
    np.testing.assert_array_equal(part.images, whole.images[:4])
    capsys.readouterr()
    again = synthesized(tmp_path)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "Images: 1 of 2 batches done before"
    assert len(told) == 2 and told[1].startswith("Images: batch 1/1")
    for name in ("images", "labels", "requested"):
        np.testing.assert_array_equal(
            getattr(again, name), getattr(whole, name)
        )
    with pytest.raises(ValueError, match="another run"):
        synthesized(tmp_path, seed=1)
    with pytest.raises(ValueError, match="is for 2 batches.*batches=1"):
        synthesized(tmp_path, batches=1)
    with pytest.raises(ValueError, match="take 3 images a batch.*images=2"):
        synthesize(
            learned_teacher(),
            images=2,
            batches=1,
            preprocessing=NORMALIZED,
        )


class Shades(Synthesizer):
    """Independent batches, each of one shade; some fail, or are ended."""

    classes, image_shape = 5, (2, 2, 1)

    def __init__(self, fails=(), ended=()):
        self.asked, self.fails, self.ended = [], fails, ended

    def make(self, labels, batch_index, steps=None, verbose=0):
        self.asked.append((batch_index, steps))
        if batch_index in self.fails:
            raise FloatingPointError("not finite")
        if batch_index in self.ended:
            os.kill(os.getpid(), signal.SIGTERM)
        return np.full((len(labels), 2, 2, 1), batch_index, "uint8"), labels

    def settings(self):
        return {}


def shaded(folder, maker=None, **kwargs):
    plan = {"batches": 3, "images": 2, "verbose": 0, **kwargs}
    return synthesize(maker or Shades(), folder=folder, **plan)


def equal(pool, other):
    for name in ("images", "labels", "requested"):
        pair = getattr(pool, name), getattr(other, name)
        np.testing.assert_array_equal(*pair)
    return True


def test_it_is_a_worker_and_a_merge(tmp_path):
    maker = Shades()
    pool = shaded(tmp_path, maker, first_steps=9, steps=4)
    assert maker.asked == [(0, 9), (1, 4), (2, 4)]
    assert equal(pool, shaded(None, Shades(), first_steps=9, steps=4))
    pool.verify()
    with pytest.raises(ValueError, match="`join_pools` joins this pool"):
        pool.add(pool.images[:1], [0])
    status = di.datasets.status_of_batches(tmp_path / "pool")
    assert (status.done, status.failed, status.stopped) == (3, [], False)
    # Workers join the folder.
    helped, helper = tmp_path / "helped", Shades()
    plan = {"batches": 3, "images": 2, "verbose": 0}
    di.synthesize_batches(helper, helped / "pool", **plan)
    mine = Shades()
    assert equal(shaded(helped, mine), shaded(None)) and not mine.asked


def test_the_pool_of_batches_so_far_is_read_at_any_time(tmp_path):
    folder = tmp_path / "pool"

    class Watched(Shades):
        def make(self, labels, batch_index, steps=None, verbose=0):
            if batch_index:
                opened = Pool.open(folder)
                builder = tfds.builder_from_directory(str(folder))
                count = builder.info.splits["train"].num_examples
                assert opened.batches == batch_index
                assert len(opened) == count == 2 * batch_index
            return super().make(labels, batch_index)

    shaded(tmp_path, Watched())


def test_a_large_pool_is_listed_for_each_tenth_more(tmp_path, monkeypatch):
    folder, listed = tmp_path / "pool", []
    module = "tf_deepinversion.inversion._synthesize.merge_batches"

    def merged(path):
        listed.append(len(BatchFolder.existing(path).done))
        return merge_batches(path)

    monkeypatch.setattr(module, merged)
    with pytest.raises(FloatingPointError):
        shaded(tmp_path, Shades(fails=[33]), batches=40)
    # By ones up to 10, then 11, 13 (of 12.1), 15, 17, 19, ... 27, 30; the rest
    # is listed because the call ends.
    assert listed == [*range(1, 12), 13, 15, 17, 19, 21, 24, 27, 30, 33, 33]
    assert Pool.open(folder).batches == 33


def test_an_error_is_raised_and_the_next_call_goes_on(tmp_path):
    maker = Shades(fails=[1])
    with pytest.raises(FloatingPointError, match="not finite"):
        shaded(tmp_path, maker)
    assert [number for number, _ in maker.asked] == [0, 1]
    assert not (tmp_path / "pool" / "failed").exists()
    maker = Shades()
    assert equal(shaded(tmp_path, maker), shaded(None))
    assert [number for number, _ in maker.asked] == [1, 2]


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y: (x / 255, y), TypeError, "must be uint8 pixels"),
        (
            lambda x, y: (x.astype(int) + 300, y),
            TypeError,
            "must be uint8 pixels",
        ),
        (lambda x, y: (x[:, 1:], y), ValueError, "Expected the image of"),
        (lambda x, y: (x, y + 5), ValueError, "`labels` must lie in"),
        (lambda x, y: (x, y - 1), ValueError, "`labels` must lie in"),
        (lambda x, y: (x, y * 1.0), TypeError, "`labels` must be integers"),
        (lambda x, y: (x, y[:, None]), ValueError, "one per image"),
    ],
)
def test_what_a_synthesizer_makes_is_checked(
    tmp_path, on_disk, change, error, message
):
    class Changed(Shades):
        def make(self, labels, batch_index, steps=None, verbose=0):
            images, labels = super().make(labels, batch_index)
            return change(images, labels)

    folder = tmp_path if on_disk else None
    with pytest.raises(error, match=message):
        shaded(folder, Changed())


def test_a_worker_counts_what_it_cannot_store_as_failed(tmp_path, capsys):
    class Floats(Shades):
        def make(self, labels, batch_index, steps=None, verbose=0):
            images, labels = super().make(labels, batch_index)
            return images / 255, labels

    plan = {"batches": 2, "images": 3}
    status = di.synthesize_batches(Floats(), tmp_path, verbose=0, **plan)
    assert (status.done, status.failed) == (0, [0, 1])
    # Having failed twice they are left out, but not done.
    di.synthesize_batches(Floats(), tmp_path, verbose=0, **plan)
    capsys.readouterr()
    di.synthesize_batches(Floats(), tmp_path, verbose=2, **plan)
    assert "done before" not in capsys.readouterr().out
    with pytest.raises(TypeError, match="must be uint8 pixels"):
        di.inversion.plan_batches(Floats(), **plan)


@pytest.mark.parametrize("on_disk", [True, False])
def test_an_interrupted_generator_repeats_its_own_call(
    tmp_path, eagerly, monkeypatch, on_disk
):
    """The weights are again those before the call, so it is the same call."""

    def made_by(model, folder):
        batches = {"batches": 3, "images": 3, "first_steps": 1, "steps": 1}
        return synthesize(model, folder=folder, **batches, verbose=0)

    def model():
        return FastInversion(learned_teacher(), NORMALIZED)

    whole = made_by(model(), None)
    interrupted, fit = model(), FastInversion.fit
    before = interrupted.generator.get_weights()

    def fit_until_the_second(self, *args, batch_index=0, **kwargs):
        if batch_index == 1:
            raise KeyboardInterrupt
        return fit(self, *args, batch_index=batch_index, **kwargs)

    folder = tmp_path if on_disk else None
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FastInversion, "fit", fit_until_the_second)
        made_by(interrupted, folder)
    for weights in zip(
        interrupted.generator.get_weights(), before, strict=True
    ):
        np.testing.assert_array_equal(*weights)
    assert equal(made_by(interrupted, folder), whole)


def test_killed_before_a_chain_s_state_the_generator_ends_where_it_should(
    tmp_path, eagerly, monkeypatch
):
    def made_by(model, folder, batches=2):
        plan = {"batches": batches, "images": 3, "first_steps": 1, "steps": 1}
        synthesize(model, folder=folder, **plan, verbose=0)
        return model.generator.get_weights()

    def model():
        return FastInversion(learned_teacher(), NORMALIZED)

    class Killed(BaseException):
        pass

    save = chain_states.ChainStates.save

    def killed(self, unit, number):
        if number == 1:
            raise Killed
        save(self, unit, number)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(chain_states.ChainStates, "save", killed)
        made_by(model(), tmp_path / "killed")
    whole = made_by(model(), tmp_path / "whole")
    again = made_by(model(), tmp_path / "killed")
    for weights in zip(again, whole, strict=True):
        np.testing.assert_array_equal(*weights)
    left = [
        sorted(x.name for x in (tmp_path / name / "pool" / "state").iterdir())
        for name in ("killed", "whole")
    ]
    assert left[0] == left[1] == ["chain-00000.npz"]


def test_asked_to_end_it_returns_no_part_of_a_pool(tmp_path):
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as told:
        shaded(tmp_path, Shades(ended=[1]))
    assert told.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is handler
    assert len(Pool.open(tmp_path / "pool")) == 4
    assert equal(shaded(tmp_path), shaded(None))


def test_without_a_shard_it_is_made_again(tmp_path):
    """As the error that names a damaged shard says."""
    whole = shaded(tmp_path)
    path = tmp_path / "pool" / "pool-train.tfrecord-00001"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="00001 is damaged.*done/00001.json"):
        whole.verify()
    path.unlink()
    (tmp_path / "pool" / "done" / "00001.json").unlink()
    maker = Shades()
    shaded(tmp_path, maker).verify()
    assert [number for number, _ in maker.asked] == [1]


def test_it_keeps_jpeg_images_in_a_folder_alone(tmp_path):
    pool = shaded(tmp_path, jpeg_quality=90)
    assert pool.jpeg_quality == 90
    with pytest.raises(ValueError, match="differs in: jpeg_quality"):
        shaded(tmp_path)
    maker = Shades()
    with pytest.raises(ValueError, match="in memory keeps pixels"):
        shaded(None, maker, jpeg_quality=90)
    assert not maker.asked


def test_the_folder_of_an_earlier_version_is_refused_with_a_way_out(tmp_path):
    """The version before had a `Pool` that it wrote, and a generator."""
    folder = tmp_path / "pool"
    pool = Pool(9, (2, 2, 1), 5, folder=folder, run="{}")
    pool.add(np.zeros((2, 2, 2, 1), "uint8"), [0, 1])
    pool.close()
    (tmp_path / "generator.npz").touch()
    content = (folder / "pool.json").read_bytes()
    maker = Shades()
    with pytest.raises(ValueError, match="earlier version.*another folder"):
        shaded(tmp_path, maker)
    assert not maker.asked
    assert (folder / "pool.json").read_bytes() == content
    assert len(Pool.open(folder)) == 2  # as the message says


@pytest.mark.slow
def test_a_synthesizer_may_be_given_in_place_of_a_network(tmp_path):
    def of(folder, draws=2, batches=2):
        made = FastInversion(
            learned_teacher(),
            NORMALIZED,
            recipe="distillation",
            draws=draws,
            seed=3,
        )
        return made, synthesize(
            made,
            folder=folder,
            batches=batches,
            images=4,
            first_steps=2,
            steps=1,
        )

    made, whole = of(None)
    first, second = [0, 1, 2, 0], [1, 2, 0, 1]
    assert whole.requested.tolist() == first * 2 + second * 2
    # The second batch's are the third and the fourth that it draws.
    for number in (2, 3):
        np.testing.assert_array_equal(
            whole.images[4 * number : 4 * number + 4],
            made.draw(second, number),
        )
    of(tmp_path, batches=1)
    np.testing.assert_array_equal(of(tmp_path)[1].images, whole.images)
    with pytest.raises(ValueError, match="differs in: draws"):
        of(tmp_path, draws=3)
    with pytest.raises(ValueError, match="Received: recipe, seed beside"):
        synthesize(made, recipe="ours", seed=1)


def test_some_of_the_classes_alone(tmp_path, eagerly):
    def of(classes):
        return synthesize(
            learned_teacher(),
            classes,
            folder=tmp_path,
            batches=1,
            images=4,
            steps=2,
            preprocessing=NORMALIZED,
            recipe="replay_pixels",
        )

    pool = of([2, 0])
    assert pool.requested.tolist() == [2, 0, 2, 0] and pool.classes == CLASSES
    with pytest.raises(ValueError, match="another run"):
        of([2, 1])
    with pytest.raises(ValueError, match="another run"):
        of(CLASSES)
    with pytest.raises(ValueError, match=r"`labels` must lie in \[0, 3\)"):
        synthesize(learned_teacher(), [3], images=1, preprocessing=NORMALIZED)
    for wrong in ([1.7, 0], [True, False]):
        with pytest.raises(TypeError, match="`classes` must be integers"):
            synthesize(learned_teacher(), wrong, preprocessing=NORMALIZED)
    with pytest.raises(ValueError, match="`classes` must be a whole number"):
        synthesize(learned_teacher(), True, preprocessing=NORMALIZED)
    for none in ([], 0):
        with pytest.raises(ValueError, match="`classes` must .* at least one"):
            synthesize(learned_teacher(), none, preprocessing=NORMALIZED)
    with pytest.raises(ValueError, match="2 classes: take 2 images"):
        synthesize(
            learned_teacher(),
            [0, 1],
            images=1,
            batches=1,
            preprocessing=NORMALIZED,
        )


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["generator", "replay_pixels"])
def test_fewer_images_than_classes_go_on_with_the_next(tmp_path, recipe):
    def of(folder, batches):
        return synthesize(
            learned_teacher(),
            [2, 0, 1],
            folder=folder,
            batches=batches,
            images=2,
            first_steps=1,
            steps=1,
            preprocessing=NORMALIZED,
            recipe=recipe,
        )

    whole = of(None, 3)
    assert whole.requested.tolist() == [2, 0, 1, 2, 0, 1]
    of(tmp_path, 2)
    resumed = of(tmp_path, 3)
    assert resumed.requested.tolist() == [2, 0, 1, 2, 0, 1]
    np.testing.assert_array_equal(resumed.images, whole.images)


def what_it_says(teacher, images):
    """The classes of images, by the network itself."""
    z = (images.astype("float32") - 127.5) / 50
    return teacher(z, training=False).numpy().argmax(-1)


@pytest.mark.filterwarnings("ignore:The network takes")
def test_labels_are_what_the_network_says_of_the_images(tmp_path, eagerly):
    for recipe in ("generator", "distillation_pixels"):
        folder = tmp_path / recipe
        teacher = tiny_teacher()
        pool = synthesize(
            teacher,
            folder=folder,
            batches=2,
            images=6,
            first_steps=1,
            steps=1,
            preprocessing=NORMALIZED,
            recipe=recipe,
        )
        said = what_it_says(teacher, pool.images)
        np.testing.assert_array_equal(pool.labels, said)
        assert (pool.labels != pool.requested).any()
        published = tfds.as_numpy(
            tfds.builder_from_directory(str(folder / "pool")).as_dataset(
                split="train"
            )
        )
        for example in published:
            (said,) = what_it_says(teacher, example["image"][np.newaxis])
            assert example["label"] == said


def test_labels_are_those_of_the_network_s_own_precision():
    undecided = tiny_teacher()
    head = undecided.layers[-1]
    head.kernel.assign(0 * head.kernel)
    head.bias.assign([300.0, 300.1, 0.0])  # the same in bfloat16
    model = DeepInversion(undecided, NORMALIZED, dtype="mixed_bfloat16")
    images = np.zeros((3, *SHAPE), "uint8")
    assert model.classes_of(images, batch_size=2).tolist() == [1, 1, 1]


def test_images_that_are_not_of_their_classes_are_told(eagerly):
    stubborn = tiny_teacher()
    head = stubborn.layers[-1]
    head.kernel.assign(0 * head.kernel)
    head.bias.assign([0.0, 0.0, 9.0])
    with pytest.warns(UserWarning, match="recognizes 33% of the images as the"):
        synthesize(
            stubborn,
            CLASSES,
            batches=1,
            images=6,
            first_steps=1,
            steps=1,
            preprocessing=NORMALIZED,
        )


def test_the_time_left_knows_that_a_generator_learns_most_at_first(
    tmp_path, eagerly, monkeypatch
):
    seen, begin = [], Progress.__init__

    def told(self, title, total, unit, verbose, first):
        seen.append((total, first))
        begin(self, title, total, unit, verbose, first)

    monkeypatch.setattr(Progress, "__init__", told)
    for folder in (None, tmp_path):
        synthesized(folder, first_steps=3)
    synthesized(tmp_path, batches=4, first_steps=3)
    assert seen == [(2, 3), (2, 3), (2, 1)]
    # Nothing is traced for a ratio that is 1.
    assert Synthesizer.first_takes(None, [0, 1], 4, 5, 5) == 1


def test_pixels_are_those_of_deep_inversion(tmp_path):
    def pixels(folder, **kwargs):
        return synthesize(
            learned_teacher(),
            CLASSES,
            folder=folder,
            **{"batches": 2, "images": 4, "steps": 3, "seed": 5, **kwargs},
            preprocessing=NORMALIZED,
            recipe="distillation_pixels",
        )

    pool = pixels(tmp_path)
    model = DeepInversion(
        learned_teacher(), NORMALIZED, recipe="distillation_pixels", seed=5
    )
    for batch in range(2):
        labels = [[0, 1, 2, 0], [1, 2, 0, 1]][batch]
        model.fit(labels, 3, batch_index=batch, verbose=0)
        mine = pool.images[12 * batch : 12 * batch + 12].reshape(3, 4, *SHAPE)
        np.testing.assert_array_equal(mine[:2], model.snapshots)
        np.testing.assert_array_equal(mine[2], model.images)
    assert len(pool) == 24
    with pytest.raises(ValueError, match="another run"):
        pixels(tmp_path, steps=4)
