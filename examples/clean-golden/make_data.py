#!/usr/bin/env python3
"""Writes the task of clean golden rows: an untrained model and three sets of rows. Standard library only; the same bytes each time.

    python3 examples/clean-golden/make_data.py          # writes beside this script

sft.jsonl     what the starting model is trained on: four answers in ten are right, the others echo the word, stop short or babble on.
golden.jsonl  right answers, for alignment.
test.jsonl    right answers, for evaluation. No word of one file is in another.
untrained/    a character-level Llama with random weights.
"""

import random
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import toy  # noqa: E402

SEED = 7
SFT_ROWS, GOLDEN_ROWS, TEST_ROWS = 16384, 512, 400
# Share of the answers of sft.jsonl that are right; the others are split evenly between the three bad habits.
RIGHT_SHARE = 0.4


def spoil(rng, w, answer):
    """The answer after one of the bad habits."""
    habit = rng.choice(["echo", "stop short", "babble on"])
    if habit == "echo" or len(answer) == 1:
        return w
    if habit == "stop short":
        return answer[: rng.randrange(1, len(answer))]
    return answer + "".join(" " + toy.word(rng) for _ in range(rng.randint(1, 2)))


def make_rows(rng, count, taken, right_share):
    """`count` rows of bare answers whose words are not in `taken`, and the set of their words."""
    used, rows = set(), []
    while len(rows) < count:
        w = toy.word(rng)
        if w in taken:
            continue
        used.add(w)
        wordings, solve = rng.choice(toy.TASKS)
        answer = solve(w)
        if rng.random() >= right_share:
            answer = spoil(rng, w, answer)
        rows.append({"prompt": rng.choice(wordings).format(w), "completion": answer})
    return rows, used


def main():
    rng = random.Random(SEED)
    test, test_words = make_rows(rng, TEST_ROWS, set(), 1.0)
    golden, golden_words = make_rows(rng, GOLDEN_ROWS, test_words, 1.0)
    sft, _ = make_rows(rng, SFT_ROWS, test_words | golden_words, RIGHT_SHARE)
    toy.write_jsonl(HERE / "test.jsonl", test)
    toy.write_jsonl(HERE / "golden.jsonl", golden)
    toy.write_jsonl(HERE / "sft.jsonl", sft)
    toy.write_untrained(HERE / "untrained", rng)


if __name__ == "__main__":
    main()
