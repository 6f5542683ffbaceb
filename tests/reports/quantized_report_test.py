"""The page on a LiteRT model says what the file holds."""

import keras
import numpy as np

from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.quantization import compare
from tf_deepinversion.quantization import to_litert
from tf_deepinversion.reports import report_quantized


def test_the_page_has_the_file_s_operations_and_the_layers(tmp_path):
    fed = Preprocessing(127.5, 50, "normalized")
    chain = (
        keras.layers.Flatten(name="flat"),
        keras.layers.Dense(3, name="last"),
    )
    model = keras.Sequential([keras.Input((4, 4, 1)), *chain], name="any")
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1), "uint8")
    content = to_litert(model, fed, batch_size=1)
    path = tmp_path / "page.html"
    ratios = report_quantized(path, model, content, images, fed)
    assert ratios == compare(model, content, images, fed)
    assert ratios["last"] > 100
    text = path.read_text()
    assert f"{len(content):,} bytes; float32 pixels" in text
    assert "<td>FULLY_CONNECTED</td><td>1</td>" in text.replace("\n", "")
    assert f"{ratios['last']:.1f} dB" in text
