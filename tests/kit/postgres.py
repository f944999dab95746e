"""Starts a real PostgreSQL for tests, without fsync. Tests can stop, freeze and kill it."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from kit.needs import lacking
from kit.stores import free_port

_OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "autovacuum": "off",
}


def _programs() -> Path | None:
    """The directory with the programs of the newest version."""
    found = [*glob.glob("/usr/lib/postgresql/*/bin/initdb"), shutil.which("initdb") or ""]
    return max((Path(path).parent for path in found if path), default=None)


def _signal(processes: list[int], number: int) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):  # one that served a connection has ended meanwhile
            os.kill(pid, number)


class PostgresServer:
    """A server with an empty cluster in a temporary directory, on a free port. Root runs it as ``postgres``.

    :param options: settings of the server, above those that make it quick.
    """

    def __init__(self, address: str = "127.0.0.1", **options: str) -> None:
        programs = _programs()
        if programs is None:
            lacking("postgresql is not installed")
        self._programs, self.port, self.address = programs, free_port(), address
        self._options = {**_OPTIONS, "listen_addresses": address, **options}
        self.url = self.url_of("postgres")
        self._folder = tempfile.mkdtemp(prefix="fgw-pg-", dir="/tmp")
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            entry = pwd.getpwnam("postgres")
            os.chown(self._folder, entry.pw_uid, entry.pw_gid)
            self._user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        self._run("initdb", "--no-sync", "-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8")
        Path(self._folder, "pg_hba.conf").write_text("host all all 0.0.0.0/0 trust\n")
        self.start()

    def url_of(self, database: str) -> str:
        return f"postgresql://postgres@{self.address}:{self.port}/{database}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", self._folder, *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=self._folder, **self._user)

    def start(self) -> None:
        settings = [part for name, value in self._options.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", self._folder, "-p", str(self.port), *settings]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._folder, **self._user
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "PostgreSQL did not start"
                time.sleep(0.05)

    def rows(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement by hand, and return its rows."""
        with psycopg.connect(self.url_of(database), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def database(self, name: str) -> str:
        """Make an empty database, and return its URL."""
        self.rows(f"CREATE DATABASE {name}")
        return self.url_of(name)

    def with_tls(self, certificate: Path) -> Path:
        """Serve TLS, too, with this file of a key and a certificate. Return the copy to be trusted."""
        copy = Path(self._folder, "server.pem")
        copy.write_bytes(certificate.read_bytes())
        copy.chmod(0o600)
        if self._user:
            os.chown(copy, self._user["user"], self._user["group"])
        for name in ("ssl_cert_file", "ssl_key_file"):
            self.rows(f"ALTER SYSTEM SET {name} = '{copy}'")
        self.rows("ALTER SYSTEM SET ssl = on")
        self.rows("SELECT pg_reload_conf()")
        time.sleep(0.3)
        return certificate

    def _family(self) -> list[int]:
        """The server and the processes that it has started."""
        path = f"/proc/{self._process.pid}/task/{self._process.pid}/children"
        return [self._process.pid, *map(int, Path(path).read_text().split())]

    def freeze(self) -> None:
        _signal(self._family(), signal.SIGSTOP)

    def thaw(self) -> None:
        _signal(self._family()[::-1], signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a power failure does. The data stay."""
        if self._process.poll() is None:
            _signal(self._family(), signal.SIGKILL)
            self._process.wait()
        Path(self._folder, "postmaster.pid").unlink(missing_ok=True)

    def __enter__(self) -> PostgresServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
