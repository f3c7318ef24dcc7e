import numpy as np


class Encoder:  # mean states of the response after two layers, side by side
    def __init__(self, low="middle", high="last"):
        self.layers, self.shape = (low, high), 2 * self.host.model.hidden_size

    def encode(self, samples):
        return np.concatenate([self.host.hidden_states(samples, layer) for layer in self.layers], axis=1)


class Distance:  # Jensen-Shannon: how far apart two latents are as distributions, 0 to 0.83
    def __init__(self, temperature=1.0):
        self.temperature = temperature

    def distances(self, a, b):
        p, q = (softmax(x.reshape(len(x), -1) / np.float64(self.temperature)) for x in (a, b))
        return np.sqrt(np.maximum(kl(p, (p + q) / 2) + kl(q, (p + q) / 2), 0) / 2)


class Schedule:  # the farthest share `p` of the pairs counts, all of them alike
    def __init__(self, p=0.5):
        self.p = p

    def begin_round(self, distances):
        self.counts = lambda d: d >= np.quantile(distances, 1 - self.p)
        self.scale = 1 / np.mean(self.counts(distances))

    def weights(self, step, distances):
        return self.scale * self.counts(distances)


def softmax(x):
    x = np.exp(x - x.max(axis=1, keepdims=True))
    return x / x.sum(axis=1, keepdims=True)


def kl(p, q):
    return np.sum(p * np.log(np.maximum(p, 1e-300) / np.maximum(q, 1e-300)), axis=1)
