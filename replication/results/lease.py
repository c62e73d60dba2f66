"""A lock on a folder that names its holder and that more than one machine can see.

On one machine a file lock decides, which the system gives back when its holder dies, by whatever death. Other machines
may not see that lock: ``<lock>.json`` beside it names the holder, which sets the file's modification time every BEAT
seconds. A holder of another machine that has given no sign of life for STALE seconds counts as dead.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from replication.errors import LockedError, ReplicationError, ResultError
from replication.results.files import check_writable
from replication.results.schemas import Document, read, write

BEAT = 20.0
"""Seconds between two signs of life."""
STALE = 300.0
"""Seconds without one after which a holder of another machine counts as dead."""
POLL = 2.0
"""Seconds between two attempts."""
DYING = 10.0
"""Seconds for which the children of a process that was killed may still hold its lock."""
REMIND = 600.0
"""Seconds between two lines that say for whom a process waits."""

JOB_IDS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
BOOT = Path("/proc/sys/kernel/random/boot_id")


class Holder(Document, frozen=True, kw_only=True):
    """``<lock>.json``. ``boot`` identifies a running system: processes of one boot see each other's file locks."""

    SCHEMA = "lease/1"
    REMEDY = "delete it when nothing works in this folder"

    host: str
    boot: str
    pid: int
    started: str
    token: str
    job: str | None = None

    def __str__(self) -> str:
        job = f", job {self.job}" if self.job else ""
        return f"process {self.pid} on {self.host}{job}, since {self.started}"


@contextlib.contextmanager
def lease(lock: Path, subject: str, wait: bool = False, tell: Callable[[str], None] = print) -> Iterator[None]:
    """Hold ``lock`` during the block; ``subject`` says in messages what is held.

    Where another process holds it: LockedError naming that process or, with ``wait``, wait until it ends, which
    ``tell`` is told. ReplicationError where the folder is not writable. A process whose lease another one has taken
    over, since it was suspended for longer than STALE, gets SIGTERM.
    """
    check_writable(lock.parent)
    mine = Holder(
        host=socket.gethostname(),
        boot=_boot(),
        pid=os.getpid(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        token=secrets.token_hex(8),
        job=next((os.environ[name] for name in JOB_IDS if os.environ.get(name)), None),
    )
    record = lock.with_name(f"{lock.name}.json")
    locked = _acquire(lock, record, mine, subject, wait, tell)
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(record, mine, ended), daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        if _is(record, mine):
            record.unlink(missing_ok=True)
        locked.release()


def _acquire(
    lock: Path, record: Path, mine: Holder, subject: str, wait: bool, tell: Callable[[str], None]
) -> BaseFileLock:
    begun, told = time.monotonic(), -REMIND
    while (locked := _attempt(lock, record, mine)) is None:
        holder, waited = _holder(record), time.monotonic() - begun
        if wait:
            if waited - told >= REMIND:
                tell(f"{_held(subject, holder)}: waiting for it to end")
                told = waited
        elif not _dying(holder, mine) or waited > DYING:
            raise LockedError(f"{lock.parent}: {_held(subject, holder)}; wait for it to end or stop it first")
        time.sleep(POLL)
    return locked


def _attempt(lock: Path, record: Path, mine: Holder) -> BaseFileLock | None:
    """The file lock, with oneself entered as the holder; None where another process holds one of the two."""
    locked = FileLock(lock, timeout=0)
    try:
        locked.acquire()
    except Timeout:
        return None
    except OSError as error:
        reason = error.strerror or error
        raise ReplicationError(f"{lock}: cannot lock: {reason}; make it writable or choose another folder") from error
    if _free(lock, record, mine) and _take(record, mine):
        return locked
    locked.release()
    return None


def _dying(holder: Holder | None, mine: Holder) -> bool:
    """Whether the holder was killed and only its children live."""
    return holder is not None and holder.boot == mine.boot and not _alive(holder.pid)


def _held(subject: str, holder: Holder | None) -> str:
    return f"another process is working on {subject}" + (f" ({holder})" if holder else "")


def _free(lock: Path, record: Path, mine: Holder) -> bool:
    """Whether the holder named in ``record`` is dead, by one who holds the file lock."""
    holder = _holder(record)
    if not record.exists() or (holder is not None and holder.boot == mine.boot):
        return True
    if not _stale(lock, record):
        return False
    # A clock that jumps makes a living holder look dead until its next sign of life.
    before = _modified(record)
    time.sleep(1.5 * BEAT)
    if _modified(record) != before:
        return False
    aside = record.with_name(f"{record.name}.{mine.token}")
    with contextlib.suppress(FileNotFoundError):  # another one was faster
        record.rename(aside)
        aside.unlink()
    return True


def _stale(lock: Path, record: Path) -> bool:
    """By the clock of the folder's file server, which may differ from this machine's."""
    os.utime(lock)
    return abs(lock.stat().st_mtime - (_modified(record) or 0.0)) > STALE


def _take(record: Path, mine: Holder) -> bool:
    """Enter oneself as the holder; False where another machine was faster."""
    before = _holder(record)
    if before is not None and before.boot == mine.boot:
        record.unlink(missing_ok=True)
    for left in record.parent.glob(f"*{record.name}.*"):  # by a process that was killed while it did this
        left.unlink(missing_ok=True)
    aside = record.with_name(f"{record.name}.{mine.token}")
    write(aside, Holder, {key: getattr(mine, key) for key in Holder.__struct_fields__})
    try:
        os.link(aside, record)
    except (FileExistsError, FileNotFoundError):
        return False
    except OSError:  # no hard links on this file system
        aside.replace(record)
    finally:
        aside.unlink(missing_ok=True)
    return _is(record, mine)


def _beat(record: Path, mine: Holder, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        try:
            if not _is(record, mine):
                break
            os.utime(record)
        except OSError:  # a file server that is away for a while
            continue
    else:
        return
    print(
        f"error: {record.parent}: taken over by {_holder(record) or 'another process'}, since this process gave no "
        f"sign of life for {STALE:.0f} s; stopping",
        file=sys.stderr,
    )
    os.kill(os.getpid(), signal.SIGTERM)


def _holder(record: Path) -> Holder | None:
    """Who is entered; None for nobody, or where the file is unreadable."""
    try:
        return read(record, Holder)
    except ResultError:
        return None


def _is(record: Path, mine: Holder) -> bool:
    holder = _holder(record)
    return holder is not None and holder.token == mine.token


def _modified(record: Path) -> float | None:
    try:
        return record.stat().st_mtime
    except FileNotFoundError:
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _boot() -> str:
    """What tells running systems apart; by the host's name where the system has no such id."""
    try:
        return BOOT.read_text().strip()
    except OSError:
        return socket.gethostname()
