"""Every outcome that unittest knows."""

import unittest


class Till(unittest.TestCase):
    def test_opens(self):
        self.assertTrue(True)

    def test_gives_change(self):
        self.assertEqual(2, 3, "a coin is missing")

    def test_breaks(self):
        raise ValueError("the drawer is stuck\nit has been for long")

    @unittest.skip("no printer")
    def test_prints(self):
        pass

    @unittest.expectedFailure
    def test_counts_fast(self):
        self.fail("known to be slow")

    @unittest.expectedFailure
    def test_counts_right(self):
        pass

    def test_coins(self):
        for coin in (1, 2, 3, 4):
            with self.subTest(coin=coin):
                self.assertEqual(coin % 2, 0)


class NoPower(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise RuntimeError("no power")

    def test_never(self):
        pass


class Closing(unittest.TestCase):
    def tearDown(self):
        raise OSError("the key does not turn")

    def test_closes(self):
        self.fail("it stays open")
