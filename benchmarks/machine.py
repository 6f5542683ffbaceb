"""Describes the machine that runs a benchmark."""

import contextlib
import os
import pathlib
import platform
import resource
import sys


def machine(**more) -> dict:
    """Returns processor, cores, Python version and further entries."""
    cpu = platform.processor()
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **more,
    }


def peak_bytes() -> int:
    """Returns the peak memory of this process."""
    with contextlib.suppress(OSError):
        # Linux: `getrusage` counts what the process was forked from, too.
        status = pathlib.Path("/proc/self/status").read_text()
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)
