"""Tasks on a Ray cluster: `pip install 'oche[ray]'`.

Each task is one remote function with as many CPUs (and GPUs) as it is given. Files named by a task, such as its data
and its checkpoints, must lie on storage that all machines of the cluster share.
"""

from __future__ import annotations

import os
from typing import Any

from oche.campaign.task import Failed, Outcome, Task, Workplace
from oche.errors import InputError

GLANCE = 0.5
"""Seconds after which a waiting caller looks up, so that Ctrl-C is noticed soon."""


class RayCluster:
    """The cluster that `RAY_ADDRESS` names, or one that is started here.

    Args:
        workers: tasks at a time.
        threads: CPU threads of each, which is also how many CPUs Ray reserves for it.
        gpus: GPUs of each, such as 0.25 for four tasks on one.

    Raises:
        InputError: Ray is not installed.
    """

    def __init__(self, workers: int, threads: int, gpus: float = 0.0) -> None:
        try:
            import ray
        except ImportError:
            raise InputError(
                "--executor ray needs Ray, which is not installed; pip install 'oche[ray]', or use --executor local"
            ) from None
        self._ray: Any = ray
        self._own = not ray.is_initialized()
        if self._own:
            # One that is started here has as many CPUs as are asked for: a task that needs more would wait for ever.
            size: dict[str, Any] = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": workers * threads}
            ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False, **size)
        self._function = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(_work_on_cluster)
        self._threads, self._places = threads, workers
        self._busy: dict[Any, Task] = {}

    @property
    def free(self) -> int:
        """How many more tasks can be started."""
        return self._places - len(self._busy)

    @property
    def running(self) -> int:
        """How many tasks are being done."""
        return len(self._busy)

    def start(self, task: Task) -> None:
        """Send a task to the cluster."""
        self._busy[self._function.remote(task, self._threads)] = task

    def outcomes(self) -> list[Outcome]:
        """What has become of tasks since the last call; waits a moment where nothing has."""
        ready, _ = self._ray.wait(list(self._busy), timeout=GLANCE)
        found: list[Outcome] = []
        for reference in ready:
            task = self._busy.pop(reference)
            try:
                found.append(self._ray.get(reference))
            except self._ray.exceptions.RayError as error:
                found.append(Failed(task.cell, f"Ray lost it: {' '.join(str(error).split())}"))
        return found

    def stop(self) -> None:
        """End all tasks: Ray has no way to ask them; their last checkpoints are there."""
        for reference in self._busy:
            self._ray.cancel(reference, force=True)
        self._busy = {}

    def close(self) -> None:
        """Let go of the cluster; one that was started here ends."""
        self.stop()
        if self._own:
            self._ray.shutdown()


class _Never:
    """Nobody asks a task on the cluster to stop."""

    received = None


def _work_on_cluster(task: Task, threads: int) -> Outcome:
    import torch

    from oche.campaign.work import work

    torch.set_num_threads(threads)
    return work(task, Workplace(stop=_Never(), report=lambda share, text: None))
