"""Where testwire's listeners write events to; they import this module from their own directory.

TESTWIRE_EVENTS names a file, which `testwire run` follows. Without it TESTWIRE_URL names a `testwire listen`, as in
http://testwire.example:8765, to which events are sent over HTTP; TESTWIRE_TOKEN is its token, and processes with the same
TESTWIRE_RUN_ID are one run. Without both the listeners do nothing. A run that a test starts inside a run that is already
reported is not reported: it inherits TESTWIRE_EVENTS_OWNER, which the outer run sets to the same place.
"""

import json
import os
import queue
import re
import sys
import threading
import time

try:
    from fcntl import LOCK_NB, LOCK_SH, flock
except ImportError:  # not on Windows
    flock = None

_ENV_FILE = "TESTWIRE_EVENTS"
_ENV_URL = "TESTWIRE_URL"
_ENV_TOKEN = "TESTWIRE_TOKEN"
_ENV_RUN_ID = "TESTWIRE_RUN_ID"
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


def claim(form):
    """Where to write events of this form if this process is to report a run, and mark the run as reported; else None."""
    place = os.environ.get(_ENV_FILE)
    if place:
        place = os.path.abspath(place)
        owner = os.environ[_ENV_FILE]
    else:
        owner = os.environ.get(_ENV_URL)
        place = owner and _remote(owner, form)
    if not place or os.environ.get(_ENV_OWNER) == owner:
        return None
    os.environ[_ENV_OWNER] = owner
    return place


def _remote(url, form):
    """The address to post to; None if it is none that can be."""
    import urllib.parse  # only those who need it wait for it

    run_id = os.environ.get(_ENV_RUN_ID)
    if not run_id:
        run_id = "%s-%s" % (time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), os.urandom(3).hex())
    query = urllib.parse.urlencode({"run_id": run_id, "format": form})
    try:
        parts = urllib.parse.urlsplit(url)
        parts.port  # raises if it is no number
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it does not begin with http:// or https://")
    except ValueError as error:
        _say("%s is not usable: %s" % (_ENV_URL, error))
        return None
    return "%s://%s%s/v1/events?%s" % (parts.scheme, parts.netloc, parts.path.rstrip("/"), query)


def _say(text):
    """One line for a person; a closed standard error is no reason to fail."""
    try:
        sys.stderr.write("testwire: %s\n" % text)
        sys.stderr.flush()
    except Exception:
        pass


def events_at(place, dropped, let_through=()):
    """Writes to a place that `claim` gave: an EventFile, or an EventSender."""
    if place.startswith(("http://", "https://")):
        return EventSender(place, dropped, let_through)
    return EventFile(place, dropped, let_through)


def release():
    """Undo `claim`: a later run in the same process is a run of its own."""
    os.environ.pop(_ENV_OWNER, None)


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=safe_text).encode


def _line(event):
    text = _encode(event)
    try:
        return text.encode("utf-8") + b"\n"
    except UnicodeEncodeError:
        # Lone surrogates are no Unicode text, neither as bytes nor as a JSON escape: spell them out.
        return _SURROGATE.sub(lambda m: "\\\\u%04x" % ord(m.group()), text).encode("utf-8") + b"\n"


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
        return _line(event)

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

