"""The gallery's log in the database, and the tables that replaying it gives.

Whoever changes the gallery goes through `editing`: the entries and the tables change in one
transaction, or neither. Which changes there are is in edge/gallery (gallery_log.py, curate.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import apsw

from edge.errors import GalleryError, StateError
from edge.gallery import gallery_log
from edge.gallery.gallery_rules import apply
from edge.gallery.gallery_state import Entry, Exemplar, GalleryState, Individual, Said
from edge.record.state import StateFolder, locked
from edge.record.store import (
    SCHEMA_VERSION,
    Row,
    Store,
    Value,
    get_meta,
    new_id,
    now,
    open_reader,
    open_store,
)

_INDIVIDUAL = (
    "individual_id, name, own_name, provisional, status, merged_into, current_id, created_at"
)
_EXEMPLAR = (
    "exemplar_id, individual_id, sha256, display, x, y, width, height, flank, encounter, "
    "captured_at, crop, observation_id, created_at"
)
_PATIENCE_MS = 15_000  # edge-watch holds the database for a batch at most
_SAID = "observation_id, verdict, individual_id, who, said_at"


class Editor:
    """The gallery while it is changed. `editing` is the way to get one."""

    def __init__(self, store: Store, who: str) -> None:
        self.store = store
        self.who = who
        self.entries = entries(store)
        self.state = gallery_log.replay(self.entries)

    def record(
        self, action: str, individual_id: str | None, details: Mapping[str, object]
    ) -> Entry:
        """Carries the change out and adds it to the log; raises GalleryError, nothing changed."""
        text = json.dumps(details, sort_keys=True)
        entry = Entry(
            seq=self.entries[-1].seq + 1 if self.entries else 1,
            entry_id=new_id(),
            action=action,
            individual_id=individual_id,
            details=json.loads(text),
            who=self.who,
            logged_at=now(),
        )
        if action == "undo":
            self.state = gallery_log.replay([*self.entries, entry])
        else:
            apply(self.state, entry)
        self.entries.append(entry)
        self.store.execute(
            "INSERT INTO gallery_log (seq, entry_id, action, individual_id, details, who, "
            "logged_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (entry.seq, entry.entry_id, action, individual_id, text, self.who, entry.logged_at),
        )
        return entry


@contextmanager
def editing(store: Store, who: str) -> Iterator[Editor]:
    """Must lie inside a transaction; on leaving, the tables are what the log now says."""
    editor = Editor(store, who)
    before = dict(editor.state.said)
    yield editor
    materialise(store, editor.state)
    _review(store, before, editor)


def mint(store: Store, name: str, who: str) -> str:
    """A provisional animal without pictures, inside a transaction; gives its id.

    The same entry and row as an enrolment by `editing`, without replaying the log: a camera mints
    many. The name must be free.
    """
    (seq,) = store.execute("SELECT coalesce(max(seq), 0) + 1 FROM gallery_log")[0]
    individual_id, moment = new_id(), now()
    details = {"exemplars": [], "name": name, "provisional": True}
    store.execute(
        "INSERT INTO gallery_log (seq, entry_id, action, individual_id, details, who, logged_at) "
        "VALUES (?, ?, 'enrol', ?, ?, ?, ?)",
        (seq, new_id(), individual_id, json.dumps(details, sort_keys=True), who, moment),
    )
    store.execute(
        f"INSERT INTO individual ({_INDIVIDUAL}) VALUES (?, ?, ?, 1, 'living', NULL, ?, ?)",
        (individual_id, name, name, individual_id, moment),
    )
    return individual_id


def unmint(store: Store, individual_id: str, who: str) -> bool:
    """Takes a minted animal back, as `undo` does; false, nothing done, where the log says anything
    else about it, as then a person has dealt with it."""
    about = store.execute(
        "SELECT entry_id FROM gallery_log WHERE individual_id = ?1 OR instr(details, ?1)",
        (individual_id,),
    )
    status = store.execute(
        "SELECT status FROM individual WHERE individual_id = ?", (individual_id,)
    )
    if len(about) != 1 or status != [("living",)]:
        return False
    (seq,) = store.execute("SELECT max(seq) + 1 FROM gallery_log")[0]
    store.execute(
        "INSERT INTO gallery_log (seq, entry_id, action, individual_id, details, who, logged_at) "
        "VALUES (?, ?, 'undo', NULL, ?, ?, ?)",
        (seq, new_id(), json.dumps({"entries": [about[0][0]]}), who, now()),
    )
    store.execute(
        "UPDATE individual SET status = 'undone' WHERE individual_id = ?", (individual_id,)
    )
    return True


@contextmanager
def open_beside(folder: StateFolder) -> Iterator[Store]:
    """The database for a short change, also while edge-watch runs.

    SQLite lets one writer in at a time, and edge-watch waits for it; edge-watch goes on matching
    with the gallery it started with. Only for what writes no file into the state folder.
    """
    if not folder.database.is_file():
        raise GalleryError(
            f"{folder.root} holds no gallery yet; add animals with `edge-gallery enroll FOLDER`, "
            "or give its folder with --state DIR"
        )
    store = _connect(folder)
    try:
        if int(get_meta(store, "schema_version") or 0) < SCHEMA_VERSION:  # left by an older release
            with locked(folder):
                open_store(folder.database).close()
        open_reader(folder.database).close()  # refuses another version, with advice
        yield store
    finally:
        store.close()


def _connect(folder: StateFolder) -> Store:
    try:
        connection = apsw.Connection(str(folder.database), flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.Error as error:
        raise StateError(
            "other",
            f"the database {folder.database} cannot be opened ({error}); run the command as the "
            "user it belongs to, or give another folder with --state DIR",
        ) from error
    store = Store(folder.database, connection)
    for setting in (
        f"busy_timeout={_PATIENCE_MS}",
        "foreign_keys=ON",
        "trusted_schema=OFF",
        "synchronous=FULL",
    ):
        store.execute(f"PRAGMA {setting}")
    return store


def entries(store: Store) -> list[Entry]:
    """The whole log, in order."""
    rows = store.execute(
        "SELECT seq, entry_id, action, individual_id, details, who, logged_at FROM gallery_log "
        "ORDER BY seq"
    )
    return [
        Entry(
            seq=seq,
            entry_id=entry_id,
            action=action,
            individual_id=individual_id,
            details=json.loads(details),
            who=who,
            logged_at=logged_at,
        )
        for seq, entry_id, action, individual_id, details, who, logged_at in rows
    ]


def materialise(store: Store, state: GalleryState) -> None:
    """Makes the tables individual, exemplar and said what `state` says."""
    individuals = {one: _individual_row(state, row) for one, row in state.individuals.items()}
    store.execute_many(  # names may change hands: nobody holds one in between
        "UPDATE individual SET status = 'undone' WHERE individual_id = ?",
        ((one,) for one in _differing(store, "individual", _INDIVIDUAL, individuals)),
    )
    _put(store, "individual", _INDIVIDUAL, individuals)
    _put(store, "said", _SAID, {one: _said_row(row) for one, row in state.said.items()})
    _put(store, "exemplar", _EXEMPLAR, {k: _exemplar_row(v) for k, v in state.exemplars.items()})


def load(store: Store) -> GalleryState:
    """The gallery as the tables hold it: what replaying the log must give too."""
    said = store.execute(f"SELECT {_SAID} FROM said")
    return GalleryState(
        individuals={
            row[0]: Individual(
                individual_id=row[0],
                name=row[2],
                provisional=bool(row[3]),
                status=row[4],
                merged_into=row[5],
                created_at=row[7],
            )
            for row in store.execute(f"SELECT {_INDIVIDUAL} FROM individual ORDER BY own_name")
        },
        exemplars={
            row[0]: Exemplar(
                exemplar_id=row[0],
                individual_id=row[1],
                sha256=row[2],
                display=row[3],
                box=(row[4], row[5], row[6], row[7]),
                flank=row[8],
                encounter=row[9],
                captured_at=row[10],
                crop=row[11],
                observation_id=row[12],
                created_at=row[13],
            )
            for row in store.execute(f"SELECT {_EXEMPLAR} FROM exemplar ORDER BY exemplar_id")
        },
        said={
            row[0]: Said(
                observation_id=row[0],
                verdict=row[1],
                individual_id=row[2],
                who=row[3],
                said_at=row[4],
            )
            for row in said
        },
    )


def _review(store: Store, before: Mapping[str, Said], editor: Editor) -> None:
    """A row of `review` for every sighting a person has spoken about, or taken the word back."""
    after = editor.state.said
    for observation_id in sorted(before.keys() | after.keys()):
        said = after.get(observation_id)
        if said == before.get(observation_id):
            continue
        known = store.execute(
            "SELECT 1 FROM observation WHERE observation_id = ?", (observation_id,)
        )
        if not known:
            continue
        store.execute(
            "INSERT INTO review (review_id, observation_id, verdict, individual_id, reviewer, "
            "reviewed_at) VALUES (?, ?, ?, ?, ?, ?)",
            (
                new_id(),
                observation_id,
                said.verdict if said else "withdraw",
                said.individual_id if said else None,
                editor.who,
                now(),
            ),
        )


def _individual_row(state: GalleryState, one: Individual) -> tuple[Value, ...]:
    current = state.current(one.individual_id)
    return (
        one.individual_id,
        current.name,
        one.name,
        int(one.provisional),
        one.status,
        one.merged_into,
        current.individual_id,
        one.created_at,
    )


def _exemplar_row(one: Exemplar) -> tuple[Value, ...]:
    return (
        one.exemplar_id,
        one.individual_id,
        one.sha256,
        one.display,
        *one.box,
        one.flank,
        one.encounter,
        one.captured_at,
        one.crop,
        one.observation_id,
        one.created_at,
    )


def _said_row(one: Said) -> tuple[Value, ...]:
    return (one.observation_id, one.verdict, one.individual_id, one.who, one.said_at)


def _rows(store: Store, table: str, columns: str) -> dict[str, Row]:
    return {str(row[0]): row for row in store.execute(f"SELECT {columns} FROM {table}")}


def _differing(
    store: Store, table: str, columns: str, wanted: Mapping[str, tuple[Any, ...]]
) -> list[str]:
    there = _rows(store, table, columns)
    return [key for key, row in wanted.items() if there.get(key) != row]


def _put(store: Store, table: str, columns: str, wanted: Mapping[str, tuple[Value, ...]]) -> None:
    """Makes the table hold these rows and no others; the first column is its key."""
    key, *others = columns.split(", ")
    gone = _rows(store, table, key).keys() - wanted.keys()
    store.execute_many(f"DELETE FROM {table} WHERE {key} = ?", ((one,) for one in sorted(gone)))
    store.execute_many(
        f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * (1 + len(others)))}) "
        f"ON CONFLICT ({key}) DO UPDATE SET "
        + ", ".join(f"{one} = excluded.{one}" for one in others),
        [wanted[one] for one in _differing(store, table, columns, wanted)],
    )
