"""The network that a job of the command writes, and what it may replace."""

import json
import pathlib

from tf_deepinversion.core.files import read_json
from tf_deepinversion.core.files import save_network
from tf_deepinversion.core.files import write_content


def check_output(args):
    """Checks that a job can write its network, and replaces none of others.

    Raises:
        ValueError: if it cannot, or would.
    """
    from tf_deepinversion.serving import check_replaceable

    if args.command not in ("distill", "prune", "learn", "quantize"):
        return
    if args.command == "quantize" and not args.training_steps:
        return
    path = _network_path(args)
    for read in (args.network, vars(args).get("student")):
        if read and path.resolve() == pathlib.Path(read).resolve():
            raise ValueError(
                "The job writes `network.keras` and would replace the network "
                "that it reads: pass another --output. "
                f"Received: --output={args.output} and {read}"
            )
    if path.is_dir():
        raise ValueError(
            f"Expected no folder {path}, since the job writes a file of that "
            f"name: pass another --output. Received: --output={args.output}"
        )
    writer = _writer(args)
    if path.exists() and writer != args.command:
        of = f"the command `{writer}`" if writer else "no command"
        raise ValueError(
            f"`{args.command}` would replace {path}, which {of} wrote: pass "
            f"another --output. Received: --output={args.output}"
        )
    if args.command in ("distill", "prune"):
        check_replaceable(args.output / "saved_model")


def save_output(args, network) -> str:
    """Saves the network of a job, whole or not at all; returns its path."""
    content = json.dumps({"command": args.command})
    write_content(_writer_path(args), content)
    save_network(_network_path(args), network)
    return str(_network_path(args))


def _network_path(args):
    return args.output / "network.keras"


def _writer_path(args):
    return args.output / "network.json"


def _writer(args):
    """Returns the name of the command that wrote the network, or None."""
    path = _writer_path(args)
    if not path.exists():
        return None
    return read_json(
        path, lambda held: held["command"], "pass another --output"
    )
