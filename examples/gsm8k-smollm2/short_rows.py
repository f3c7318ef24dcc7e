#!/usr/bin/env python3
"""Writes short-train.jsonl (512 rows) and short-test.jsonl (50 rows) for short.yaml: the first questions of GSM8K that are short.

    short_rows.py TRAIN.jsonl TEST.jsonl

Short is a solution of at most 64 tokens with its end token, and question and solution together of at most 140 tokens for training and 180
for the test, in the model's chat template. Needs transformers, and the model's directory beside this file.
"""

import json
import pathlib
import sys

from transformers import AutoTokenizer

HERE = pathlib.Path(__file__).resolve().parent
tokenizer = AutoTokenizer.from_pretrained(HERE / "smollm2-135m-instruct")


def is_short(row, most):
    question = [{"role": "user", "content": row["question"]}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=True)["input_ids"]
    answer = tokenizer(row["answer"] + "<|im_end|>")["input_ids"]
    return len(answer) <= 64 and len(prompt) + len(answer) <= most


for source, name, most, count in [(sys.argv[1], "short-train.jsonl", 140, 512), (sys.argv[2], "short-test.jsonl", 180, 50)]:
    with open(source) as file:
        rows = [row for row in map(json.loads, file) if is_short(row, most)][:count]
    with open(HERE / name, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
