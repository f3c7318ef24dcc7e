"""Tests of the distance by itself: python3 __TEST__.py"""

import unittest

import numpy as np

from __MODULE__ import Distance


class Tests(unittest.TestCase):
    def test_known_values(self):
        a = np.array([[[1.0, 2.0]], [[0.0, 0.0]]], np.float32)
        b = np.array([[[4.0, 0.0]], [[0.0, 0.0]]], np.float32)
        np.testing.assert_allclose(Distance(scale=2.0).distances(a, b), [10.0, 0.0])

    def test_arguments(self):
        with self.assertRaises(ValueError):
            Distance(scale=0)


if __name__ == "__main__":
    unittest.main()
