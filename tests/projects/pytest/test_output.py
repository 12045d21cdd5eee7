"""8 tests that write: 7 pass, 1 fails."""
import logging
import os
import sys
import warnings

import pytest

log = logging.getLogger("shop.till")


def test_stdout():
    print("hello from stdout")


def test_stderr():
    print("hello from stderr", file=sys.stderr)


def test_log_levels():
    log.warning("till is nearly empty")
    log.error("till is empty")


def test_descriptor():
    os.write(1, b"straight to descriptor 1\n")


def test_unicode():
    print("größe 📦 \x1b[31mred\x1b[0m tab\there")


def test_long():
    print("x" * 20000)


def test_warns():
    warnings.warn("old till", DeprecationWarning, stacklevel=1)


@pytest.mark.slow
def test_writes_and_fails():
    print("about to fail")
    log.error("something is wrong")
    assert "à la carte" == "a la carte"
