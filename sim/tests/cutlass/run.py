#!/usr/bin/env python3
"""Compiles CUTLASS kernels to PTX, records their launches, runs ptxsim on them
and compares with a float64 reference.  See README.md."""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
PACKAGES = [
    "nvidia-cutlass==4.2.0.0",
    "nvidia-cuda-nvcc==13.5.37",
    "nvidia-cuda-crt==13.5.37",
    "nvidia-nvvm==13.5.37",
    "nvidia-cuda-runtime==13.5.37",
    "nvidia-cuda-cccl==13.3.5.0.6",
    "numpy",
    "ml_dtypes",
]

# What surrounds the table that --summary writes.
MARKS = ("<!-- table: written by run.py -->\n", "<!-- end of the table -->\n")


class Tools:
    """Where the compiler and the headers are: a virtual environment."""

    def __init__(self, prefix):
        self.prefix = Path(prefix).resolve()
        sites = sorted(self.prefix.glob("lib/python3*/site-packages"))
        if not sites:
            sys.exit(f"{prefix} is no virtual environment")
        self.site = sites[0]
        self.cuda = self.site / "nvidia" / "cu13"
        self.nvcc = self.cuda / "bin" / "nvcc"
        source = self.site / "cutlass_library" / "source"
        self.cutlass = source / "include"
        self.util = source / "tools" / "util" / "include"
        self.examples = source / "examples"
        for p in (self.nvcc, self.cutlass / "cutlass" / "cutlass.h"):
            if not p.exists():
                sys.exit(f"{p} is missing")

    @staticmethod
    def make(prefix):
        done = prefix / "packages.txt"
        if done.exists() and done.read_text().split() == PACKAGES:
            return Tools(prefix)
        if not (prefix / "bin" / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", str(prefix)], check=True)
        # cutlass_library alone is wanted, not the Python DSLs it asks for.
        pip = [str(prefix / "bin" / "python"), "-m", "pip", "install", "-q"]
        subprocess.run(pip + ["--no-deps"] + PACKAGES, check=True)
        done.write_text("\n".join(PACKAGES))
        return Tools(prefix)


def log(*words):
    print(*words, file=sys.stderr, flush=True)


def nice(command):
    return ["nice", "-n", "10"] + [str(c) for c in command]


def run(command, cwd, logfile):
    t = time.time()
    with open(logfile, "wb") as f:
        r = subprocess.run(nice(command), cwd=cwd, stdout=f, stderr=subprocess.STDOUT)
    return r.returncode == 0, time.time() - t


def digest(*paths, words=()):
    h = hashlib.sha256()
    for p in paths:
        h.update(Path(p).read_bytes())
    for w in words:
        h.update(str(w).encode() + b"\0")
    return h.hexdigest()


def build_recorder(tools, out):
    o = out / "recorder.o"
    stamp = out / "recorder.stamp"
    want = digest(HERE / "recorder.cpp", HERE / "recorder.h")
    if o.exists() and stamp.exists() and stamp.read_text() == want:
        return o
    ok, _ = run(
        ["g++", "-std=c++17", "-O1", "-I", tools.cuda / "include", "-c", HERE / "recorder.cpp", "-o", o],
        out,
        out / "recorder.log",
    )
    if not ok:
        sys.exit(f"the recorder does not compile: see {out / 'recorder.log'}")
    stamp.write_text(want)
    return o


def compile_kernel(tools, kernel, out):
    """PTX and host program of one kernel; (ok, seconds, cached)."""
    d = out / kernel.name
    d.mkdir(parents=True, exist_ok=True)
    source = HERE / kernel.source
    command = [
        tools.nvcc,
        "-std=c++20",
        "--expt-relaxed-constexpr",
        "-DNDEBUG",
        "-gencode",
        "arch=compute_90a,code=compute_90a",
        "-I", tools.cutlass,
        "-I", tools.util,
        "-I", tools.examples,
        "-I", HERE,
        # Structures start as zeros, so that their padding is the same each time.
        "-Xcompiler", "-O0,-ftrivial-auto-var-init=zero",
        "-w",
        "--keep", "--keep-dir", d,
        "-c", source,
        "-o", d / "k.o",
    ] + [f"-D{k}={v}" for k, v in kernel.defines.items()]
    stamp = d / "stamp.json"
    want = digest(source, HERE / "recorder.h", HERE / "names.h", words=command)
    if stamp.exists() and (d / "k.ptx").exists() and (d / "k.o").exists():
        s = json.loads(stamp.read_text())
        if s["want"] == want:
            return True, s["seconds"], True
    stamp.unlink(missing_ok=True)
    ok, seconds = run(command, d, d / "compile.log")
    stem = source.stem
    if ok:
        os.replace(d / f"{stem}.ptx", d / "k.ptx")
        stamp.write_text(json.dumps({"want": want, "seconds": seconds}))
    for f in list(d.glob(f"{stem}.*")):
        f.unlink()
    return ok, seconds, False


def link(kernel, out):
    d = out / kernel.name
    prog, recorder = d / "record", out / "recorder.o"
    newest = max((d / "k.o").stat().st_mtime, recorder.stat().st_mtime)
    if prog.exists() and prog.stat().st_mtime > newest:
        return True
    ok, _ = run(["g++", d / "k.o", recorder, "-o", prog], d, d / "link.log")
    return ok


def case_name(case):
    if "label" in case:
        return case["label"]
    size = [k for k in "mnk" if k in case and "m" in case]
    words = ["x".join(str(case[k]) for k in size)] if size else []
    return "_".join(words + [f"{k}{v}" for k, v in case.items() if k not in size]) or "default"


def record(kernel, case, out):
    """Writes launch.json of one problem; returns its folder, or None."""
    d = out / kernel.name
    c = d / case_name(case)
    c.mkdir(exist_ok=True)
    ok, _ = run(
        [d / "record", c, d / "k.ptx"] + [f"{k}={v}" for k, v in case.items()], d, c / "record.log"
    )
    return c if ok else None


def plausible(folder):
    """Problems of a launch.json seen without running it."""
    spec = json.loads((folder / "launch.json").read_text())
    problems = []
    used = re.findall(r'"buffer": "(\w+)"', json.dumps([spec["launches"], spec["buffers"]]))
    for name, b in spec["buffers"].items():
        if name not in used and not name.startswith("c"):
            problems.append(f"buffer {name} is never referred to")
        if "file" in b and not (folder / b["file"]).exists():
            problems.append(f"no file {b['file']}")
        elif "file" in b:
            size = {"8": 1, "16": 2, "32": 4, "64": 8}[re.search(r"(8|16|32|64)(e\d|)", b["dtype"]).group(1)]
            for d in b["shape"]:
                size *= d
            if (folder / b["file"]).stat().st_size != size:
                problems.append(f"{b['file']} has {(folder / b['file']).stat().st_size} bytes, not {size}")
    for launch in spec["launches"]:
        text = (folder / launch["module"]).read_text()
        at = text.find(f".entry {launch['kernel']}(")
        if at < 0:
            problems.append("entry not in the PTX")
            continue
        header = text[at : text.index("{", at)]
        want = []
        for m in re.finditer(r"\.param\s+(?:\.align \d+ )?\.[busf](\d+)[^\[,)]*?(?:\[(\d+)\])?\s*[,)]", header):
            want.append(int(m.group(1)) // 8 * int(m.group(2) or 1))
        have = []
        for a in launch["args"]:
            if "struct" in a:
                s, end = a["struct"], 0
                for f in sorted(s["fields"], key=lambda f: f["offset"]):
                    n = 128 if "tensor_map" in f else len(f["bytes"]) // 2 if "bytes" in f else 8
                    if f["offset"] < end:
                        problems.append("fields overlap")
                    end = f["offset"] + n
                if end > s["size"]:
                    problems.append("a field past the end")
                have.append(s["size"])
            elif "bytes" in a:
                have.append(len(a["bytes"]) // 2)
            else:
                have.append(128 if "tensor_map" in a else 8)
        if have != want:
            problems.append(f"argument sizes {have}, PTX {want}")
        threads = re.search(r"\.maxntid (\d+)", header + text[text.index("{", at) - 400 : text.index("{", at)])
        block = launch["block"][0] * launch["block"][1] * launch["block"][2]
        if threads and block > int(threads.group(1)):
            problems.append(f"block {block} over .maxntid {threads.group(1)}")
        if launch["dynamic_smem"] > 232448:
            problems.append("too much shared memory")
        if any(g % c for g, c in zip(launch["grid"], launch["cluster"])):
            problems.append("grid is no multiple of the cluster")
    return problems


# Kernels that race, as README.md explains: that must be found, and values are compared without that check.
RACY = {"bf16_cpasync_ws"}
ALL_BUT_RACES = ["--check", "bounds,init,sync"]


def simulate(ptxsim, folder, precision, seed, limit, flags=()):
    for f in folder.glob("*.out.bin"):
        f.unlink()
    t = time.time()
    try:
        r = subprocess.run(
            [str(ptxsim), "run", "launch.json", "--precision", precision, "--seed", seed, "--json", *flags],
            cwd=folder,
            capture_output=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return "timeout", [], time.time() - t
    seconds = time.time() - t
    (folder / f"{precision}.stdout").write_bytes(r.stdout)
    (folder / f"{precision}.stderr").write_bytes(r.stderr)
    try:
        answer = json.loads(r.stdout)
        return answer["verdict"], answer.get("reports", []), seconds
    except (ValueError, KeyError):
        return f"exit {r.returncode}", [r.stderr.decode(errors="replace")[-300:]], seconds


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--out", type=Path, default=HERE.parents[2] / "target" / "cutlass", help="generated files")
    p.add_argument("--tools", type=Path, help="virtual environment with the packages; otherwise OUT/venv is made")
    p.add_argument("--only", default="", help="regular expression on kernel names")
    p.add_argument("--case", default="", help="regular expression on case names")
    p.add_argument("--list", action="store_true", help="list the kernels and stop")
    p.add_argument("--compile-only", action="store_true")
    p.add_argument("--record-only", action="store_true", help="stop before ptxsim")
    p.add_argument("--ptx", type=Path, help="also copy each kernel's PTX to this folder")
    p.add_argument("--ptxsim", type=Path, default=HERE.parents[2] / "target" / "release" / "ptxsim")
    p.add_argument("--precision", default="exact,hardware")
    p.add_argument("--seed", default="0", help="numbers, comma between: other data, and other chances in ptxsim")
    p.add_argument("--data", choices=["normal", "ints"], default="normal",
                   help="ints: small whole numbers, so that sums are the same in any order")
    p.add_argument("--limit", type=float, default=1800, help="seconds for one ptxsim run")
    p.add_argument("--report", type=Path, help="write the table as JSON here")
    p.add_argument("--summary", type=Path, help="put the table into this Markdown file, between its marks")
    args = p.parse_args()

    from kernels import KERNELS

    chosen = [k for k in KERNELS if re.search(args.only, k.name)]
    if args.list:
        for k in chosen:
            print(k.name, k.schedule, k.cluster, " ".join(case_name(c) for c in k.cases))
        return 0
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    tools = Tools(args.tools) if args.tools else Tools.make(out / "venv")
    if not args.compile_only:
        try:
            import ml_dtypes, numpy  # noqa: F401, E401
        except ImportError:
            if os.environ.get("CUTLASS_RUN_REEXEC"):
                raise
            os.environ["CUTLASS_RUN_REEXEC"] = "1"
            python = str(tools.prefix / "bin" / "python")
            os.execv(python, [python, str(HERE / "run.py")] + sys.argv[1:])

    build_recorder(tools, out)
    built, failed = [], []
    for i, k in enumerate(chosen):
        ok, seconds, cached = compile_kernel(tools, k, out)
        ok = ok and link(k, out)
        log(f"[{i + 1}/{len(chosen)}] {k.name}: {'ok' if ok else 'FAILED'} {seconds:.0f} s{' (kept)' if cached else ''}")
        (built if ok else failed).append(k)
        if ok and args.ptx:
            args.ptx.mkdir(parents=True, exist_ok=True)
            (args.ptx / f"{k.name}.ptx").write_bytes((out / k.name / "k.ptx").read_bytes())
    if failed:
        log("not compiled:", " ".join(k.name for k in failed), "(see compile.log, link.log in each folder)")
    if args.compile_only:
        return bool(failed)

    import reference

    rows, bad = [], len(failed)
    for k in built:
        for case in k.cases:
            if not re.search(args.case, case_name(case)):
                continue
            about = {"kernel": k.name, "case": case_name(case), "schedule": k.schedule, "cluster": k.cluster}
            folder = record(k, case, out)
            if folder is None:
                why = (out / k.name / case_name(case) / "record.log").read_text().strip()[-200:]
                rows.append(about | {"record": why})
                bad += 1
                log(f"{k.name} {case_name(case)}: not recorded: {why}")
                continue
            for seed in args.seed.split(","):
                row = about | {"seed": seed}
                rows.append(row)
                checker = reference.prepare(k, case, folder, args.data, seed)
                row["mmac"] = checker.macs / 1e6
                problems = plausible(folder)
                if problems:
                    row["record"] = "; ".join(problems)
                    bad += 1
                    log(f"{k.name} {row['case']}: {row['record']}")
                if args.record_only:
                    break
                for precision in args.precision.split(","):
                    verdict, reports, seconds = simulate(args.ptxsim, folder, precision, seed, args.limit)
                    if k.name in RACY:
                        if verdict != "undefined" or reports[0]["rule"] != "race":
                            bad += 1
                            log(f"{k.name} {row['case']}: {verdict}, where a race must be found")
                        verdict, reports, seconds = simulate(
                            args.ptxsim, folder, precision, seed, args.limit, ALL_BUT_RACES
                        )
                    worst = checker.check(folder, precision)
                    row[precision] = {"verdict": verdict, "reports": reports[:4], "seconds": seconds, **worst}
                    if not worst["ok"] or verdict != "ok":
                        bad += 1
                    log(f"{k.name} {row['case']} seed {seed} {precision}: {verdict}, {worst['text']}, {seconds:.1f} s")
    print_table(rows, args)
    if args.report:
        args.report.write_text(json.dumps(rows, indent=1))
    if args.summary:
        text = args.summary.read_text()
        before, after = text.split(MARKS[0])[0], text.split(MARKS[1])[1]
        args.summary.write_text(before + MARKS[0] + summary(rows, args) + MARKS[1] + after)
    return bad > 0


def summary(rows, args):
    """The table in Markdown."""
    precisions = args.precision.split(",")
    lines = []
    for p in precisions:
        runs = [r[p] for r in rows if p in r]
        good = sum(x["ok"] and x["verdict"] == "ok" for x in runs)
        lines.append(f"* {p}: {good} of {len(rows)} right, {sum(x['seconds'] for x in runs):.1f} s in all")
    head = ["kernel", "problem", "schedule", "cluster", "MMAC"]
    for p in precisions:
        head += [p, "ratio", "s"]
    lines += ["", "| " + " | ".join(head) + " |", "|---|---|---|---|--:|" + "---|--:|--:|" * len(precisions)]
    for r in rows:
        cells = [r["kernel"], r["case"], r["schedule"], r["cluster"], f"{r['mmac']:.1f}" if "mmac" in r else ""]
        for p in precisions:
            x = r.get(p)
            if x is None:
                cells += [r.get("record", "not run"), "", ""]
                continue
            verdict = x["verdict"] if x["ok"] or x["verdict"] != "ok" else "wrong"
            cells += [verdict, f"{x['ratio']:.3f}", f"{x['seconds']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n" + "\n".join(lines) + "\n"


def print_table(rows, args):
    head = ["kernel", "case", "seed", "schedule", "cluster", "MMAC"]
    precisions = [] if args.record_only else args.precision.split(",")
    for p in precisions:
        head += [p, "err/tol", "s"]
    if args.record_only:
        head += ["launch.json"]
    table = [head]
    for r in rows:
        line = [r["kernel"], r["case"], r.get("seed", "-"), r["schedule"], r["cluster"]]
        line += [f"{r['mmac']:.1f}" if "mmac" in r else "-"]
        for p in precisions:
            x = r.get(p)
            line += [x["verdict"], x["text"], f"{x['seconds']:.1f}"] if x else ["-", "-", "-"]
        if args.record_only:
            line += [r.get("record", "ok")]
        table.append(line)
    widths = [max(len(t[i]) for t in table) for i in range(len(head))]
    for t in table:
        print("  ".join(w.ljust(n) for w, n in zip(t, widths)).rstrip())
    for p in precisions:
        runs = [r[p] for r in rows if p in r]
        good = [x for x in runs if x["ok"] and x["verdict"] == "ok"]
        worst = max((x["ratio"] for x in good), default=0)
        seconds = sum(x["seconds"] for x in runs)
        print(f"{p}: {len(good)} of {len(rows)} ok, largest error/tolerance of these {worst:.3f}, {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
