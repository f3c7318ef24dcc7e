#!/usr/bin/env python3
"""Memory of the stages `candidates`, `score` and `pairs` by number of rows: it must not grow with them.

    tools/performance/rows.py LDALIGN MODEL [--rows 20000 200000] [--encoder ID] [--distance ID] [--dir DIR]

For each number of rows, writes that many short ones with a ready-made pair each, runs `ldalign score` on them with MODEL (the quickstart's
will do: the text is of its alphabet) and prints the seconds and the peak memory that timing.jsonl tells of each stage, as Markdown. Exits
with 1 where the most rows take over a tenth more memory than the fewest. Plugins are found where `ldalign` finds them.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

MOST = 1.10


def write_rows(path, count):
    """Questions in the quickstart's words, each with a right and a wrong answer."""
    draw = random.Random(1)
    with open(path, "w", encoding="utf-8") as out:
        for _ in range(count):
            word = "".join(draw.choice("bdfgklmnprstvz") + draw.choice("aeiou") for _ in range(draw.randint(2, 4)))
            row = {"prompt": f"Reverse {word}.", "chosen": word[::-1], "rejected": word}
            out.write(json.dumps(row) + "\n")


def stages(directory, args, count):
    """Seconds and peak bytes of the stages of a run over `count` rows, by stage."""
    data, run = os.path.join(directory, f"{count}.jsonl"), os.path.join(directory, f"run-{count}")
    write_rows(data, count)
    config = {"model": os.path.abspath(args.model), "output_dir": run, "rounds": 1, "data": {"path": data, "max_length": 128}}
    config |= {key: value for key, value in [("encoder", args.encoder), ("distance", args.distance)] if value}
    path = os.path.join(directory, f"{count}.yaml")
    with open(path, "w", encoding="utf-8") as out:
        json.dump(config, out)
    subprocess.run([args.ldalign, "score", path], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(os.path.join(run, "round-1", "timing.jsonl"), encoding="utf-8") as lines:
        lines = [json.loads(line) for line in lines]
    return {line["stage"]: line for line in lines if line["seconds"] is not None}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("ldalign")
    arguments.add_argument("model")
    arguments.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    arguments.add_argument("--encoder")
    arguments.add_argument("--distance")
    arguments.add_argument("--dir", help="where rows and runs are kept; a temporary directory without it")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = args.dir or temporary
        os.makedirs(directory, exist_ok=True)
        seen = {}
        print("| rows | stage | seconds | peak MiB |\n|---|---|---|---|")
        for count in args.rows:
            seen[count] = stages(directory, args, count)
            for stage in ("candidates", "score", "pairs"):
                line = seen[count][stage]
                print(f"| {count} | {stage} | {line['seconds']:.1f} | {line['peak_bytes'] / 2**20:.1f} |", flush=True)
    grown = {stage: seen[max(seen)][stage]["peak_bytes"] / seen[min(seen)][stage]["peak_bytes"] for stage in ("candidates", "score", "pairs")}
    print(", ".join(f"{stage}: {ratio:.2f} times the memory" for stage, ratio in grown.items()))
    return 0 if max(grown.values()) <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
