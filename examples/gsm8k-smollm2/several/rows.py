#!/usr/bin/env python3
"""Picks GSM8K rows with short questions and solutions, without their calculator annotations:

    rows.py gsm8k-train.jsonl gsm8k-test.jsonl

writes sft.jsonl (2,000 training rows: the start is made of them, and the first are its golden rows) and held-out.jsonl (400 rows of the test set and, where that
has too few, training rows that are not in sft.jsonl).
"""

import json
import re
import sys


def rows(path):
    for line in open(path):
        row = json.loads(line)
        answer = re.sub(r"<<.*?>>", "", row["answer"])
        if len(row["question"]) <= 260 and len(answer) <= 180:
            yield {"question": row["question"], "answer": answer}


def write(path, rows):
    with open(path, "w") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


train, test = list(rows(sys.argv[1])), list(rows(sys.argv[2]))
write("sft.jsonl", train[:2000])
write("held-out.jsonl", (test + train[2000:])[:400])
