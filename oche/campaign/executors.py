"""From options to where a campaign is computed."""

from __future__ import annotations

import os
from collections.abc import Callable

from oche.campaign.local import LocalProcesses
from oche.campaign.run import Executor
from oche.campaign.task import Cell
from oche.config.options import CampaignOptions


def worker_count(options: CampaignOptions) -> int:
    """Cells at a time: as asked, or as many as the cores have room for."""
    return options.workers or max((os.cpu_count() or 1) // options.threads, 1)


def make_executor(options: CampaignOptions, report: Callable[[Cell, float, str], None]) -> Executor:
    """Local processes, or a Ray cluster.

    Raises:
        InputError: Ray is asked for and not installed.
    """
    if options.executor == "ray":
        from oche.campaign.ray_cluster import RayCluster

        return RayCluster(worker_count(options), options.threads)
    return LocalProcesses(worker_count(options), options.threads, report)
