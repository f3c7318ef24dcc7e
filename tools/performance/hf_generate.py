#!/usr/bin/env python3
"""The peer in generation: transformers' generate() on this machine's CPU.

    hf_generate.py MODEL_DIR PAIRS.jsonl [--prompts 32] [--batch 16] [--new-tokens 128] [--bf16] [--threads N]

Continues the prompts of the first rows, rendered by the model's chat template if it has one, at temperature 1. No response may end
before its last token, so that the work is the same on both sides. Prints one JSON line.

Needs torch, transformers.
"""

import argparse
import json
import os
import time

os.environ["HF_HUB_OFFLINE"] = "1"

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("pairs")
parser.add_argument("--prompts", type=int, default=32)
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--new-tokens", type=int, default=128)
parser.add_argument("--bf16", action="store_true")
parser.add_argument("--threads", type=int, default=os.cpu_count())
args = parser.parse_args()

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.set_num_threads(args.threads)
torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16 if args.bf16 else torch.float32).eval()


def render(prompt):
    if not tokenizer.chat_template:
        return prompt
    return tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False)


with open(args.pairs) as file:
    prompts = [render(json.loads(line)["prompt"]) for line, _ in zip(file, range(args.prompts))]
prompt_tokens = new_tokens = 0
start = time.perf_counter()
with torch.no_grad():
    for first in range(0, len(prompts), args.batch):
        batch = tokenizer(prompts[first : first + args.batch], return_tensors="pt", padding=True, add_special_tokens=False)
        out = model.generate(
            **batch,
            max_new_tokens=args.new_tokens,
            min_new_tokens=args.new_tokens,
            do_sample=True,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
        )
        prompt_tokens += int(batch["attention_mask"].sum())
        new_tokens += out.shape[0] * (out.shape[1] - batch["input_ids"].shape[1])
seconds = time.perf_counter() - start
print(json.dumps({
    "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    "prompts": len(prompts),
    "prompt_tokens": prompt_tokens,
    "new_tokens": new_tokens,
    "new_tokens_per_s": new_tokens / seconds,
}))
