"""The folder of a benchmark, which belongs to the settings of its flags."""

import json
import pathlib
import sys

from absl import app
from absl import flags

from tf_deepinversion.core.files import write_content


def claim(folder, *free) -> pathlib.Path:
    """Makes a folder for the flags of this script, or finds it again.

    Figures of other settings must not be taken for those of these.

    Args:
        folder: String or path.
        *free: Names of flags that may differ from call to call, besides
            --output: what to do, not how.

    Returns:
        The path.

    Raises:
        absl.app.UsageError: if the folder holds a run with other settings.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    settings = {x.name: x.value for x in own if x.name not in ("output", *free)}
    path = folder / "settings.json"
    held = dict(settings)
    if path.exists():
        # A flag that is younger than the folder had its default.
        held = {x.name: x.default for x in own if x.name in settings}
        held |= json.loads(path.read_text())
    if held != settings:
        differing = [
            f"--{name}={held.get(name)}"
            for name in sorted({*held, *settings})
            if held.get(name) != settings.get(name)
        ]
        raise app.UsageError(
            f"{folder} holds a run with {', '.join(differing)}: repeat these "
            "flags to go on with it, or pass another --output."
        )
    write_content(path, json.dumps(settings))
    return folder
