"""Every outcome that nose2 knows, for a client that tells them all."""

import unittest


class Prices(unittest.TestCase):
    def test_sum(self):
        """The sum of all prices."""
        self.assertEqual(2 + 3, 5)

    def test_rounding(self):
        self.assertEqual(round(2.5), 3, "half is rounded up")

    def test_missing_key(self):
        {}["price"]

    @unittest.skip("no card reader here")
    def test_card(self):
        pass

    def test_voucher(self):
        self.skipTest("vouchers are sold out")

    @unittest.expectedFailure
    def test_negative(self):
        self.assertGreater(-1, 0)

    def test_discounts(self):
        for percent in (10, 20):
            with self.subTest(percent=percent):
                self.assertLess(percent, 15)


class Stock(unittest.TestCase):
    def setUp(self):
        self.shelf = {"apples": 5}

    def test_apples(self):
        self.assertIn("apples", self.shelf)

    def test_pears(self):
        self.assertIn("pears", self.shelf)

    def test_häagen(self):
        print("said during the test")
        self.assertTrue(self.shelf)


class Closed(unittest.TestCase):
    def setUp(self):
        raise OSError("the shop is closed")

    def test_door(self):
        pass
