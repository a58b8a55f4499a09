"""The disk fails at the Nth write or sync of the database, for every N of one full cycle."""

from __future__ import annotations

import shutil

import apsw
import pytest

from edge.errors import StateError
from edge.record import store_archive
from edge.record.store import open_store
from edge.record.store_copy import check_thoroughly

from .filled import claim, found, record, sha_of

# Closing a connection whose files fail is told by apsw in this way too.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

KINDS = {
    "full": (apsw.SQLITE_FULL, {"write"}),
    "write fails": (apsw.SQLITE_IOERR_WRITE, {"write", "truncate"}),
    "sync fails": (apsw.SQLITE_IOERR_FSYNC, {"sync"}),
}


class Failing(apsw.VFS):
    """The usual files, of which operation number `fail_at` fails, and `num_failures - 1` more."""

    def __init__(self, code, operations):
        self.code, self.operations = code, operations
        self.count = self.num_failed = 0
        self.fail_at, self.num_failures = 0, 1
        super().__init__("failing", "unix", makedefault=True)

    def xOpen(self, name, flags):  # noqa: N802
        return _File(self, name, flags)

    def excepthook(self, *_):
        """A failure on purpose is no news."""

    def passes(self, operation):
        if operation not in self.operations:
            return
        self.count += 1
        if self.fail_at and self.fail_at <= self.count < self.fail_at + self.num_failures:
            self.num_failed += 1
            raise apsw.exception_for(self.code)


class _File(apsw.VFSFile):
    def __init__(self, vfs, name, flags):
        self.owner = vfs
        super().__init__("unix", name, flags)

    def excepthook(self, *_):
        pass

    def xWrite(self, data, offset):  # noqa: N802
        self.owner.passes("write")
        super().xWrite(data, offset)

    def xTruncate(self, size):  # noqa: N802
        self.owner.passes("truncate")
        super().xTruncate(size)

    def xSync(self, flags):  # noqa: N802
        self.owner.passes("sync")  # really syncing would take most of the time


@pytest.fixture(params=KINDS)
def failing(request):
    vfs = Failing(*KINDS[request.param])
    yield vfs
    vfs.unregister()


class _Device:
    """Takes three pictures through, on and on until the disk lets it; remembers what was said."""

    def __init__(self, path):
        self.path = path
        self.store = None
        self.said = []

    def run(self):
        for step in (self._claim, self._record, self._dispose):
            for _ in range(30):
                try:
                    if self.store is None:
                        self.store = open_store(self.path)
                    step()
                except StateError as error:
                    assert error.kind in {"full", "io"}, error
                    self._mend(error)
                else:
                    self.said.append(step.__name__)
                    break
            else:
                pytest.fail("the disk works again, the device does not")

    def _mend(self, error):
        if self.store is None or error.kind != "io":
            return
        with pytest.raises(StateError):  # nothing is read through what failed
            self.store.execute("SELECT 1")
        try:
            self.store.reopen()
        except StateError:
            self.store.close()
            self.store = None

    def _claim(self):
        claim(self.store, 1, 2, 3)

    def _record(self):
        if self._states() == [("claimed",)] * 3:  # else it was done, though the answer was lost
            record(self.store, 1, 2, 3)

    def _dispose(self):
        for one in (1, 2, 3):
            store_archive.set_disposed(self.store, found(one), sha_of(one), "deleted")
        self.store.write_deferred()

    def _states(self):
        return self.store.execute("SELECT state FROM media ORDER BY sha256")


def _cycle(path):
    device = _Device(path)
    device.run()
    return device


@pytest.mark.parametrize("num_failures", [1, 4])
def test_a_disk_that_fails_once_or_for_a_while_costs_nothing(failing, tmp_path, num_failures):
    empty = tmp_path / "empty.db"
    open_store(empty).close()
    shutil.copyfile(empty, tmp_path / "0.db")
    before = failing.count
    _cycle(tmp_path / "0.db").store.close()
    num_operations = failing.count - before
    assert num_operations >= 4
    for fail_at in range(1, num_operations + 1):
        path = tmp_path / f"{fail_at}.db"
        shutil.copyfile(empty, path)
        failing.count, failing.num_failed = 0, 0
        failing.fail_at, failing.num_failures = fail_at, num_failures
        _cycle(path).store.close()
        assert failing.num_failed >= 1
        failing.fail_at = 0
        _check(path)


def _check(path):
    store = open_store(path)
    assert check_thoroughly(store) == []
    assert store.execute("SELECT state, count(*) FROM media GROUP BY state") == [("done", 3)]
    assert store.execute("SELECT count(*) FROM detection") == [(3,)]
    assert store.execute("SELECT count(*) FROM observation") == [(3,)]
    assert store.execute("SELECT DISTINCT disposed_to FROM media_path") == [("deleted",)]
    store.close()


@pytest.mark.fault
def test_a_disk_that_fails_while_the_tables_are_made_leaves_old_or_new(failing, tmp_path):
    before = failing.count
    open_store(tmp_path / "0.db").close()
    num_operations = failing.count - before
    for fail_at in range(1, num_operations + 1):
        path = tmp_path / f"{fail_at}.db"
        failing.count, failing.fail_at = 0, fail_at
        try:
            open_store(path).close()
        except StateError as error:
            assert error.kind in {"full", "io"}
        failing.fail_at = 0
        store = open_store(path)
        assert check_thoroughly(store) == []
        assert store.execute("SELECT count(*) FROM media") == [(0,)]
        store.close()
