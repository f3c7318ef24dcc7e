"""__NAME__: say here how the weights come from the distances, by which formula, from which source, and when to use it."""

import numpy as np


class Schedule:
    """Weights proportional to a power of the distance, with mean 1 over the round. Make it yours."""

    def __init__(self, power=0.5):
        """What a config gives under `args`."""
        if not power >= 0:
            raise ValueError(f"power must be at least 0, not {power}")
        self.power = power

    def begin_round(self, distances):
        """Sees every distance of the round, in row order, before the first step."""
        self.mean = self.share(distances).mean() if len(distances) else 1.0

    def weights(self, step, distances):
        """One weight of at least 0 for each distance; `step` has round, rounds, step, total_steps, progress (0 to 1). The
        same question always gets the same answer: a resumed run asks again."""
        return self.share(distances) / (self.mean or 1.0)

    def share(self, distances):
        return np.asarray(distances, np.float64) ** self.power
