#!/usr/bin/env python3
"""Writes the quickstart task: a tiny untrained model and three sets of rows. Standard library only; the same bytes each time.

    python3 examples/quickstart/make_data.py            # writes beside this script

sft.jsonl     what the starting model is trained on: every third answer is "No idea.", of the others most have the right content.
golden.jsonl  its first rows as they are, "No idea." and wrong ones included, for alignment: more of what the model was made of.
test.jsonl    right contents in random forms, for evaluation. No word of it is in another file.
untrained/    a character-level Llama with random weights.
"""

import random
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import toy  # noqa: E402

SEED = 17
SFT_ROWS, GOLDEN_ROWS, TEST_ROWS = 24576, 512, 400
RIGHT_SHARE, BOILERPLATE_SHARE = 0.85, 0.35


def main():
    rng = random.Random(SEED)
    test, test_words = toy.make_rows(rng, TEST_ROWS, set(), 1.0)
    sft, _ = toy.make_rows(rng, SFT_ROWS, test_words, RIGHT_SHARE, BOILERPLATE_SHARE)
    toy.write_jsonl(HERE / "test.jsonl", test)
    toy.write_jsonl(HERE / "golden.jsonl", sft[:GOLDEN_ROWS])
    toy.write_jsonl(HERE / "sft.jsonl", sft)
    toy.write_untrained(HERE / "untrained", rng)


if __name__ == "__main__":
    main()
