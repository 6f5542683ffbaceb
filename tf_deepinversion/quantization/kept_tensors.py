"""Reads the tensors between the operations of a LiteRT model."""

from tf_deepinversion.quantization.litert import LiteRT
from tf_deepinversion.quantization.litert import interpreter_of


class KeptTensors(LiteRT):
    """Runs a LiteRT model that keeps the tensors between its operations."""

    def __init__(self, content):
        # The tensors of many images would not fit into memory.
        super().__init__(content, batch_size=10)
        self.content = content = bytes(content)
        # Without the delegate, which computes several operations at once.
        self._interpreter = interpreter_of(content, threads=1, keeps=True)

    def values(self, batch, held):
        """Computes tensors, in floats, of a batch of images.

        Args:
            batch: uint8 array.
            held: Dict from any keys to the tensors' indices; None is the
                output.
        """
        self._read(batch)
        details = {
            t["index"]: t for t in self._interpreter.get_tensor_details()
        }
        indices = {
            key: self.output["index"] if index is None else index
            for key, index in held.items()
        }
        return {
            key: self._dequantized(
                self._interpreter.get_tensor(index), details[index]
            )
            for key, index in indices.items()
        }
