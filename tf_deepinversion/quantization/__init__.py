"""LiteRT models of int8 and other number types, without the training data."""

from tf_deepinversion.quantization._compare import compare
from tf_deepinversion.quantization._correct_bias import correct_bias
from tf_deepinversion.quantization._equalize import equalize
from tf_deepinversion.quantization._quantize import quantize
from tf_deepinversion.quantization._train_quantized import TrainedQuantized
from tf_deepinversion.quantization._train_quantized import train_quantized
from tf_deepinversion.quantization._without_names import without_names
from tf_deepinversion.quantization.conversion import to_litert
from tf_deepinversion.quantization.layer_run import on_litert
from tf_deepinversion.quantization.litert import LiteRT
from tf_deepinversion.quantization.pixel_input import takes_pixels
