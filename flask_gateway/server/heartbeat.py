"""The worker's heartbeat file, in memory of its own.

gunicorn makes a file in ``worker_tmp_dir`` for each worker, in the master. A full ``/dev/shm`` without a free
inode raises there and ends the master. A memfd needs no room in any directory.
"""

from __future__ import annotations

import os
from typing import Any

from gunicorn.workers.workertmp import WorkerTmp


class Heartbeat(WorkerTmp):  # type: ignore[misc]
    """To be put in the place of gunicorn's ``WorkerTmp``."""

    def __init__(self, cfg: Any) -> None:
        try:
            descriptor = os.memfd_create("flask-gateway-heartbeat")
        except (AttributeError, OSError):
            super().__init__(cfg)
            return
        if cfg.uid != os.geteuid() or cfg.gid != os.getegid():
            os.fchown(descriptor, cfg.uid, cfg.gid)  # of the worker, who sets its time
        self._tmp = os.fdopen(descriptor, "w+b", 0)
