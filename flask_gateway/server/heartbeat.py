"""Keeps the worker's heartbeat in a memfd.

gunicorn's master makes a file in ``worker_tmp_dir`` for each worker. If ``/dev/shm`` has no free inode, that
raises and ends the master. A memfd needs no space in any directory.
"""

from __future__ import annotations

import os
from typing import Any

from gunicorn.workers.workertmp import WorkerTmp


class Heartbeat(WorkerTmp):  # type: ignore[misc]
    """Replaces gunicorn's ``WorkerTmp``."""

    def __init__(self, cfg: Any) -> None:
        try:
            descriptor = os.memfd_create("flask-gateway-heartbeat")
        except (AttributeError, OSError):
            super().__init__(cfg)
            return
        if cfg.uid != os.geteuid() or cfg.gid != os.getegid():
            os.fchown(descriptor, cfg.uid, cfg.gid)  # the worker sets its time
        self._tmp = os.fdopen(descriptor, "w+b", 0)
