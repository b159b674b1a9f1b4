#!/usr/bin/env python3
"""Regenerates the kernel cases: sources -> PTX, launch.json, inputs and expected outputs.

  build.py                 everything
  build.py NAME...         the cases whose name starts with one of NAME (PTX they need included)
  build.py --list          names only
  build.py --no-ptxas      skip the check that ptxas assembles every PTX
  build.py --data-only     rewrite launch.json/expect.json/*.bin, leave the PTX as it is

Needs Python 3.10+ with numpy, ml_dtypes and (for the Triton cases) triton 3.9; nvcc, cicc and ptxas 13.5 on
PATH, or NVCC / PTXAS set; CUDA_INCLUDE and CCCL_INCLUDE override the include folders derived from nvcc's place.
The bytes written depend on the sources and on the compiler versions only.
"""
import importlib, json, os, re, shutil, subprocess, sys, tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE / "defs")
sys.dont_write_bytecode = True

import numpy as np
import base


def tool(env, name):
    t = os.environ.get(env) or shutil.which(name)
    if not t:
        sys.exit(f"{name} not found: put it on PATH or set {env}")
    return Path(t).resolve()


OPT = {"o3": [], "o1": ["-Xcicc", "-O1"], "o0": ["-Xcicc", "-O0"], "g": ["-G"], "li": ["-lineinfo"],
       "src": ["-lineinfo", "--source-in-ptx"], "fm": ["-use_fast_math"], "ftz": ["-ftz=true"], "nofma": ["-fmad=false"],
       "approx": ["-prec-div=false", "-prec-sqrt=false"]}


def compile_cuda(src, arch, opt, out):
    nvcc = tool("NVCC", "nvcc")
    root = nvcc.parent.parent
    inc = os.environ.get("CUDA_INCLUDE") or str(root / "include")
    cccl = os.environ.get("CCCL_INCLUDE")
    incs = ["-I" + inc] + ["-I" + str(p) for p in ([Path(cccl)] if cccl else [root / "include/cccl", root / "cccl/include"]) if p.is_dir()]
    env = dict(os.environ, PATH=f"{root/'bin'}:{root/'nvvm/bin'}:{os.environ['PATH']}")
    # names of internal functions hash the paths, debug information holds them: compile a copy at a place
    # that does not depend on the checkout
    cwd = Path(tempfile.gettempdir()) / "kernels"
    cwd.mkdir(exist_ok=True)
    shutil.copy(HERE / "cuda" / src, cwd / src)
    tmp = cwd / "k.ptx"
    cmd = [str(nvcc), "-ptx", f"-arch=sm_{arch}", "-std=c++17", "-w", *incs, *OPT[opt], src, "-o", tmp.name]
    r = subprocess.run(cmd, cwd=cwd, env=env, capture_output=True, text=True)
    if r.returncode:
        raise RuntimeError(f"{src} {arch} {opt}: {r.stderr[-3000:]}{r.stdout[-1000:]}")
    out.write_bytes(tmp.read_bytes())
    tmp.unlink()


def leave_out_places(ptx):
    """Line information names files: not where this machine has the compiler and the copy of the source."""
    sources = os.fsencode(Path(tempfile.gettempdir()) / "kernels") + b"/"
    lines = ptx.read_bytes().split(b"\n")
    named = lambda line: line.lstrip().startswith(b".file") or line.startswith(b"///")
    tidy = lambda line: re.sub(rb"/[^\s\"]*/include/", b"include/", line.replace(sources, b""))
    # what --source-in-ptx quotes is behind its own two slashes
    ptx.write_bytes(b"\n".join((line[:2] + tidy(line[2:]) if named(line) else line) for line in lines))


def ptxas_check(ptx):
    text = ptx.read_text()
    arch = re.search(r"^\.target\s+(sm_\w+)", text, re.M).group(1)
    with tempfile.TemporaryDirectory(prefix="rq") as d:
        r = subprocess.run([str(tool("PTXAS", "ptxas")), f"-arch={arch}", str(ptx), "-o", f"{d}/o.cubin"], capture_output=True, text=True)
    if r.returncode:
        raise RuntimeError(f"ptxas {ptx.name}: {r.stderr[-3000:]}")
    return r.stderr.strip()


PSIZE = {"8": 1, "16": 2, "32": 4, "64": 8}
ASIZE = {"u8": 1, "u16": 2, "u32": 4, "s32": 4, "f32": 4, "u64": 8, "s64": 8, "f64": 8, "buffer": 8}


def entry_params(text, kernel):
    m = re.search(r"\.entry\s+" + re.escape(kernel) + r"\s*\(([^{}]*?)\)\s*(?:\.|\{|$)", text, re.S)
    if not m:
        m2 = re.search(r"\.entry\s+" + re.escape(kernel) + r"\s*(\(\s*\))?\s*[\.\{\n]", text)
        if not m2:
            raise RuntimeError(f"no entry {kernel}")
        return []
    out = []
    for p in m.group(1).split(","):
        q = re.search(r"\.[busf](8|16|32|64)\b", p)
        n = re.search(r"\[(\d+)\]", p)
        out.append(PSIZE[q.group(1)] * (int(n.group(1)) if n else 1))
    return out