class EventSender:
    """Sends events as JSON lines to a `testwire listen`. `write` never raises and never waits for the network.

    A thread posts what waits, and posts it again until it is answered: the lines are numbered, so one that arrived before
    is passed over there. What waits is bounded in memory; beyond that events are dropped and counted, as in EventFile.
    `close` gives the rest a bounded time, and says how much could not be sent. Only the process that made the object
    writes: a forked child does not.
    """

    _getpid, _monotonic, _sleep = staticmethod(os.getpid), staticmethod(time.monotonic), staticmethod(time.sleep)
    _MOST_WAITING = 16 << 20  # bytes
    _BATCH = 256 << 10  # bytes in a request
    _LINGER = 0.1  # seconds to wait for more to send at once
    _LAST_WORDS = 5.0  # seconds for the rest when the run has ended
    _TIMEOUT = 5.0  # seconds for an answer
    _PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between tries

    def __init__(self, url, dropped, let_through=()):
        import http.client
        import urllib.parse

        self._url = urllib.parse.urlsplit(url)
        secure = self._url.scheme == "https"
        self._connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._path = "%s?%s&writer=%s" % (self._url.path, self._url.query, os.urandom(8).hex())
        self._headers = {"Content-Type": "application/x-ndjson"}
        token = os.environ.get(_ENV_TOKEN)
        if token:
            self._headers["Authorization"] = "Bearer " + token
        self._dropped_event = dropped
        self._let_through = let_through
        self._dropped = 0
        self._put_bytes = 0  # changed by writers only
        self._done_bytes = 0  # changed by the thread only
        self._put_lines = 0
        self._sent_lines = 0
        self._trouble = ""
        self._refused = False
        self._until = None  # when the thread must be done
        self._connection = None
        self._pid = self._getpid()
        # Its `put` may be interrupted by itself, in a signal handler.
        self._queue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="testwire", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._refused, self._trouble = True, safe_text(error)

    def write(self, event):
        """Send `event`, a dict of JSON values, soon."""
        if self._getpid() != self._pid:
            return
        try:
            line = _line(event)
            if self._refused or self._put_bytes - self._done_bytes + len(line) > self._MOST_WAITING:
                self._dropped += 1
                return
            if self._dropped:
                self._put(_line(self._dropped_event(self._dropped)))
                self._dropped = 0
            self._put(line)
        except self._let_through:
            raise
        except Exception:
            self._dropped += 1

    def lost(self):
        """Count an event that could not even be made."""
        self._dropped += 1

    def close(self):
        """Wait for the rest to be sent, not long, and say what could not be."""
        if self._getpid() != self._pid:
            return
        try:
            if self._dropped and not self._refused:
                self._put(_line(self._dropped_event(self._dropped)))
            self._until = self._monotonic() + self._LAST_WORDS
            self._queue.put(None)
            if self._thread.is_alive():
                self._thread.join(self._LAST_WORDS + 0.5)
            left = self._put_lines - self._sent_lines + self._dropped
            if left > 0:
                server = "%s://%s" % (self._url.scheme, self._url.netloc.rpartition("@")[2])
                _say("%d events could not be sent to %s: %s" % (left, server, self._trouble or "no time was left"))
        except self._let_through:
            raise
        except Exception:
            pass

    def _put(self, line):
        self._put_bytes += len(line)
        self._put_lines += 1
        self._queue.put(line)

    def _run(self):
        try:
            over = False
            while not over:
                batch, over = self._collect()
                if batch and not self._deliver(batch):
                    return
        except Exception as error:
            self._refused, self._trouble = True, safe_text(error)
        finally:
            self._disconnect()

    def _collect(self):
        """The next lines, and whether they are the last."""
        batch, size = [self._queue.get()], 0
        if batch[0] is None:
            return [], True
        size = len(batch[0])
        until = self._monotonic() + self._LINGER
        while size < self._BATCH:
            try:
                wait = until - self._monotonic()
                line = self._queue.get(timeout=wait) if wait > 0 and self._until is None else self._queue.get_nowait()
            except queue.Empty:
                break
            if line is None:
                return batch, True
            batch.append(line)
            size += len(line)
        return batch, False

    def _deliver(self, batch):
        """Send lines until they are taken; False if they never will be."""
        body = b"".join(batch)
        path = "%s&line=%d" % (self._path, self._sent_lines + 1)
        tries = 0
        while True:
            wait = self._PAUSES[min(tries, len(self._PAUSES) - 1)]
            try:
                status, after = self._post(path, body)
            except Exception as error:
                self._disconnect()
                self._trouble = safe_text(error) or type(error).__name__
            else:
                if status in (200, 204):
                    self._sent_lines += len(batch)
                    self._done_bytes += len(body)
                    return True
                self._trouble = "it answers %d" % status
                if 400 <= status < 500 and status not in (408, 429):
                    # To ask again would not help.
                    self._refused = True
                    return False
                wait = max(wait, after)
            tries += 1
            pause_until = self._monotonic() + wait
            while self._monotonic() < pause_until:
                if self._until is not None and self._monotonic() >= self._until:
                    return False
                self._sleep(0.05)

    def _post(self, path, body):
        """Status, and the seconds that the server asks to wait before the next try."""
        if self._connection is None:
            self._connection = self._connect(self._url.hostname, self._url.port, timeout=self._TIMEOUT)
        self._connection.request("POST", path, body, self._headers)
        response = self._connection.getresponse()
        response.read()
        after = response.getheader("Retry-After") or ""
        return response.status, min(float(after), 30.0) if after.isdigit() else 0.0

    def _disconnect(self):
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except Exception:
                pass
