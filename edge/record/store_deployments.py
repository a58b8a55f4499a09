"""Deployments in the database: what the table says of them; SQL only."""

from __future__ import annotations

from collections.abc import Iterable

from edge.record.store import Store, now
from edge.watch.deployments import Deployment


def put_deployments(store: Store, deployments: Iterable[Deployment]) -> None:
    """Adds them, or writes over what an earlier table said. Call it in a transaction."""
    store.execute_many(
        "INSERT INTO deployment (deployment_id, created_at, location_id, location_name, latitude, "
        "longitude, deployment_start, deployment_end) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET location_id = excluded.location_id, "
        "location_name = excluded.location_name, latitude = excluded.latitude, "
        "longitude = excluded.longitude, deployment_start = excluded.deployment_start, "
        "deployment_end = excluded.deployment_end",
        (
            (
                one.deployment_id,
                now(),
                one.location_id,
                one.location_name,
                one.latitude,
                one.longitude,
                None if one.start is None else one.start.isoformat(),
                None if one.end is None else one.end.isoformat(),
            )
            for one in deployments
        ),
    )
