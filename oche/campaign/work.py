"""How a process does a task: its errors become values, because a traceback in another process helps nobody."""

from __future__ import annotations

import time
import traceback

from oche.campaign.task import Done, Failed, Outcome, Stopped, Task, Workplace
from oche.errors import InputError
from oche.interrupt import Interrupted


def work(task: Task, workplace: Workplace) -> Outcome:
    """Do a task and say what became of it."""
    began, busy = time.monotonic(), time.process_time()
    try:
        value = task.run(workplace)
    except Interrupted:
        return Stopped(task.cell)
    except InputError as error:
        return Failed(task.cell, str(error))
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Failed(task.cell, reason, traceback.format_exc())
    return Done(task.cell, value, time.monotonic() - began, time.process_time() - busy)
