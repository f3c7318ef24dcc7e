"""Tests of the schedule by itself: python3 __TEST__.py"""

import unittest

import numpy as np

from __MODULE__ import Schedule


class Tests(unittest.TestCase):
    def test_known_values(self):
        schedule = Schedule(power=1.0)
        distances = np.array([1.0, 3.0], np.float32)
        schedule.begin_round(distances)
        np.testing.assert_allclose(schedule.weights(None, distances), [0.5, 1.5])

    def test_a_round_at_distance_0(self):
        schedule = Schedule()
        schedule.begin_round(np.zeros(3, np.float32))
        np.testing.assert_array_equal(schedule.weights(None, np.zeros(3, np.float32)), [0.0, 0.0, 0.0])

    def test_arguments(self):
        with self.assertRaises(ValueError):
            Schedule(power=-1)


if __name__ == "__main__":
    unittest.main()
