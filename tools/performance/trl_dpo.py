#!/usr/bin/env python3
"""The peer in training: TRL's DPOTrainer on this machine's CPU, on given preference rows in the order given.

    trl_dpo.py MODEL_DIR PAIRS.jsonl --order ORDER.json [--lora R] [--bf16] [--max-length 512] [--threads N]

PAIRS.jsonl has {"prompt", "chosen", "rejected"} strings; ORDER.json is a list of steps, each a list of row numbers. Prints one
JSON line: seconds of every step, what TRL logged at every step, tokens, versions.

Needs torch, transformers, trl, peft, datasets, accelerate.
"""

import argparse
import json
import os
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("pairs")
parser.add_argument("--order", required=True)
parser.add_argument("--lora", type=int, default=0)
parser.add_argument("--bf16", action="store_true")
parser.add_argument("--max-length", type=int, default=512)
parser.add_argument("--threads", type=int, default=os.cpu_count())
args = parser.parse_args()

import torch
import transformers
import trl
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

torch.set_num_threads(args.threads)


class InOrder(trl.DPOTrainer):
    """Trains on the rows as they come."""

    def _get_train_sampler(self, dataset=None):
        return SequentialSampler(dataset if dataset is not None else self.train_dataset)


class Clock(TrainerCallback):
    """Times the steps and keeps what is logged of them."""

    def __init__(self):
        self.seconds, self.logs = [], []

    def on_step_begin(self, *_, **__):
        self.start = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.seconds.append(time.perf_counter() - self.start)

    def on_log(self, args, state, control, logs=None, **_):
        if logs and "loss" in logs:
            self.logs.append({key: float(value) for key, value in logs.items()})


with open(args.order) as file:
    steps = json.load(file)
with open(args.pairs) as file:
    rows = [json.loads(line) for line in file]
batch = len(steps[0])
if any(len(step) != batch for step in steps):
    raise SystemExit("every step must have the same number of rows")

adapter = None
if args.lora:
    from peft import LoraConfig

    adapter = LoraConfig(r=args.lora, lora_alpha=2 * args.lora, target_modules="all-linear", task_type="CAUSAL_LM")
clock = Clock()
with tempfile.TemporaryDirectory() as scratch:
    config = trl.DPOConfig(
        output_dir=scratch,
        per_device_train_batch_size=batch,
        max_steps=len(steps),
        max_length=args.max_length,
        beta=0.1,
        learning_rate=5e-6,
        lr_scheduler_type="constant",
        optim="adamw_torch",
        weight_decay=0.0,
        max_grad_norm=1.0,
        # TRL's default, which saves memory for a third more time, is left off: here it has memory enough.
        gradient_checkpointing=False,
        precompute_ref_log_probs=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        seed=0,
        disable_tqdm=True,
    )
    trainer = InOrder(
        model=AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16 if args.bf16 else torch.float32),
        args=config,
        train_dataset=Dataset.from_list([rows[row] for step in steps for row in step]),
        processing_class=AutoTokenizer.from_pretrained(args.model),
        peft_config=adapter,
        callbacks=[clock],
    )
    trainer.train()
tokens = [log["num_tokens"] for log in clock.logs]
for log, before in zip(clock.logs, [0, *tokens]):
    log["sequence_tokens"] = int(log["num_tokens"] - before)
print(json.dumps({
    "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "trl": trl.__version__},
    "steps": [{"seconds": s, "metrics": log} for s, log in zip(clock.seconds, clock.logs, strict=True)],
}))
