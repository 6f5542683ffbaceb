"""Each private name of Keras, by its own test: what is it, if it is there?"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from inversions import two_replicas
from keras import layers

from tf_deepinversion.core import keras_internals


class Nested(keras.Model):
    """Layers in a list and in a dict, which `layers` does not all see."""

    def __init__(self):
        super().__init__()
        self.listed = [layers.Dense(2, name="listed")]
        self.named = {"a": layers.Dense(2, name="named")}

    def call(self, x):
        return self.named["a"](self.listed[0](x))


def functional():
    inputs = keras.Input((3,))
    x = layers.Dense(4, name="first")(inputs)
    return keras.Model(inputs, layers.Dense(2, name="second")(x))


def test_flatten_layers():
    model = Nested()
    names = [x.name for x in keras_internals.layers_of(model)]
    assert names[0] == model.name and set(names[1:]) == {"listed", "named"}
    within = keras_internals.layers_of(model, include_self=False)
    assert {x.name for x in within} == {"listed", "named"}


def test_nodes_by_depth():
    nodes = keras_internals.nodes_of(functional())
    names = [node.operation.name for node in nodes]
    assert names[1:] == ["first", "second"]


def test_functional():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, name="only")])
    nodes = keras_internals.nodes_of(keras_internals.functional_of(model))
    assert nodes[-1].operation.name == "only"


def test_output_shape():
    layer = layers.Lambda(lambda x: x, output_shape=(7,))
    assert keras_internals.output_shape_of(layer) == (7,)


@pytest.mark.parametrize("apart", [False, True])
def test_all_reduce_sum_gradients(apart):
    """Two replicas, of gradients 1 and 2, move by their sum or by their own."""
    strategy = two_replicas()
    with strategy.scope():
        optimizer = keras.optimizers.SGD(1.0)
        variable = keras.Variable(0.0)
        optimizer.build([variable])
    if apart:
        keras_internals.keep_gradients_apart(optimizer)

    def step():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        optimizer.apply([tf.cast(replica + 1, "float32")], [variable])
        return tf.identity(variable.value)

    values = strategy.experimental_local_results(strategy.run(step))
    assert [float(x) for x in values] == ([-1, -2] if apart else [-3, -3])


def test_get_variable_index():
    optimizer = keras.optimizers.SGD(1.0)
    variables = [keras.Variable(0.0), keras.Variable(1.0)]
    optimizer.build(variables)
    for variable in (variables[1], variables[1].value):
        assert keras_internals.index_of(optimizer, variable) == 1


def test_model_variables_moving_average():
    optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.75)
    variable = keras.Variable(4.0)
    optimizer.build([variable])
    optimizer.apply([tf.constant(2.0)], [variable])
    [(found, average)] = keras_internals.averages_of(optimizer)
    assert found is variable
    # The average starts from the variable as it was first seen: 2, or 4.
    assert float(average) in (0.25 * 2 + 0.75 * 4, 2.0)
    assert keras_internals.averages_of(keras.optimizers.SGD(1.0)) == []


def test_attributes_that_are_replaced():
    layer, images = layers.Dense(2), keras.Input((3,), dtype="uint8")
    assert vars(layer)[keras_internals.REMAT_MODE] is None
    assert vars(layer)[keras_internals.DTYPE_POLICY].name == "float32"
    assert vars(images)[keras_internals.INPUT_DTYPE] == "uint8"


def test_convert_variables_to_constants_v2():
    model = functional()
    function = tf.function(lambda x: model(x)).get_concrete_function(
        tf.TensorSpec((1, 3), "float32")
    )
    constant = keras_internals.with_constants(function)
    x = np.ones((1, 3), "float32")
    np.testing.assert_allclose(constant(tf.constant(x))[0], model(x), rtol=1e-6)
    kinds = {o.type for o in constant.graph.get_operations()}
    assert "ReadVariableOp" not in kinds


def test_a_name_that_is_gone_is_said():
    with pytest.raises(NotImplementedError, match="no `_flatten_layers`"):
        keras_internals.layers_of("no layer")


def test_switches_and_schema_of_litert():
    model = functional()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    before = vars(converter).copy()
    keras_internals.use_one_scale_per_dense_layer(converter)
    changed = {k for k, v in vars(converter).items() if v is not before[k]}
    assert len(changed) == 1 and "per_channel" in changed.pop()
    schema = keras_internals.litert_schema()
    assert schema.BuiltinOperator.CONV_2D == 3 and schema.TensorType.INT8 == 9


@pytest.mark.parametrize("told", [(1, 2), {}, {"input_shape": "wide"}, None])
def test_a_layer_that_tells_no_shape_has_none(told):
    class Own(keras.layers.BatchNormalization):
        def get_build_config(self):
            if told is None:
                raise NotImplementedError
            return told

    layer = Own()
    layer.build((None, 3, 4))
    assert keras_internals.input_shape_of(layer) is None
    plain = keras.layers.BatchNormalization()
    plain.build((None, 3, 4))
    assert keras_internals.input_shape_of(plain) == (None, 3, 4)
