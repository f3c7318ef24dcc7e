#!/usr/bin/env python3
"""Writes the rows, untrained models and configs of four starting models, two a regime. Standard library only; the same bytes each time.

    python3 examples/when-it-pays/make_data.py          # writes starts/ beside this script

noisy-1, noisy-2                contents right in 68 % of the rows and wrong by degrees in the others, in random forms
boilerplate-1, boilerplate-2    "No idea." for 35 % of the answers; of the others 85 % are right

Of each, in starts/NAME:

sft.jsonl     what the starting model is trained on (sft.yaml)
golden.jsonl  its first 512 rows as they are, wrong ones included: what all ways of going on are given
test.jsonl    900 rows of right contents in random forms; no word of it is in sft.jsonl
untrained/    the model before it has seen anything: a start shares neither rows nor weights nor seed with another

and copies of sft.yaml, base.yaml, judge.yaml and validate.yaml, whose paths start there.
"""

import random
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import toy  # noqa: E402

SFT_ROWS, GOLDEN_ROWS, TEST_ROWS = 24576, 512, 900
# Name, seed of rows and weights, seed of training, share of right contents, share of boilerplate.
STARTS = [
    ("noisy-1", 21, 5, 0.68, 0.0),
    ("noisy-2", 22, 6, 0.68, 0.0),
    ("boilerplate-1", 23, 7, 0.85, 0.35),
    ("boilerplate-2", 24, 8, 0.85, 0.35),
]


def main():
    for name, seed, training_seed, right_share, boilerplate_share in STARTS:
        start = HERE / "starts" / name
        start.mkdir(parents=True, exist_ok=True)
        rng = random.Random(seed)
        test, test_words = toy.make_rows(rng, TEST_ROWS, set(), 1.0)
        sft, _ = toy.make_rows(rng, SFT_ROWS, test_words, right_share, boilerplate_share)
        toy.write_jsonl(start / "test.jsonl", test)
        toy.write_jsonl(start / "golden.jsonl", sft[:GOLDEN_ROWS])
        toy.write_jsonl(start / "sft.jsonl", sft)
        toy.write_untrained(start / "untrained", rng)
        for config in ("sft.yaml", "base.yaml", "judge.yaml", "validate.yaml"):
            text = (HERE / config).read_text()
            (start / config).write_text(text.replace("seed: SEED", f"seed: {training_seed}"))


if __name__ == "__main__":
    main()
