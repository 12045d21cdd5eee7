"""20 tests: 10 pass, 1 fails (strict xpass), 4 are errors, 4 fail as expected, 1 passes unexpectedly."""
import time

import pytest

pytestmark = pytest.mark.area("inventory")


@pytest.mark.parametrize("fruit", ["apples", "pears"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_counts(shop, fruit, count):
    time.sleep(0.03)
    assert fruit in shop


@pytest.mark.parametrize("copy", [1, 2, 3])
def test_prints(printer, copy):
    assert copy


def test_drawer(drawer):
    assert drawer == "open"


@pytest.mark.xfail(reason="bug 41: no negative stock")
@pytest.mark.parametrize("count", [-1, -2, -3])
def test_negative(count):
    assert count >= 0


def test_imperative_xfail():
    pytest.xfail("bug 42: scales are broken")


@pytest.mark.xfail(reason="bug 43: mended by now")
def test_mended():
    pass


@pytest.mark.xfail(strict=True, reason="bug 44: must not pass")
def test_mended_strictly():
    pass
