"""__NAME__: say here what the encoder does, by which method, from which source, and when to use it."""

import numpy as np


class Encoder:
    """Mean states of the response after one layer of the policy model, less their mean over the round's samples. Make it
    yours."""

    def __init__(self, layer="middle"):
        """What a config gives under `args`. `self.host` is there already."""
        self.layer = layer
        self.shape = self.host.model.hidden_size
        self.mean = np.zeros(self.shape)

    def fit(self, corpus):
        """Learns once a round from the golden and generated responses; returns figures for the report."""
        total = np.zeros(self.shape)
        for first in range(0, len(corpus), 64):
            total += self.states(corpus[first:first + 64]).sum(axis=0)
        self.mean = total / max(len(corpus), 1)
        return {"mean_length": np.linalg.norm(self.mean)}

    def encode(self, samples):
        """One latent for each sample: [n, numbers]. A latent must not depend on the samples beside it."""
        return self.states(samples) - self.mean

    def save(self):
        """What `fit` learned, as bytes."""
        return self.mean.tobytes()

    def load(self, state):
        """Takes up what `save` gave."""
        mean = np.frombuffer(state)
        if mean.shape != (self.shape,) or not np.isfinite(mean).all():
            raise ValueError("the state is not one of this encoder")
        self.mean = mean

    def states(self, samples):
        return self.host.hidden_states(samples, self.layer).astype(np.float64)
