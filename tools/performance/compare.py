#!/usr/bin/env python3
"""LD-Align beside TRL and transformers: the same rows in the same order, in turn, in one sitting, medians.

    compare.py --model DIR --gsm8k TRAIN.jsonl --out DIR [--page docs/performance.md] [--repeat 3] [--only NAME ...]

Writes OUT/results.json and OUT/results.md, and puts the latter between the marks of the page. Training: batches of 4 pairs (a GSM8K
question, its solution as chosen, another's as rejected), 512 tokens, plain prompt and response strings with the end token, a constant
learning rate of 5e-6, AdamW, the reference computed before the first step. Rates leave the first step out. Generation: 32 prompts by the
chat template, 128 tokens each, batch 16, temperature 1. Peak memory is the largest resident set of the whole process.

The first f32 run of full fine-tuning also compares what the steps computed: it fails if the token counts differ, or the loss of a step
by more than 1e-3. `lengths`, `memory` and `soak` (alone.py) need no peer.

`--python` is an interpreter that has torch, transformers, trl, peft, datasets and accelerate. Needs nothing but the standard library itself.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

import alone

HERE = pathlib.Path(__file__).resolve().parent
BEGIN, END = "<!-- compare.py: begin -->", "<!-- compare.py: end -->"
BATCH, LENGTH, PROMPTS = 4, 512, 32
TOLERANCE = 1e-3

# Name -> our arguments, the peer's arguments; and in generation, where the rate is in our report.
TRAINING = {
    "full f32": ([], []),
    "full bf16": (["--bf16"], ["--bf16"]),
    "LoRA r=16 f32": (["--lora", "16"], ["--lora", "16"]),
    "LoRA r=16 bf16": (["--lora", "16", "--bf16"], ["--lora", "16", "--bf16"]),
}
GENERATION = {
    "generate f32": ([], [], "new_tokens_per_s"),
    "generate bf16": (["--bf16"], ["--bf16"], "new_tokens_per_s"),
    "single stream f32": ([], ["--batch", "1", "--prompts", "2"], "single_stream_tokens_per_s"),
    "single stream bf16": (["--bf16"], ["--bf16", "--batch", "1", "--prompts", "2"], "single_stream_tokens_per_s"),
}
ALONE = ["lengths", "memory", "soak"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--gsm8k", type=pathlib.Path, required=True, help="rows of question and answer")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--page", type=pathlib.Path)
    parser.add_argument("--ldalign", type=pathlib.Path, default=HERE.parents[1] / "target/release/ldalign")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    names = [*TRAINING, *GENERATION, *ALONE]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    return parser.parse_args()


def run(command, threads=None):
    """Runs a program; its JSON, and the largest resident set of its life in bytes."""
    environment = os.environ | ({"RAYON_NUM_THREADS": str(threads)} if threads else {})
    print("+", *command, file=sys.stderr, flush=True)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen([str(part) for part in command], stdout=out, stderr=log, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), log.seek(0)
        if child.returncode:
            raise SystemExit(f"{command[0]} failed with {child.returncode}:\n{log.read()[-4000:]}")
        text = out.read()
    # Ours is one indented document; the peers' is the last line.
    return json.loads(text if text.startswith("{\n") else text.splitlines()[-1]), usage.ru_maxrss * 1024


def make_pairs(source, path, count):
    """A question, its solution as chosen, another question's as rejected."""
    with open(source) as file:
        rows = [json.loads(line) for line in file]
    with open(path, "w") as file:
        for i in range(count):
            other = rows[(7 * i + 13) % len(rows)]
            pair = {"prompt": rows[i]["question"] + "\n", "chosen": rows[i]["answer"], "rejected": other["answer"]}
            file.write(json.dumps(pair) + "\n")


def without_template(model, directory):
    """The model directory again, by links, without its chat template: strings are tokenized as they are."""
    directory.mkdir()
    for path in model.resolve().iterdir():
        if path.name == "tokenizer_config.json":
            config = json.loads(path.read_text())
            config.pop("chat_template", None)
            (directory / path.name).write_text(json.dumps(config))
        elif path.name != "chat_template.jinja":
            (directory / path.name).symlink_to(path)
    return directory


