import unittest


class Orders(unittest.TestCase):
    def test_empty(self):
        self.assertFalse([])

    def test_first(self):
        self.assertTrue([1])
