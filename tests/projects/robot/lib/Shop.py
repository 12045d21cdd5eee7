"""Keywords written in Python, so that there is captured output."""
import sys

from robot.api import logger


def count(item, number):
    """Counts, says so on both streams, and returns the number."""
    print("counting %s" % item)
    if int(number) > 3:
        print("*WARN* that is a lot of %s" % item)
    sys.stderr.write("scales are warm\n")
    logger.debug("raw number: %r" % number)
    return int(number)


def fail_with(message):
    """Fails like a program does, not like an assertion."""
    raise RuntimeError(message)
