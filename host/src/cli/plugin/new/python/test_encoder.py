"""Tests of the encoder by itself: python3 __TEST__.py"""

import types
import unittest

import numpy as np

from __MODULE__ import Encoder


class Host:
    """Stands in for LD-Align: the states of a sample are its response's length and the layer."""

    model = types.SimpleNamespace(vocab_size=97, hidden_size=2, num_layers=4, max_positions=512, end_ids=[0])

    def hidden_states(self, samples, layer="middle", pooling="mean"):
        return np.array([[len(s.response), 7.0] for s in samples], np.float32)


def encoder(**args):
    made = Encoder.__new__(Encoder)
    made.host = Host()
    made.__init__(**args)
    return made


def samples(*responses):
    return [types.SimpleNamespace(prompt="", response=r, prompt_ids=[], response_ids=[1]) for r in responses]


class Tests(unittest.TestCase):
    def test_latents_lose_their_mean(self):
        made = encoder()
        self.assertEqual(made.fit(samples("a", "abc"))["mean_length"], np.hypot(2.0, 7.0))
        np.testing.assert_allclose(made.encode(samples("abcd")), [[2.0, 0.0]])

    def test_what_was_learned_is_restored(self):
        first, second = encoder(), encoder()
        first.fit(samples("a", "abc"))
        second.load(first.save())
        np.testing.assert_array_equal(first.encode(samples("x")), second.encode(samples("x")))
        with self.assertRaises(ValueError):
            second.load(b"12345678")


if __name__ == "__main__":
    unittest.main()
