"""In which precision a network is read; that it is right is in zoo_test.py."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from keras import layers

from tf_deepinversion.networks.batch_norm_moments import batch_norms
from tf_deepinversion.networks.classifier import Classifier
from tf_deepinversion.networks.compute_policy import check_policy
from tf_deepinversion.networks.compute_policy import reading
from tf_deepinversion.networks.replicas import in_scope


def seen_dtypes(classifier):
    images = tf.zeros((2, *classifier.image_shape))
    return {record.inputs.dtype.name for record in classifier.read(images)[1]}


@pytest.mark.parametrize(
    "dtype,dtype_policy,expected",
    [
        ("float32", None, "float32"),
        ("float64", None, "float64"),
        ("mixed_float16", None, "float32"),
        ("float16", None, "float32"),
        ("mixed_bfloat16", None, "bfloat16"),
        ("bfloat16", "float32", "float32"),
        ("float16", "mixed_bfloat16", "bfloat16"),
        ("float32", "bfloat16", "bfloat16"),
        ("float32", keras.DTypePolicy("float64"), "float64"),
    ],
)
def test_the_policy_and_its_default(dtype, dtype_policy, expected):
    model, _, images = zoo.teacher(zoo.nested, dtype=dtype)
    weights = [(w.dtype, w.numpy().tobytes()) for w in model.weights]
    with Classifier(model, None, dtype_policy).open() as classifier:
        assert seen_dtypes(classifier) == {expected}
        # Only then: others may call or save an open model.
        assert {bn.dtype_policy.name for bn in batch_norms(model)} == {dtype}
    assert [(w.dtype, w.numpy().tobytes()) for w in model.weights] == weights


@pytest.mark.parametrize(
    "dtype_policy",
    [
        "float16",
        "mixed_float16",
        "int8_from_float32",
        keras.dtype_policies.DTypePolicyMap(),
    ],
)
def test_a_policy_without_gradients_is_refused(dtype_policy):
    with pytest.raises(ValueError, match='"mixed_bfloat16".*Received: dtype'):
        check_policy(dtype_policy)


def test_two_policies_of_one_model_at_once():
    model, _, _ = zoo.teacher(zoo.functional)
    with Classifier(model, None, "mixed_bfloat16").open() as half:
        with Classifier(model).open() as whole:
            assert seen_dtypes(whole) == {"float32"}
            assert seen_dtypes(half) == {"bfloat16"}


def test_what_is_quantized_or_whole_numbers_keeps_its_policy():
    chain = [layers.Dense(3), layers.Hashing(4), layers.Dense(3)]
    policies = keras.dtype_policies.DTypePolicyMap("mixed_float16")
    mapped = layers.Dense(3, dtype=policies)
    model = zoo.Chain(*chain, mapped)
    model.build((None, 3))
    for layer in (*chain[::2], mapped):
        layer.build((None, 3))
    chain[0].quantize("int8")
    expected = ["int8_from_float32", chain[1].dtype_policy.name, "bfloat16"]
    with reading(model, keras.DTypePolicy("bfloat16")):
        assert [x.dtype_policy.name for x in chain] == expected
        assert mapped.compute_dtype == "bfloat16"
    with reading(model):
        assert mapped.compute_dtype == "float32"
    assert mapped.dtype_policy is policies


def test_a_model_is_built_in_its_own_precision():
    model, _ = zoo.sequential_without_input(dtype="mixed_float16")
    Classifier(model, zoo.SHAPE, "mixed_bfloat16")
    assert model.inputs[0].dtype == "float16"
    assert {w.dtype for w in model.weights} == {"float32"}


@pytest.mark.parametrize(
    "dtype_policy,dtype,tolerance",
    [(None, "float32", 1e-5), ("mixed_bfloat16", "bfloat16", 0.05)],
)
def test_replicas_read_a_copy_in_the_same_way(dtype_policy, dtype, tolerance):
    model, read, images = zoo.teacher(zoo.nested, dtype="mixed_float16")
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        copy = Classifier(in_scope(model, strategy), None, dtype_policy)
    dtypes = []

    def replica(x):
        reading = copy.read(x)
        logits, records = reading.logits, reading.batch_norm_calls
        dtypes.extend(record.inputs.dtype.name for record in records)
        return logits

    with copy.open():
        found = tf.function(lambda x: strategy.run(replica, (x,)))(images)
    assert dtypes == [dtype] * 4
    for logits in strategy.experimental_local_results(found):
        np.testing.assert_allclose(logits, read(images)[0], atol=tolerance)
