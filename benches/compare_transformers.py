"""Times `rorqual generate` and transformers on one checkpoint, alternating, and prints medians as JSON.

    pip install torch transformers
    cargo build --release
    OMP_WAIT_POLICY=passive python benches/compare_transformers.py tests/fixtures/small-v3

Both run in float32 with the same number of threads: the prompt once (prefill), then new tokens behind it (decode).
Every configuration of transformers given below runs in each round and the fastest counts for each figure.
"""

import argparse
import json
import random
import statistics
import subprocess
import time

import torch
from transformers import AutoModelForCausalLM

CONFIGURATIONS = [("eager", "eager"), ("sdpa", "eager"), ("sdpa", "grouped_mm")]


def transformers_seconds(model, prompt, new_tokens):
    """Seconds for the prompt and for the tokens behind it."""
    with torch.no_grad():
        start = time.perf_counter()
        out = model(torch.tensor([prompt]), use_cache=True, logits_to_keep=1)
        prefill = time.perf_counter() - start
        token = out.logits[:, -1:].argmax(-1)
        start = time.perf_counter()
        for _ in range(new_tokens - 1):
            out = model(token, past_key_values=out.past_key_values, use_cache=True)
            token = out.logits[:, -1:].argmax(-1)
        return prefill, time.perf_counter() - start


def rorqual_seconds(arguments, prompt):
    """The same, and the peak resident memory in bytes."""
    command = [arguments.rorqual, "generate", "--model", arguments.checkpoint, "--json", "--ignore-eos"]
    command += ["--prompt-ids", ",".join(map(str, prompt)), "--max-new-tokens", str(arguments.new_tokens)]
    command += ["--threads", str(arguments.threads)]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return report["prefill_seconds"], report["decode_seconds"], report["peak_resident_bytes"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--rorqual", default="target/release/rorqual")
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    models = {}
    for attention, experts in CONFIGURATIONS:
        models[f"{attention} attention, {experts} experts"] = AutoModelForCausalLM.from_pretrained(
            arguments.checkpoint, dtype=torch.float32, attn_implementation=attention, experts_implementation=experts
        ).eval()
    vocab = next(iter(models.values())).config.vocab_size
    prompt = [random.Random(1).randrange(vocab) for _ in range(arguments.prompt_tokens)]

    ours = []
    theirs = {name: [] for name in models}
    for model in models.values():
        transformers_seconds(model, prompt, 4)
    for _ in range(arguments.runs):
        ours.append(rorqual_seconds(arguments, prompt))
        for name, model in models.items():
            theirs[name].append(transformers_seconds(model, prompt, arguments.new_tokens))

    def rate(tokens, seconds):
        return round(tokens / statistics.median(seconds), 1)

    decoded = arguments.new_tokens - 1
    report = {
        "rorqual": {
            "prefill_tokens_per_second": rate(arguments.prompt_tokens, [run[0] for run in ours]),
            "decode_tokens_per_second": rate(decoded, [run[1] for run in ours]),
            "peak_resident_mib": round(max(run[2] for run in ours) / 2**20, 1),
        }
    }
    for name, runs in theirs.items():
        report[f"transformers, {name}"] = {
            "prefill_tokens_per_second": rate(arguments.prompt_tokens, [run[0] for run in runs]),
            "decode_tokens_per_second": rate(decoded, [run[1] for run in runs]),
        }
    for figure in ["prefill_tokens_per_second", "decode_tokens_per_second"]:
        fastest = max(value[figure] for name, value in report.items() if name != "rorqual")
        report["rorqual"][figure.replace("tokens_per_second", "speed_up")] = round(
            report["rorqual"][figure] / fastest, 2
        )
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
