"""What cameras see when nothing is there, in the database."""

from __future__ import annotations

from collections.abc import Mapping

from edge.detection.motion import View
from edge.detection.motion_background import Background
from edge.record.store import Store


def load_backgrounds(store: Store) -> dict[View, Background]:
    """Raises StateError where one cannot be read."""
    rows = store.execute("SELECT deployment_id, light, state FROM motion_background")
    return {
        View(deployment_id=str(deployment_id), light=str(light)): Background.from_bytes(state)
        for deployment_id, light, state in rows
    }


def save_backgrounds(store: Store, changed: Mapping[View, Background]) -> None:
    """Belongs in the transaction of the batch that was learned from."""
    for view, background in changed.items():
        store.execute(
            "INSERT INTO motion_background (deployment_id, light, state, updated_seq) "
            "VALUES (?, ?, ?, 1) ON CONFLICT (deployment_id, light) DO UPDATE "
            "SET state = excluded.state, updated_seq = updated_seq + 1",
            (view.deployment_id, view.light, background.to_bytes()),
        )
