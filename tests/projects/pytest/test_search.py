"""40 passes; every fourth takes 150 ms."""
import time

import pytest

WORDS = [
    "apple", "pear", "plum", "quince", "cherry", "grape", "fig", "date", "lime", "lemon",
    "mango", "papaya", "melon", "kiwi", "guava", "peach", "apricot", "olive", "medlar", "sloe",
]  # fmt: skip


@pytest.mark.area("search")
class TestSearch:
    @pytest.mark.smoke
    @pytest.mark.parametrize("word", WORDS)
    def test_finds(self, word):
        if WORDS.index(word) % 4 == 0:
            time.sleep(0.15)
        assert word in WORDS

    @pytest.mark.parametrize("word", WORDS)
    def test_suggests(self, word):
        if WORDS.index(word) % 4 == 1:
            time.sleep(0.15)
        assert [w for w in WORDS if w.startswith(word[:2])]
