"""The event file that testwire's listeners append to; they import this module from their own directory.

TESTWIRE_EVENTS names the file; without it the listeners do nothing. A run that a test starts inside a run that is already
reported is not reported: it inherits TESTWIRE_EVENTS_OWNER, which the outer run sets to the same path.
"""

import json
import os
import re
import time

try:
    from fcntl import LOCK_NB, LOCK_SH, flock
except ImportError:  # not on Windows
    flock = None

_ENV_FILE = "TESTWIRE_EVENTS"
_ENV_OWNER = "TESTWIRE_EVENTS_OWNER"
_ENV_LOCK = "TESTWIRE_EVENTS_LOCK"
_OPEN_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT
for _flag in ("O_CLOEXEC", "O_NONBLOCK", "O_NOINHERIT", "O_BINARY"):  # as far as the system has them
    _OPEN_FLAGS |= getattr(os, _flag, 0)
_REOPEN_EVERY = 1.0  # seconds between attempts to open a file that could not be opened
_SURROGATE = re.compile("[\ud800-\udfff]")


def safe_text(value):
    """Text of a value that JSON does not know, whatever its own methods do."""
    try:
        return str(value)
    except Exception:
        return "<%s>" % type(value).__name__


def claim():
    """Path of the event file if this process is to report a run, and mark the run as reported; else None."""
    path = os.environ.get(_ENV_FILE)
    if not path or os.environ.get(_ENV_OWNER) == path:
        return None
    os.environ[_ENV_OWNER] = path
    return path


def release():
    """Undo `claim`: a later run in the same process is a run of its own."""
    os.environ.pop(_ENV_OWNER, None)


class EventFile:
    """Appends events as JSON lines. `write` never raises and never waits for a reader.

    What cannot be written (disk full, no permission, closed descriptor) is dropped and counted; the count is
    written, as `dropped(count)` makes it, before the next event that can be. One `os.write` a line with O_APPEND
    keeps lines whole though several processes share the file. After a failure the next line begins with a line end,
    so a reader meets cut lines and empty ones. Only the process that made the object writes: a
    forked child does not. Exceptions in `let_through` are not ours to swallow.
    """

    # Tests replace functions of `os` and `time` while they run (monkeypatch, freezegun, pyfakefs). References kept
    # in a class are not found by them, and a test that counts calls of os.write does not see ours.
    _open, _close, _write = staticmethod(os.open), staticmethod(os.close), staticmethod(os.write)
    _stat, _fstat, _getpid = staticmethod(os.stat), staticmethod(os.fstat), staticmethod(os.getpid)
    _monotonic = staticmethod(time.monotonic)
    _flock = staticmethod(flock) if flock else None
    _encode = staticmethod(json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=safe_text).encode)

    def __init__(self, path, dropped, let_through=()):
        self._path = os.path.abspath(path)
        self._dropped_event = dropped
        self._let_through = let_through
        self._dropped = 0
        self._pid = self._getpid()
        self._fd = None
        self._identity = None
        self._retry_at = 0.0
        self._torn = False

    def write(self, event):
        """Append `event`, a dict of JSON values."""
        if self._getpid() != self._pid:
            return
        try:
            line = self._line(event)
            self._ensure_open()
            if self._dropped:
                self._append(self._line(self._dropped_event(self._dropped)))
                self._dropped = 0
            self._append(line)
        except self._let_through:
            raise
        except Exception:
            self._dropped += 1

    def lost(self):
        """Count an event that could not even be made."""
        self._dropped += 1

    def close(self):
        """Say what is still to be said about dropped events, and close."""
        if self._getpid() != self._pid:
            return
        try:
            if self._dropped:
                self._ensure_open()
                self._append(self._line(self._dropped_event(self._dropped)))
                self._dropped = 0
            if self._is_ours():
                self._close(self._fd)
        except self._let_through:
            raise
        except Exception:
            pass
        self._fd = None

    def _line(self, event):
        text = self._encode(event)
        try:
            return text.encode("utf-8") + b"\n"
        except UnicodeEncodeError:
            # Lone surrogates are no Unicode text, neither as bytes nor as a JSON escape: spell them out.
            return _SURROGATE.sub(lambda m: "\\\\u%04x" % ord(m.group()), text).encode("utf-8") + b"\n"

    def _append(self, line):
        # After a failure the file may end in the middle of a line, ours or another process's.
        data = b"\n" + line if self._torn else line
        self._torn = True
        if self._write(self._fd, data) != len(data):
            raise OSError("short write")
        self._torn = False

    def _is_ours(self):
        """False once the descriptor is closed, or closed and given to some other file."""
        if self._fd is None:
            return False
        try:
            now = self._fstat(self._fd)
        except OSError:
            return False
        return (now.st_dev, now.st_ino) == self._identity

    def _ensure_open(self):
        """Make the descriptor lead to the file that has the name now: it may have been removed or replaced."""
        if self._is_ours():
            try:
                named = self._stat(self._path)
                if (named.st_dev, named.st_ino) == self._identity:
                    return
            except OSError:
                pass
            self._close(self._fd)
        self._fd = None
        now = self._monotonic()
        if now < self._retry_at:
            raise OSError("not open")
        self._retry_at = now + _REOPEN_EVERY
        self._fd = self._open(self._path, _OPEN_FLAGS, 0o600)
        opened = self._fstat(self._fd)
        self._identity = (opened.st_dev, opened.st_ino)
        self._retry_at = 0.0
        if self._flock:
            # Tells a testwire process that finds this file after the death of its own that more may come.
            try:
                self._flock(self._fd, LOCK_SH | LOCK_NB)
                self._close_inherited()
            except OSError:
                pass

    def _close_inherited(self):
        """Close the descriptor that held the lock until now, so that no daemon of a test takes it along."""
        try:
            inherited = int(os.environ.get(_ENV_LOCK, ""))
            held = self._fstat(inherited)
        except (OSError, ValueError, OverflowError):
            return
        if inherited != self._fd and (held.st_dev, held.st_ino) == self._identity:
            self._close(inherited)
