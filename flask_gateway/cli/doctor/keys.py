"""Checks the issued keys: the database, keys that expire soon, and teams that are set nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ...config.schema import Settings
from .finding import Diagnosis, fail, ok, warn

#: A key that expires within this time is named, seconds.
SOON = 14 * 86_400


def check_all(settings: Settings, now: float) -> Iterator[Diagnosis]:
    """:param now: epoch seconds."""
    if settings.ledger.data is None:
        return
    from ...auth import key_tables as tables
    from ...auth.key_store import KeyStore, KeyStoreError

    keys = KeyStore(Path(settings.ledger.data))
    if not keys.exists():
        return
    try:
        with keys.reading() as db:
            soon = tables.expiring(db, int(now), int(now) + SOON)
            counts, teams = tables.teams_of_keys(db), tables.teams(db)
    except KeyStoreError as error:
        yield fail(f"keys: {error}", "known keys go on; mend the disk, or restore a backup")
        return
    lost = {team: count for team, count in counts.items() if team not in teams and team not in settings.teams}
    for team, count in list(lost.items())[:20]:
        remedy = f"set [teams.{team}] again, or give the keys another team"
        yield fail(f"keys: {count} keys of the team '{team}' are refused, as it is set nowhere", remedy)
    for name, ends in soon:
        at = datetime.fromtimestamp(ends, UTC)
        yield warn(
            f"keys: {name} expires {at:%Y-%m-%d %H:%M}Z", f"flask-gateway keys edit {name} --expires 90d"
        )
    if not soon and not lost:
        yield ok(f"keys: {keys.path} can be read; no key expires within 14 days")
