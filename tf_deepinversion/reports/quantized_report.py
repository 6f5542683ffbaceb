"""A page on a LiteRT model: what the file holds, and each layer's error."""

import html

from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.quantization import compare
from tf_deepinversion.reports import page
from tf_deepinversion.reports.charts import ratio_bars


def report_quantized(path, model, content, images, preprocessing=None) -> dict:
    """Writes an HTML page on a LiteRT model.

    The page shows the file's size, dtypes and operations, and a bar for the
    signal-to-noise ratio of each layer.

    Args:
        path: Path of the HTML file.
        model: The `keras.Model` that was converted.
        content: Bytes of a `.tflite` file, from `quantize` or `to_litert`.
        images: uint8 array `(n, height, width, channels)`. A hundred suffice.
        preprocessing: The model's `Preprocessing`, or None if the model is
            known by its name. Defaults to None.

    Returns:
        Dict from the layers' names to their ratios in dB, as
        `quantization.compare` returns.

    Raises:
        ValueError: if the file is not of this model, or if the images do not
            fit.

    Example:
        ```python
        di.reports.report_quantized("int8.html", teacher, content, images)
        ```
    """
    ratios = compare(model, content, images, preprocessing)
    held = LiteRT(content)
    counts = [
        (name, str(held.ops.count(name))) for name in sorted(set(held.ops))
    ]
    dtypes = held.dtypes
    body = f"""
<p>{len(content):,} bytes; {dtypes["input"]} pixels, {dtypes["output"]} logits;
tensors of {html.escape(", ".join(dtypes["tensors"]))}.</p>
<h2>The error of each layer</h2>
{ratio_bars(ratios, "Signal-to-noise ratio, 20 dB for an error of 10 %")}
<h2>The operations</h2>
{page.table(("operation", "times"), counts)}
"""
    page.write_page(path, f"{model.name} in LiteRT", body)
    return ratios
