"""10 tests under --reruns-like markers: 3 pass at once, 4 on the second try, 2 on the third, 1 never.

A test is run again by the process that ran it first, so the count of tries lives in memory and starts anew in each run.
"""
import time
from collections import Counter

import pytest

pytestmark = [pytest.mark.flaky(reruns=2), pytest.mark.area("network")]
tries = Counter()


def attempt(name):
    tries[name] += 1
    time.sleep(0.02)
    print(f"try {tries[name]} of {name}")
    return tries[name]


@pytest.mark.parametrize("host", ["one", "two", "three"])
def test_steady(host):
    assert attempt(host)


@pytest.mark.parametrize("host", ["four", "five", "six", "seven"])
def test_second_try(host):
    n = attempt(host)
    assert n >= 2, f"connection to {host} reset (try {n})"


@pytest.mark.parametrize("host", ["eight", "nine"])
def test_third_try(host):
    n = attempt(host)
    assert n >= 3, f"connection to {host} reset (try {n})"


def test_never():
    n = attempt("ten")
    assert n > 3, f"host ten is down (try {n})"