def arg_size(a):
    if "bytes" in a:
        return len(a["bytes"]) // 2
    if "tensor_map" in a:
        return 128
    if "struct" in a:
        return a["struct"]["size"]
    return ASIZE[next(k for k in a if k != "offset")]


def dump(o):
    """JSON with one line per buffer, launch argument or output."""
    def enc(v, ind):
        flat = json.dumps(v)
        if len(flat) + ind <= 150 or not isinstance(v, (dict, list)):
            return flat
        pad = " " * (ind + 2)
        if isinstance(v, dict):
            return "{\n" + ",\n".join(f"{pad}{json.dumps(k)}: {enc(w, ind + 2)}" for k, w in v.items()) + "\n" + " " * ind + "}"
        return "[\n" + ",\n".join(pad + enc(w, ind + 2) for w in v) + "\n" + " " * ind + "]"
    return enc(o, 0) + "\n"


def write_case(c, ptx_name):
    d = HERE / "cases" / c.name
    shutil.rmtree(d, ignore_errors=True)
    d.mkdir(parents=True)
    c.fill(c)
    text = (HERE / "ptx" / ptx_name).read_text()
    pre = f"../{c.alias}/" if c.alias else ""
    for l in c.launches:
        l["module"] = f"../../ptx/{ptx_name}"
        want, have = entry_params(text, l["kernel"]), [arg_size(a) for a in l["args"]]
        if want != have:
            raise RuntimeError(f"{c.name}: {l['kernel']} takes {want}, launch gives {have}")
    for b in c.buffers.values():
        if "file" in b:
            b["file"] = pre + b["file"]
    for e in c.outs.values():
        e["file"] = pre + e["file"]
    (d / "launch.json").write_text(dump({"devices": c.devices, "buffers": c.buffers, "launches": c.launches}))
    x = {"what": c.what, "outputs": c.outs}
    if c.stdout is not None:
        x["stdout"] = c.stdout
    (d / "expect.json").write_text(dump(x))
    if not c.alias:
        for f, a in c.data.items():
            (d / f).write_bytes(a.tobytes())


def readme(cases):
    """Rewrites the table of cases in README.md."""
    rows, order = {}, []
    for c in cases:
        k = c.alias or c.name
        if k not in rows:
            rows[k] = (c.what, c.module[1], [])
            order.append(k)
        rows[k][2].append(c.module[2] + "." + c.module[3] if c.module[0] == "cuda" else c.module[1].rsplit(".sm", 1)[1])
    src = lambda m: m if m.endswith(".cu") else "triton"
    t = "| case | source | variants | what |\n| --- | --- | --- | --- |\n" + "".join(
        f"| `{k}` | {src(rows[k][1])} | {' '.join(rows[k][2])} | {rows[k][0]} |\n" for k in order)
    p = HERE / "README.md"
    head = p.read_text().split("<!-- table -->")[0]
    p.write_text(head + "<!-- table -->\n" + t)


def main():
    flags = {a for a in sys.argv[1:] if a.startswith("--")}
    sel = [a for a in sys.argv[1:] if not a.startswith("--")]
    for m in sorted(p.stem for p in (HERE / "defs").glob("*_cases.py")):
        importlib.import_module(m)
    cases = [c for c in base.CASES if not sel or any(c.name.startswith(s) for s in sel)]
    assert len({c.name for c in base.CASES}) == len(base.CASES), "names repeat"
    if "--list" in flags:
        print("\n".join(c.name for c in cases))
        return
    (HERE / "ptx").mkdir(exist_ok=True)
    done, bad = {}, 0
    for c in cases:
        try:
            kind = c.module[0]
            if kind == "cuda":
                _, src, arch, opt = c.module
                name = f"{src[:-3]}.sm{arch}-{opt}.ptx"
                build = lambda p: compile_cuda(src, arch, opt, p)
            else:
                name = c.module[1] + ".ptx"
                build = c.build
            p = HERE / "ptx" / name
            if name not in done:
                done[name] = None
                if "--data-only" not in flags or not p.exists():
                    build(p)
                    leave_out_places(p)
                    if "--no-ptxas" not in flags:
                        w = ptxas_check(p)
                        if w:
                            print(f"  {name}: {w[:300]}")
            write_case(c, name)
            print("ok", c.name, flush=True)
        except Exception as e:
            bad += 1
            print("FAILED", c.name, e if isinstance(e, RuntimeError) else repr(e), flush=True)
            if not isinstance(e, RuntimeError):
                import traceback
                traceback.print_exc()
    if not sel:
        readme(base.CASES)
        live = {f"{c.module[1][:-3]}.sm{c.module[2]}-{c.module[3]}.ptx" if c.module[0] == "cuda" else c.module[1] + ".ptx" for c in base.CASES}
        for p in (HERE / "ptx").iterdir():
            if p.name not in live:
                p.unlink()
        names = {c.name for c in base.CASES}
        for p in (HERE / "cases").iterdir():
            if p.name not in names:
                shutil.rmtree(p)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
