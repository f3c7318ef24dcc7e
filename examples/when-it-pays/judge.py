#!/usr/bin/env python3
"""Judges a start's own answers to the golden rows, four a row, by the right answers: rows for `ldalign validate`. Standard library only.

    ldalign generate starts/NAME/judge.yaml
    python3 examples/when-it-pays/judge.py starts/NAME

writes judged.jsonl. Its golden answers stay as noisy as those trained on; only the labels know what is right.
"""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import toy  # noqa: E402

# The checker's expression in base.yaml.
CONTENT = re.compile("[\"'<]([^\"'<>]*)[\"'>]")


def right_content(prompt):
    """What a right answer to the prompt has between its quotes."""
    for wordings, solve in toy.TASKS:
        for wording in wordings:
            before, after = map(re.escape, wording.split("{}"))
            if found := re.fullmatch(f"{before}([a-z]+){after}", prompt):
                return solve(found[1])
    raise ValueError(f"no task asks {prompt!r}")


def is_right(prompt, text):
    found = CONTENT.search(text)
    return bool(found) and found[1].strip() == right_content(prompt)


def main():
    start = Path(sys.argv[1])
    rows = [json.loads(line) for line in (start / "golden.jsonl").open()]
    own = [[] for _ in rows]
    for sample in map(json.loads, (start / "judge/round-1/generations.jsonl").open()):
        if sample["text"].strip():
            own[sample["index"]].append(sample["text"])
    judged = []
    for row, texts in zip(rows, own):
        responses = [{"text": text, "label": is_right(row["prompt"], text)} for text in texts]
        judged.append({"prompt": row["prompt"], "golden": row["completion"], "responses": responses})
    toy.write_jsonl(start / "judged.jsonl", judged)
    labels = [response["label"] for row in judged for response in row["responses"]]
    golden = sum(is_right(row["prompt"], row["completion"]) for row in rows)
    print(f"right: {golden} of {len(rows)} golden answers, {sum(labels)} of {len(labels)} own")


if __name__ == "__main__":
    main()
