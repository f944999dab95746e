"""gunicorn's settings and hooks. ``deploy/gunicorn.conf.py`` takes every public name of this module.

The master imports this module, at a reload once more. Workers inherit everything the master has imported, and
after a reload that is old code. So this module imports only the worker class, the master, the log writer and
the defaults of the gateway. A forked process checks the settings.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import itertools
import os
import resource
import runpy
import shutil
import socket
import sys
import tempfile
import traceback
from typing import Any

from ..config import server_defaults
from ..telemetry import log_output
from . import master

#: The exit code of a check that failed itself (sysexits.h).
_EX_SOFTWARE = 70


def _number(name: str, default: int) -> int:
    """Read a number from the environment. ``on_starting`` refuses any other value with one line."""
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() and int(value) else default


def _systemd_addresses() -> list[str]:
    """The addresses of the sockets that systemd passes to us (sd_listen_fds(3)). gunicorn uses them instead
    of ``bind``."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    addresses = []
    for number in range(3, 3 + int(os.environ["LISTEN_FDS"])):
        with socket.socket(fileno=os.dup(number)) as listener:
            name = listener.getsockname()
        if isinstance(name, tuple):
            host = f"[{name[0]}]" if ":" in name[0] else name[0]
            addresses.append(f"{host}:{name[1]}")
        else:
            addresses.append(f"unix:{os.fsdecode(name)}")
    return addresses


# gunicorn creates its logger after this, so its lines do not block either.
log_output.install()

bind = os.environ.get("GATEWAY_BIND", server_defaults.BIND).split(",")

# The cores that this process may use.
_cores = (
    sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [*range(os.cpu_count() or 1)]
)
# Each worker has one GIL, so one worker per core.
workers = _number("GATEWAY_WORKERS", _number("WEB_CONCURRENCY", len(_cores)))
# A call holds a thread until its answer ends, or until the relay takes its stream over.
worker_class = "flask_gateway.server.gunicorn_worker.GatewayWorker"
threads = _number("GATEWAY_THREADS", server_defaults.THREADS)
# No more connections than threads. A worker must serve what it has accepted, while another worker with idle
# threads could have accepted it from the kernel's queue.
worker_connections = threads
backlog = 2048

# The timeout of the main thread's heartbeat. It does not limit requests.
timeout = 30
# How long calls in flight may go on after a stop: the longest answer that survives a restart.
graceful_timeout = _number("GATEWAY_GRACEFUL_SECONDS", server_defaults.GRACEFUL_SECONDS)
# How long a caller's connection is kept for its next request, seconds. It holds no thread. Proxies and
# clients close after 120 s or less, and a request is lost only if the server closes first.
keepalive = 130

# Each process makes its own sockets, locks and threads.
preload_app = False
# A recycled worker would break its streams.
max_requests = 0
# With SO_REUSEPORT each worker has its own queue, and loses the connections in it when it ends.
reuse_port = False

# The C parser accepts what the Python one refuses.
http_parser = "python"
http_protocols = "h1"
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
# No request header changes what gunicorn believes about the connection.
forwarder_headers = ""
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}

umask = 0o077
# The control socket can stop and rescale the server, and only a file mode protects it.
control_socket_disable = True
sendfile = False
# The directory of the metric files, and of the heartbeats if there are no memfds.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
# The gateway writes its own line for each request.
accesslog = None
errorlog = "-"
loglevel = os.environ.get("GATEWAY_SERVER_LOG_LEVEL", server_defaults.LOG_LEVEL)


# The initial size of one worker's metric files, bytes (telemetry/metric_files.py).
METRICS_SIZE = 3 << 16

#: Options of gunicorn's command line and ``GUNICORN_CMD_ARGS`` that the gateway refuses: by setting, the only
#: accepted value, the option and the reason.
_NOT_OFFERED = {
    "preload_app": (False, "--preload", "each worker opens its own sockets, locks and threads"),
    "max_requests": (0, "--max-requests", "a recycled worker would break its streams"),
    "accesslog": (
        None,
        "--access-logfile",
        "the gateway writes its own line for each request to standard error",
    ),
    "statsd_host": (None, "--statsd-host", "GET /metrics has the metrics"),
}


def nworkers_changed(server: Any, new: int, old: int | None) -> None:
    """Refuse options that would be ignored. gunicorn calls this first, before it loads the application."""
    for name, (value, option, why) in _NOT_OFFERED.items():
        if old is None and getattr(server.cfg, name) != value:
            print(f"flask-gateway: {option} is not offered: {why}. Leave it out.", file=sys.stderr)
            sys.exit(78)  # EX_CONFIG of sysexits.h


def on_reload(server: Any) -> None:
    server.__class__ = master.Master  # the class of the new code
    log_output.STDERR.reopen()  # gunicorn may have redirected it to a file


def on_starting(server: Any) -> None:
    """Check the settings, and refuse to start with one line for each mistake."""
    server.__class__ = master.Master
    log_output.STDERR.reopen()
    # An empty --config: only GATEWAY_CONFIG names a file, as for the workers.
    binds = _systemd_addresses() or server.cfg.bind
    refused = _check(["--quiet", "--config=", "--workers", str(server.cfg.workers), "--bind", *binds])
    if refused:
        sys.exit(refused)
    _allow_open_files()
    # The memory file of the state that workers share: limits, breakers, leases. The master owns it, so it
    # survives every worker and every reload. The workers define its layout.
    server.state_file = _memory_file(server, "flask-gateway")
    # The memory file of the last known good settings, for new workers that find an invalid settings file. It
    # has the upstreams' keys. Without a settings file nothing can change, so none is made.
    from_file = bool(os.environ.get("GATEWAY_CONFIG"))
    server.settings_file = _memory_file(server, "flask-gateway-settings") if from_file else None
    # The memory file of the operator's page: the last requests and counts. It takes memory as it is written.
    server.page_file = _memory_file(server, "flask-gateway-page")
    server.metrics_dir = _metrics_dir(server)


