"""The shapes of a network's tensors, also in nested models of open size."""

import keras


class Sizes:
    """The shapes of tensors, if nested models are given what they are given.

    The tensors of a nested model with an open image size have open shapes, even
    if the model around it fixes the size. A walk through a network calls
    `enter` where a tensor goes in or out of a nested model, and `follow` at
    each other call. A nested model may be called again, at another size.
    """

    def __init__(self):
        self._found = {}

    def of(self, tensor) -> tuple:
        """Returns the shape of a tensor, in the latest call."""
        return self._found.get(id(tensor), tensor.shape)

    def enter(self, tensor, source):
        """Gives a tensor the shape of the tensor that it stands for."""
        self._found[id(tensor)] = self.of(source)

    def follow(self, node):
        """Computes the shapes of the outputs of a call, from its inputs."""
        given = node.arguments.keras_tensors
        shapes = [tensor.shape for tensor in node.outputs]
        if any(self.of(x)[1:] != x.shape[1:] for x in given):
            sized = {
                id(x): keras.KerasTensor(self.of(x), x.dtype) for x in given
            }
            args, kwargs = node.arguments.fill_in(sized)
            outputs = node.operation.compute_output_spec(*args, **kwargs)
            shapes = [tensor.shape for tensor in keras.tree.flatten(outputs)]
        for tensor, shape in zip(node.outputs, shapes, strict=True):
            self._found[id(tensor)] = shape
