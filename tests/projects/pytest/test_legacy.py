"""12 unittest tests: 9 pass, 1 fails, 1 is skipped, 1 fails as expected."""
import time
import unittest


class Ledger(unittest.TestCase):
    def setUp(self):
        self.books = {"2024": 12, "2025": 11}

    def test_open(self):
        self.assertIn("2024", self.books)

    def test_sum(self):
        self.assertEqual(sum(self.books.values()), 24, "books do not add up")

    @unittest.skip("archive is closed")
    def test_archive(self):
        pass

    @unittest.expectedFailure
    def test_forgotten(self):
        self.assertIn("1999", self.books)


def _audit(month):
    def test(self):
        time.sleep(0.02)
        self.assertLess(month, 9)

    return test


class Audit(unittest.TestCase):
    test_01, test_02, test_03, test_04 = (_audit(month) for month in range(1, 5))
    test_05, test_06, test_07, test_08 = (_audit(month) for month in range(5, 9))
