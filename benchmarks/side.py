"""A process that a benchmark times in turns with other processes."""

import json
import os
import statistics
import subprocess
import sys


class Side:
    """A process that measures on request, with lines of JSON as answers.

    Args:
        name: String.
        command: List of strings.
        steps: Int, number of steps of a request.
    """

    def __init__(self, name, command, steps):
        self.name, self.steps, self.answers = name, steps, []
        print(f"Starting {name}", file=sys.stderr)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        self.first = self._read()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended early; see its error above.")
        return json.loads(line)

    def measure(self):
        self.process.stdin.write(f"{self.steps}\n")
        self.process.stdin.flush()
        self.answers.append(self._read())

    @property
    def milliseconds(self):
        """The median step."""
        seconds = [a["seconds"] / self.steps for a in self.answers]
        return 1e3 * statistics.median(seconds)

    @property
    def megabytes(self):
        return self.answers[-1]["peak_bytes"] / 1e6

    def close(self):
        self.process.stdin.close()
        self.process.wait()
