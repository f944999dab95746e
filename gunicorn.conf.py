"""The server's settings: ``gunicorn -c gunicorn.conf.py wsgi:app``.

The master runs this file, and what a master has imported its workers inherit, old code after a reload
included. So it imports nothing of the gateway but the worker class, which gunicorn itself imports here;
checking the settings is left to a process of its own.
"""

import contextlib
import fcntl
import glob
import itertools
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile


def _number(name: str, otherwise: int) -> int:
    """A setting that is a number. What is none is refused below, in one line, before anything starts."""
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() and int(value) else otherwise


def _handed_over() -> list[str]:
    """The addresses of the sockets that systemd has opened for us: sd_listen_fds(3). gunicorn takes them
    instead of ``bind``."""
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


# After a reload this file runs again: let the worker class, too, be the new one.
for _name in [name for name in sys.modules if name.partition(".")[0] == "flask_gateway"]:
    del sys.modules[_name]

# What the server itself logs waits for no reader either. gunicorn's logger is made after this.
# And the master itself is ours: see server/master.py.
from flask_gateway.server import master  # noqa: E402
from flask_gateway.telemetry import log_output  # noqa: E402

log_output.install()

bind = os.environ.get("GATEWAY_BIND", "127.0.0.1:8000").split(",")

# The cores that we may use.
_cores = (
    sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [*range(os.cpu_count() or 1)]
)
# One interpreter lock each, so one worker a core.
workers = _number("GATEWAY_WORKERS", _number("WEB_CONCURRENCY", len(_cores)))
# A call holds a thread until its answer is over.
worker_class = "flask_gateway.server.gunicorn_worker.GatewayWorker"
threads = _number("GATEWAY_THREADS", 64)
# Not more than there are threads for: what a worker has accepted it must serve, while a neighbour
# with idle threads would have taken it from the kernel's queue.
worker_connections = threads
backlog = 2048

# The accepting thread's heartbeat, not a limit on requests.
timeout = 30
# How long what is under way may go on after a stop: the longest answer that outlives a restart.
graceful_timeout = _number("GATEWAY_GRACEFUL_SECONDS", 30)
# A connection is a request: one that lies idle here would keep its place from another caller.
keepalive = 0

# Sockets, locks and threads are made in the process that uses them.
preload_app = False
# A recycled worker takes its streams with it.
max_requests = 0
# Each worker would own a queue, and take what waits in it along when it goes.
reuse_port = False

# The C parser accepts what the Python one refuses.
http_parser = "python"
http_protocols = "h1"
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
# Nothing about a request is believed because a header of it says so.
forwarder_headers = ""
forwarded_allow_ips = ""
secure_scheme_headers = {}

umask = 0o077
# It can stop and rescale the server, and only a file mode guards it.
control_socket_disable = True
sendfile = False
# Where the workers' figures lie; and their heartbeats, where there are no files in memory.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
# The gateway writes its own line per request.
accesslog = None
errorlog = "-"
loglevel = os.environ.get("GATEWAY_SERVER_LOG_LEVEL", "info")


# What the figures of one worker take at first, bytes: see observers/metric_files.py.
METRICS_ROOM = 3 << 16

#: What gunicorn's command line and ``GUNICORN_CMD_ARGS`` may ask for and the gateway does not do, by the
#: name and the value of the setting, and why.
_NOT_OFFERED = {
    "preload_app": (False, "--preload", "each worker opens its own sockets, locks and threads"),
    "max_requests": (0, "--max-requests", "a worker that is recycled takes its streams with it"),
    "accesslog": (
        None,
        "--access-logfile",
        "the gateway writes a line of its own per request, on standard error",
    ),
    "statsd_host": (None, "--statsd-host", "the figures are at GET /metrics"),
}


def nworkers_changed(server, new, old):
    """Called first when all settings are known and nothing is loaded yet: refuse what would be ignored."""
    for name, (value, option, why) in _NOT_OFFERED.items():
        if old is None and getattr(server.cfg, name) != value:
            print(f"flask-gateway: {option} is not offered: {why}. Leave it out.", file=sys.stderr)
            sys.exit(78)  # EX_CONFIG of sysexits.h


def on_reload(server):
    server.__class__ = master.Master  # the new code's
    log_output.STDERR.reopen()  # gunicorn may have put a file in its place


def on_starting(server):
    """Refuse to start on settings that are wrong, with the one line that says which and why."""
    server.__class__ = master.Master
    log_output.STDERR.reopen()
    command = [sys.executable, "-m", "flask_gateway", "check", "--quiet"]
    command += ["--workers", str(server.cfg.workers), "--bind", *(_handed_over() or server.cfg.bind)]
    refused = subprocess.run(command, check=False).returncode
    if refused:
        sys.exit(refused)
    _allow_open_files()
    # A file in memory for what the workers share: limits, breakers, leases. It is the master's, so it
    # outlives every worker and every reload; what it looks like inside is the workers' affair.
    server.state_file = _memory_file(server, "flask-gateway")
    # And one for the settings in force, should a worker to come find a file that it cannot begin with. The
    # upstreams' keys are in it; without a file there is nothing that could change, and so no need for it.
    from_file = bool(os.environ.get("GATEWAY_CONFIG"))
    server.settings_file = _memory_file(server, "flask-gateway-settings") if from_file else None
    server.metrics_dir = _metrics_dir(server)


