"""Synthesis of one pool by the machines of a Ray cluster."""

import contextlib
import pathlib

import keras

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import bytes_of_network
from tf_deepinversion.core.files import network_of_bytes
from tf_deepinversion.core.files import path_of
from tf_deepinversion.core.progress import Progress
from tf_deepinversion.datasets._merge_batches import merge_batches
from tf_deepinversion.datasets.batch_folder import BatchFolder
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.inversion._synthesize_batches import synthesize_batches
from tf_deepinversion.inversion.synthesizer import Synthesizer


def synthesize_on_ray(
    teacher,
    folder,
    *,
    address=None,
    workers=None,
    restarts=3,
    resources=None,
    poll_seconds=1.0,
    verbose="auto",
    **kwargs,
) -> Pool:
    """Makes one pool by `synthesize_batches` on the devices of a Ray cluster.

    Each worker is an actor, which keeps its compiled graph for all its batches.
    Ray restarts an actor that dies, and the other workers make what one that
    stays dead has left. Needs the extra `ray`.

    Args:
        teacher: A `keras.Model`, which is sent to the actors as a file; or a
            function without arguments that each actor calls for a network or a
            `Synthesizer`, such as `lambda: load_network("/shared/mine.keras")`.
        folder: Path of a folder that all machines share, see
            `synthesize_batches`.
        address: String, address of a cluster, such as `"auto"` or
            `"ray://head:10001"`. Defaults to a Ray that is already initialized,
            and otherwise to this machine.
        workers: Int, number of actors. Defaults to one per GPU of the cluster,
            or one per machine if there is none. Workers for which the cluster
            has no place wait until others have ended.
        restarts: Int, how often Ray restarts each actor. Defaults to 3.
        resources: Dict of what an actor asks of Ray, such as `{"num_gpus": 1}`
            or `{"num_cpus": 4, "resources": {"tpu": 1}}`. Defaults to a GPU
            each, or a CPU each if the cluster has no GPU.
        poll_seconds: Float, seconds between two looks at the folder. Defaults
            to 1.
        verbose: As for `synthesize`; one bar for all workers. Defaults to
            `"auto"`.
        **kwargs: Further arguments of `synthesize_batches`, but no
            `dtype="auto"`.

    Returns:
        A `Pool` for reading, of all batches, see `merge_batches`.

    Raises:
        ImportError: if Ray is not installed.
        ConnectionError: if the cluster cannot be reached.
        RuntimeError: if all actors have died.
        ValueError: as for `synthesize_batches`.

    Example:
        ```python
        pool = di.inversion.synthesize_on_ray(
            teacher, "/shared/run", address="auto", batches=1000
        )
        ```
    """
    folder = path_of(folder)
    if kwargs.get("dtype") == "auto":
        raise ValueError(
            "Each worker would choose for itself, all at the same time: pass "
            'dtype="float32" or dtype="mixed_bfloat16". '
            "Received: dtype='auto'"
        )
    require_whole(0, restarts=restarts)
    if workers is not None:
        require_whole(workers=workers)
    if isinstance(folder, pathlib.Path):
        folder = folder.absolute()
    _check(teacher)
    folder = str(folder)
    ray = _imported()
    with _connected(ray, address):
        gpus = int(ray.cluster_resources().get("GPU", 0))
        if resources is None:
            resources = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        alive = sum(node["Alive"] for node in ray.nodes())
        workers = workers or gpus or alive
        actor = ray.remote(
            max_restarts=restarts, max_task_retries=restarts, **resources
        )(_Worker)
        made = ray.put(_sent(teacher))
        actors = [actor.remote(made) for _ in range(workers)]
        working = [
            (one.work.remote(folder, worker, workers, kwargs), one)
            for worker, one in enumerate(actors)
        ]
        del actors  # see `_wait`
        _wait(ray, working, folder, poll_seconds, verbose)
    return merge_batches(folder)


class _Worker:
    """What an actor does; it runs on another machine."""

    def __init__(self, sent):
        self._teacher = _received(sent)

    def work(self, folder, worker, workers, arguments):
        status = synthesize_batches(
            self._teacher,
            folder,
            worker=worker,
            workers=workers,
            verbose=0,
            **arguments,
        )
        return tuple(status)


def _check(teacher):
    """Refuses what no worker can take, before Ray starts."""
    network = isinstance(teacher, keras.Model)
    function = callable(teacher) and not isinstance(teacher, keras.Layer)
    if isinstance(teacher, Synthesizer) or not (network or function):
        raise TypeError(
            "Expected a `keras.Model`, the classifier, or a function without "
            "arguments that makes a classifier or a synthesizer on the "
            f"worker's machine. Received: {type(teacher)}"
        )


def _sent(teacher):
    """Returns a function as it is, and a network as the bytes of its file."""
    if not isinstance(teacher, keras.Model):
        return teacher
    return teacher.name, bytes_of_network(teacher)


def _received(sent):
    if callable(sent):
        return sent()
    _, content = sent
    return network_of_bytes(content)


def _imported():
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            "synthesize_on_ray needs Ray: pip install ray. "
            "`synthesize_batches` needs nothing beside this library."
        ) from error
    return ray


@contextlib.contextmanager
def _connected(ray, address):
    """Connects to a cluster, or starts one on this machine for the time."""
    own = not ray.is_initialized()
    if own:
        try:
            ray.init(address=address, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConnectionError(
                "The Ray cluster cannot be reached: start it by `ray start "
                "--head`, or leave `address` out to work on this machine. "
                f"Received: address={address!r}; Ray says: {error}"
            ) from error
    try:
        yield
    finally:
        if own:
            ray.shutdown()


def _wait(ray, working, folder, poll_seconds, verbose):
    """Shows how far all workers are, until the work is done.

    Args:
        working: List of pairs of a job and its actor. The function takes them
            out: Ray ends an actor that nobody holds, and the cluster may have
            no place for another one before.

    Raises:
        RuntimeError: if all actors have died.
    """
    progress, before, died = None, None, []
    count = len(working)
    while working:
        jobs = [job for job, _ in working]
        ended, _ = ray.wait(jobs, timeout=poll_seconds)
        working[:] = [pair for pair in working if pair[0] not in ended]
        for job in ended:
            try:
                ray.get(job)
            except ray.exceptions.RayActorError as error:
                died.append(error)
            except ray.exceptions.RayTaskError as error:
                raise (error.cause or error) from error
        with contextlib.suppress(FileNotFoundError):
            missing = len(BatchFolder.existing(folder).missing)
            if progress is None:
                progress = Progress("Images", missing, "batch", verbose)
            elif missing < before:
                progress.advance(units=before - missing)
            before = missing
            if not missing and len(working) < count:
                # The others have found, or would find, nothing to do.
                for _, actor in working:
                    ray.kill(actor)
                return
    if len(died) == count:
        raise RuntimeError(
            "All actors of Ray have died; batches that are done are safe. Make "
            "the same call again, with more `restarts` or a smaller "
            f"`micro_batch` if the memory has run out. Ray says: {died[-1]}"
        )
