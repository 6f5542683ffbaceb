"""Real images, pools of synthesized images, and streams of batches."""

from tf_deepinversion.datasets._join_pools import join_pools
from tf_deepinversion.datasets._merge_batches import BatchesStatus
from tf_deepinversion.datasets._merge_batches import merge_batches
from tf_deepinversion.datasets._merge_batches import status_of_batches
from tf_deepinversion.datasets.image_files import load_images
from tf_deepinversion.datasets.joined import Joined
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.datasets.real_images import FASHION_MNIST_CLASSES
from tf_deepinversion.datasets.real_images import load_digits
from tf_deepinversion.datasets.real_images import load_idx
from tf_deepinversion.datasets.real_images import load_split
from tf_deepinversion.datasets.real_images import load_test_data
from tf_deepinversion.datasets.real_images import load_test_images
from tf_deepinversion.datasets.real_images import read_idx
from tf_deepinversion.datasets.streams import Stream
from tf_deepinversion.datasets.streams import as_stream
from tf_deepinversion.datasets.streams import epochs_of