def _allow_open_files():
    """Raise the limit of open files as far as it may be: a stream takes three, and a shell gives 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 20 if most == resource.RLIM_INFINITY else most
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _memory_file(server, name):
    """A file in memory. It is not in /dev/shm, so it has room when /dev/shm is full."""
    try:
        return os.memfd_create(name)
    except (AttributeError, OSError) as error:
        server.log.warning("flask-gateway: no file in memory for the workers to share: %s (%s)", name, error)
        return None


def _metrics_dir(server):
    """A directory for the figures that the workers keep: in memory if there is room, else on disk.

    ``None`` if none can be made. Calls are served without it.
    """
    least = 2 * server.cfg.workers * METRICS_ROOM
    for parent in filter(None, (worker_tmp_dir, os.environ.get("TMPDIR", "/tmp"))):
        try:
            _remove_left(parent)
            if shutil.disk_usage(parent).free >= least:
                return _made_metrics_dir(parent, server.cfg)
            error = "no room"
        except OSError as caught:
            error = caught
        server.log.warning("flask-gateway: no figures in %s: %s", parent, error)
    return None


def _remove_left(parent):
    """Remove what servers that were killed have left. A directory is locked while its server lives."""
    for left in glob.glob(f"{parent}/flask-gateway-metrics-*"):
        if (held := _lock(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(held)


def _made_metrics_dir(parent, cfg):
    """A directory of ours alone: two servers that shared one would add up each other's figures."""
    made = tempfile.mkdtemp(prefix="flask-gateway-new-", dir=parent)
    _lock(made)
    if cfg.uid != os.geteuid() or cfg.gid != os.getegid():
        os.chown(made, cfg.uid, cfg.gid)  # of the workers, if the master is root and they are not
    # Only what is locked has the name by which the next server finds it.
    os.rename(made, named := made.replace("-new-", "-metrics-"))
    return named


def _lock(directory):
    """Hold a directory; ``None`` when another does, or it is not ours. The kernel lets it go."""
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


def pre_fork(server, worker):
    """Name the new worker's figures after the lowest number that no living worker has. It goes on with the
    files of the dead one before it, so that they stay few however many workers come and go."""
    taken = {getattr(other, "slot", None) for other in server.WORKERS.values()}
    worker.slot = next(slot for slot in itertools.count() if slot not in taken)
    worker.core = _core_for(server)
    worker.born = worker.tmp.last_update()  # a heartbeat will change it
    _forget(server, worker)


def _core_for(server):
    """The core that the next worker is to stay on; ``None``: it may go where it likes.

    The threads of a worker run one at a time, for there is one interpreter lock; so to spread them over cores
    gains nothing, and all that one of them has in its caches the next one lacks. Where there is a worker for
    each core, each stays on its own. Those that a reload is about to end are the oldest, and do not count.
    """
    if os.environ.get("GATEWAY_PIN_WORKERS", "auto") != "auto" or not hasattr(os, "sched_setaffinity"):
        return None
    if server.cfg.workers != len(_cores):
        return None
    youngest = sorted(server.WORKERS.values(), key=lambda other: other.age)[1 - len(_cores) :]
    taken = {getattr(other, "core", None) for other in youngest} if len(_cores) > 1 else set()
    return next((core for core in _cores if core not in taken), None)


def child_exit(server, worker):
    _forget(server, worker)


def _forget(server, worker):
    """What a dead worker last said of itself is not true any more. What it has counted stays."""
    for name in glob.glob(f"{server.metrics_dir}/gauge_live*_{getattr(worker, 'slot', None)}.db"):
        with contextlib.suppress(OSError):
            os.unlink(name)


def on_exit(server):
    if server.metrics_dir is not None:
        shutil.rmtree(server.metrics_dir, ignore_errors=True)


def post_fork(server, worker):
    """In the new worker, which alone imports the gateway."""
    master.take_signals(server)
    if worker.core is not None:
        for thread in os.listdir("/proc/self/task"):  # there may be one that writes the log
            with contextlib.suppress(OSError):  # it is but a matter of speed
                os.sched_setaffinity(int(thread), {worker.core})
    from flask_gateway.server.log_filters import redact_request

    worker.log.error_log.addFilter(redact_request)
    if server.state_file is not None:
        from flask_gateway.state import shared_memory

        shared_memory.attach(server.state_file, server.cfg.workers)
    if server.settings_file is not None:
        from flask_gateway.config import last_good

        last_good.attach(server.settings_file, server.cfg.bind, server.cfg.workers)
    from flask_gateway.telemetry import metric_families

    metric_families.attach(server.metrics_dir, worker.slot)