class Comparison:
    def __init__(self, args, scratch):
        self.args = args
        self.pairs = scratch / "pairs.jsonl"
        self.order = scratch / "order.json"
        self.plain = without_template(args.model, scratch / "model")
        self.results = {name: {"ours": [], "peer": []} for name in args.only if name not in ALONE}
        self.versions = {}
        self.limits = []
        self.data = ["--data", self.pairs, "--max-length", LENGTH]
        self.alone = []
        make_pairs(args.gsm8k, self.pairs, max(PROMPTS, BATCH * args.steps))

    def bench(self, model, more, threads=None):
        report, peak = run([self.args.ldalign, "bench", "--model", model, "--batch", BATCH, "--json", *more], threads)
        if not threads:
            self.machine = report["machine"] | {"threads": report["threads"]}
        if report["limits"]:
            self.limits.append(report["limits"])
        return report, peak

    def ours(self, model, stage, more):
        report, peak = self.bench(model, [*self.data, "--steps", self.args.steps, "--stages", f"limits,{stage}", *more])
        return report[stage], peak

    def peer(self, script, model, more):
        report, peak = run([
            self.args.python, HERE / script, model, self.pairs, "--threads", self.machine["threads"], *more,
        ])
        self.versions |= report["versions"]
        return report, peak

    def once(self):
        for name, result in self.results.items():
            if name in TRAINING:
                flags, peer_flags = TRAINING[name]
                report, peak = self.ours(self.plain, "train", flags)
                result["ours"].append({"rate": report["pairs_per_s"], "peak": peak, "of_limit": report["rate"]["of_limit"],
                                       "gflops": report["rate"]["gflops"], "steps": report["steps"]})
                self.order.write_text(json.dumps([step["rows"] for step in report["steps"]]))
                length = ["--max-length", LENGTH, "--order", self.order]
                report, peak = self.peer("trl_dpo.py", self.plain, [*length, *peer_flags])
                seconds = [step["seconds"] for step in report["steps"]][1:]
                result["peer"].append({"rate": BATCH * len(seconds) / sum(seconds), "peak": peak, "steps": report["steps"]})
            else:
                flags, peer_flags, key = GENERATION[name]
                report, peak = self.ours(self.args.model, "generate", flags)
                result["ours"].append({"rate": report[key], "peak": peak})
                ours_prompts = report["prompt_tokens"]
                report, peak = self.peer("hf_generate.py", self.args.model, peer_flags)
                if report["prompts"] == PROMPTS and report["prompt_tokens"] != ours_prompts:
                    raise SystemExit(f"prompts have {ours_prompts} tokens here, {report['prompt_tokens']} there")
                result["peer"].append({"rate": report["new_tokens_per_s"], "peak": peak})

    def by_ourselves(self):
        bench = lambda *more, threads=None: self.bench(self.plain, more, threads)[0]
        asked = self.args.only
        if "lengths" in asked:
            self.alone += alone.lengths(bench)
        if "memory" in asked:
            self.alone += alone.memory(bench)
        if "soak" in asked:
            self.alone += alone.soak(bench, self.data)

    def median(self, name, side, key):
        return statistics.median(run[key] for run in self.results[name][side])

    def markdown(self):
        machine, limits = self.machine, self.limits
        best = lambda *keys: max(nested(limit, keys) for limit in limits)
        versions = ", ".join(f"{name} {version}" for name, version in sorted(self.versions.items()))
        lines = [
            f"{datetime.date.today()}, {machine['cpu']} ({' '.join(machine['cpu_features'])}), {machine['threads']} threads, "
            f"{platform.system()}; {versions}; {self.args.model.name}; medians of {self.args.repeat}.",
        ]
        if limits:
            lines += [
                "",
                f"Limits measured in the same runs: f32 products {best('f32', 'gflops'):.0f} GF/s by gemm and "
                f"{best('own_f32', 'gflops'):.0f} by our kernels, bf16 {best('own_bf16', 'gflops'):.0f}; "
                f"memory {best('bandwidth', 'read_gb_per_s'):.0f} GB/s read, {best('bandwidth', 'triad_gb_per_s'):.0f} triad.",
            ]
        if self.results:
            lines += [
                "",
                "| | LD-Align | TRL / transformers | times | LD-Align peak | peer's peak | share |",
                "|---|---|---|---|---|---|---|",
            ]
        for name in self.results:
            ours, peer = self.median(name, "ours", "rate"), self.median(name, "peer", "rate")
            peak, other = self.median(name, "ours", "peak") / 1e9, self.median(name, "peer", "peak") / 1e9
            unit = "pairs/s" if name in TRAINING else "tokens/s"
            digits = 2 if name in TRAINING else 0
            lines.append(f"| {name} | {ours:.{digits}f} {unit} | {peer:.{digits}f} {unit} | {ours / peer:.2f} | {peak:.2f} GB | "
                         f"{other:.2f} GB | {peak / other:.2f} |")
        trained = [name for name in self.results if name in TRAINING]
        if trained:
            lines += ["", "| LD-Align | useful GF/s | of the limit |", "|---|---|---|"]
            for name in trained:
                gflops, share = self.median(name, "ours", "gflops"), self.median(name, "ours", "of_limit")
                lines.append(f"| {name} | {gflops:.0f} | {100 * share:.0f} % |")
        for name in trained:
            lines += ["", f"Step by step, {name}:", "", *self.steps(name)]
        return "\n".join([*lines, *self.alone]) + "\n"

    def steps(self, name):
        keys = ["loss", "logps/chosen", "logps/rejected", "rewards/margins"]
        lines = ["| step | tokens | " + " | ".join(f"{key}, ours | TRL" for key in keys) + " |",
                 "|---" * (2 + 2 * len(keys)) + "|"]
        for i, (ours, peer) in enumerate(self.pairs_of_steps(name), 1):
            cells = [f"{side['metrics'][key]:.5g}" for key in keys for side in (ours, peer)]
            lines.append(f"| {i} | {ours['sequence_tokens']} | " + " | ".join(cells) + " |")
        return [*lines, "", f"Largest relative difference of the loss: {self.difference(name):.1e}."]

    def pairs_of_steps(self, name):
        return list(zip(self.results[name]["ours"][0]["steps"], self.results[name]["peer"][0]["steps"], strict=True))

    def difference(self, name):
        losses = [(a["metrics"]["loss"], b["metrics"]["loss"]) for a, b in self.pairs_of_steps(name)]
        return max(abs(a - b) / abs(b) for a, b in losses)

    def faults(self):
        """What contradicts that both sides did the same work."""
        for name in self.results:
            if name not in TRAINING:
                continue
            for i, (ours, peer) in enumerate(self.pairs_of_steps(name), 1):
                if ours["sequence_tokens"] != peer["metrics"]["sequence_tokens"]:
                    yield (f"{name}, step {i}: {ours['sequence_tokens']} tokens here, "
                           f"{peer['metrics']['sequence_tokens']} there")
            if name == "full f32" and self.difference(name) > TOLERANCE:
                yield f"{name}: losses differ by up to {self.difference(name):.1e}"


def nested(value, keys):
    for key in keys:
        value = value[key]
    return value


def into_page(page, text):
    before, rest = page.read_text().split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        comparison = Comparison(args, pathlib.Path(scratch))
        for _ in range(args.repeat):
            comparison.once()
        comparison.by_ourselves()
    text = comparison.markdown()
    everything = {"machine": comparison.machine, "versions": comparison.versions, "limits": comparison.limits,
                  "results": comparison.results}
    (args.out / "results.json").write_text(json.dumps(everything, indent=1) + "\n")
    (args.out / "results.md").write_text(text)
    if args.page:
        into_page(args.page, text)
    print(text)
    faults = list(comparison.faults())
    if faults:
        raise SystemExit("not the same work on both sides:\n" + "\n".join(faults))


main()
