import logging
import time

import pytest

log = logging.getLogger("shop")


@pytest.fixture
def shop():
    """A shop that opens and closes in its own time and says so."""
    time.sleep(0.005)
    log.info("shop opened")
    yield {"apples": 5, "pears": 2}
    log.info("shop closed")


@pytest.fixture
def printer():
    raise ConnectionError("receipt printer 192.168.7.31:9100 does not answer")


@pytest.fixture
def drawer():
    yield "open"
    raise OSError("cash drawer did not close")
