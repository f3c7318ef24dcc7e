"""What LD-Align shows without a peer: cost by length and batch, estimated and measured memory, steadiness. Used by compare.py.

Each function takes `bench(*arguments, threads=None)`, which runs `ldalign bench` with them and returns its report, and gives lines of
Markdown; `soak` fails where two equal runs end in different bits.
"""

STEPS = 100


def lengths(bench):
    """Tables of growing length and of growing batch."""
    lines = []
    for what, flags in [("f32", []), ("bf16", ["--bf16"])]:
        tables = bench("--stages", "limits,lengths", *flags)["lengths"]
        for title, costs in [("equal tokens a step", tables["by_length"]), ("equal length", tables["by_batch"])]:
            lines += ["", f"Full, {what}, {title}:", "",
                      "| sequences x length | µs/token | attention | useful GF/s | of the limit | peak | estimated |",
                      "|---|---|---|---|---|---|---|"]
            for cost in costs:
                rate, memory = cost["rate"], cost["memory"]
                lines.append(f"| {cost['sequences']} x {cost['length']} | {cost['us_per_token']:.0f} | "
                             f"{100 * cost['attention_share']:.1f} % | {rate['gflops']:.0f} | {100 * rate['of_limit']:.0f} % | "
                             f"{gb(memory['peak_bytes'])} | {gb(memory['estimate_bytes'])} |")
    return lines


def memory(bench):
    """The peak of training beside the estimate that `ldalign check` prints."""
    lines = ["", "Training, 4 pairs a step, made-up rows that fill the length:", "",
             "| | length | measured | estimated | off by |", "|---|---|---|---|---|"]
    for what, method in [("full", []), ("LoRA r=16", ["--lora", "16"])]:
        for precision, flag in [("f32", []), ("bf16", ["--bf16"])]:
            for length in [128, 512, 2048]:
                report = bench("--stages", "train", "--steps", 2, "--max-length", length, *method, *flag)
                found = report["train"]["memory"]
                measured, estimate = found["peak_bytes"], found["estimate_bytes"]
                lines.append(f"| {what} {precision} | {length} | {gb(measured)} | {gb(estimate)} | "
                             f"{100 * (estimate / measured - 1):+.0f} % |")
    return lines


def soak(bench, data):
    """Memory over many steps, and the bits of equal runs."""
    lines = ["", f"Memory held after a step, {STEPS} steps of 4 pairs:", "",
             "| | " + " | ".join(f"step {n}" for n in (1, 2, 10, 50, STEPS)) + " |", "|---" * 6 + "|"]
    for what, flags in [("full f32", []), ("LoRA r=16 f32", ["--lora", "16"])]:
        steps = bench("--stages", "train", "--steps", STEPS, *data, *flags)["train"]["steps"]
        held = [gb(steps[n - 1]["resident_bytes"]) for n in (1, 2, 10, 50, STEPS)]
        lines.append(f"| {what} | " + " | ".join(held) + " |")
    lines += ["", "SHA-256 of the weights after 3 steps, of two runs each:", "", "| | 1 thread | 2 threads |", "|---|---|---|"]
    for what, flags in [("full f32", []), ("full bf16", ["--bf16"]), ("LoRA r=16 f32", ["--lora", "16"])]:
        cells = []
        for threads in (1, 2):
            hashes = {bench("--stages", "train", "--steps", 3, *data, *flags, threads=threads)["train"]["weights_sha256"]
                      for _ in range(2)}
            if len(hashes) > 1:
                raise SystemExit(f"{what}: two runs with {threads} threads end in different bits")
            cells.append(f"{hashes.pop()[:16]}..., twice")
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return lines


def gb(size):
    return f"{size / 1e9:.2f} GB"