def _check(arguments: list[str]) -> int:
    """Run ``python -m flask_gateway check`` in a forked process, and return its exit code. A new interpreter
    would take a tenth of a second more."""
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return status if status >= 0 else _EX_SOFTWARE  # below 0: a signal has killed it
    status = _EX_SOFTWARE
    try:
        sys.argv[1:] = ["check", *arguments]
        runpy.run_module(__name__.partition(".")[0], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else status
    except BaseException:  # noqa: BLE001  # the child must not go on as the master
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _allow_open_files() -> None:
    """Raise the limit of open files to the maximum. A stream takes three, and a shell allows only 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 20 if most == resource.RLIM_INFINITY else most
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _memory_file(server: Any, name: str) -> int | None:
    """Make a file in memory. It is not in /dev/shm, so it works when /dev/shm is full."""
    try:
        return os.memfd_create(name)
    except (AttributeError, OSError) as error:
        server.log.warning("flask-gateway: no file in memory for the workers to share: %s (%s)", name, error)
        return None


def _metrics_dir(server: Any) -> str | None:
    """Make the directory of the metric files: in memory if there is space, else on disk.

    ``None`` if both fail. Calls are served without it.
    """
    least = 2 * server.cfg.workers * METRICS_SIZE
    for parent in filter(None, (worker_tmp_dir, os.environ.get("TMPDIR", "/tmp"))):
        try:
            _remove_stale(parent)
            if shutil.disk_usage(parent).free >= least:
                return _make_metrics_dir(parent, server.cfg)
            error = "no space"
        except OSError as caught:
            error = str(caught)
        server.log.warning("flask-gateway: no metric files in %s: %s", parent, error)
    return None


def _remove_stale(parent: str) -> None:
    """Remove directories of killed servers. A living server holds a lock on its directory."""
    for left in glob.glob(f"{parent}/flask-gateway-metrics-*"):
        if (held := _lock(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(held)


def _make_metrics_dir(parent: str, cfg: Any) -> str:
    """Make a directory for this server alone: two servers in one would add up each other's figures."""
    made = tempfile.mkdtemp(prefix="flask-gateway-new-", dir=parent)
    _lock(made)
    if cfg.uid != os.geteuid() or cfg.gid != os.getegid():
        os.chown(made, cfg.uid, cfg.gid)  # the workers write it, and may have another user than the master
    # The next server looks for the final name, so rename only after the directory is locked.
    os.rename(made, named := made.replace("-new-", "-metrics-"))
    return named


def _lock(directory: str) -> int | None:
    """Lock a directory until this process ends; ``None`` if another process holds it or it is not ours."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def pre_fork(server: Any, worker: Any) -> None:
    """Give the new worker the lowest slot that no living worker has, and a core.

    It continues the metric files of the dead worker with that slot, so the number of files stays bounded.
    """
    taken = {getattr(other, "slot", None) for other in server.WORKERS.values()}
    worker.slot = next(slot for slot in itertools.count() if slot not in taken)
    worker.core = _core_for(server)
    worker.born = worker.tmp.last_update()  # the first heartbeat changes it
    _remove_gauges(server, worker)


def _core_for(server: Any) -> int | None:
    """Choose the core to which the next worker is pinned; ``None`` for no pinning.

    The GIL lets one thread of a worker run at a time. Spreading them over cores gains nothing and loses warm
    caches. With one worker per core each gets its own core. The oldest workers, which a reload is about to
    end, do not count.
    """
    pin = os.environ.get("GATEWAY_PIN_WORKERS", server_defaults.PIN_WORKERS)
    if pin != "auto" or not hasattr(os, "sched_setaffinity"):
        return None
    if server.cfg.workers != len(_cores):
        return None
    youngest = sorted(server.WORKERS.values(), key=lambda other: other.age)[1 - len(_cores) :]
    taken = {getattr(other, "core", None) for other in youngest} if len(_cores) > 1 else set()
    return next((core for core in _cores if core not in taken), None)


def child_exit(server: Any, worker: Any) -> None:
    _remove_gauges(server, worker)


def _remove_gauges(server: Any, worker: Any) -> None:
    """Remove the gauges and the process id of a dead worker. Its counters stay."""
    folder, slot = server.metrics_dir, getattr(worker, "slot", None)
    for name in [*glob.glob(f"{folder}/gauge_live*_{slot}.db"), f"{folder}/worker_{slot}.pid"]:
        with contextlib.suppress(OSError):
            os.unlink(name)


def on_exit(server: Any) -> None:
    if server.metrics_dir is not None:
        shutil.rmtree(server.metrics_dir, ignore_errors=True)


def post_fork(server: Any, worker: Any) -> None:
    """Prepare the new worker. Only workers import the rest of the gateway."""
    master.take_signals(server)
    if worker.core is not None:
        for thread in os.listdir("/proc/self/task"):  # the log may have a writer thread
            with contextlib.suppress(OSError):  # pinning only affects speed
                os.sched_setaffinity(int(thread), {worker.core})
    from .log_filters import redact_request

    worker.log.error_log.addFilter(redact_request)
    if server.state_file is not None:
        from ..state import shared_memory

        shared_memory.attach(server.state_file, server.cfg.workers)
    if server.settings_file is not None:
        from ..config import last_good

        last_good.attach(server.settings_file, server.cfg.bind, server.cfg.workers)
    from ..telemetry import metric_families, page_memory

    page_memory.attach(getattr(server, "page_file", None), worker.slot)
    metric_families.attach(server.metrics_dir, worker.slot)
