#!/usr/bin/env python3
"""Runs the Triton kernels of the cases under Triton's own interpreter (numpy, no GPU, no PTX) and compares with the
expected outputs: a check of the expectations that does not involve the simulator.  check_interpreter.py [NAME...]"""
import os
import sys
import traceback
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"
HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE / "defs")
sys.dont_write_bytecode = True
import numpy as np
import triton
import triton.language as tl
from triton.runtime import interpreter
from triton.tools.tensor_descriptor import TensorDescriptor
import base

interpreter.GridExecutor._init_args_hst = lambda self, args, kwargs: (args, kwargs)
interpreter.GridExecutor._restore_args_dev = lambda *a: None
_dot = interpreter.InterpreterBuilder.create_dot


def create_dot(self, a, b, d, *rest):
    """The interpreter multiplies bf16 operands as the integers it keeps them in: widen them first."""
    def up(h):
        return interpreter.TensorHandle((h.data.astype(np.uint32) << 16).view(np.float32), tl.float32) if h.dtype.scalar == tl.bfloat16 else h
    return _dot(self, up(a), up(b), d, *rest)


interpreter.InterpreterBuilder.create_dot = create_dot
TYPES = {"u8": tl.uint8, "s8": tl.int8, "u16": tl.uint16, "s16": tl.int16, "u32": tl.uint32, "s32": tl.int32, "u64": tl.uint64, "s64": tl.int64,
         "f16": tl.float16, "bf16": tl.bfloat16, "f32": tl.float32, "f64": tl.float64, "f8e4m3": tl.float8e4nv, "f8e5m2": tl.float8e5}


class Tensor:
    def __init__(self, a):
        self.a, self.dtype, self.shape = a, TYPES[base.dt(a)], a.shape

    def data_ptr(self):
        return self.a.ctypes.data

    def stride(self):
        return [s // self.a.itemsize for s in self.a.strides]


def tri(name, mod, fn, what, sig, consts, archs=(), opts=None, **kw):
    def deco(fill):
        if sys.argv[1:] and not any(name.startswith(s) for s in sys.argv[1:]):
            return fill
        c = base.Case(name, what)
        mem = {}

        def get(buf):
            if buf not in mem:
                b = c.buffers[buf]
                if "file" in b:
                    mem[buf] = c.data[b["file"]].copy()
                else:
                    w = c.data[c.outs[buf]["file"]]
                    mem[buf] = np.zeros_like(w)
            return Tensor(mem[buf])

        def go(grid, args, **_):
            out = []
            for a in args:
                if isinstance(a, str):
                    out.append(get(a))
                elif isinstance(a, dict):
                    out.append(next(iter(a.values())))
                else:
                    blk = [int(v) for v in sig[fnames[len(out)]].split("[")[1].split("]")[0].split(",")]
                    out.append(TensorDescriptor(get(a.buffer), list(a.shape), list(a.strides), blk))
            f[tuple(grid)](*out, **consts)
        f = getattr(ns["kernel_module"](mod), fn)
        fnames = list(sig)
        try:
            fill(c, go)
            msg = []
            for o, e in c.outs.items():
                w, g = c.data[e["file"]].astype(np.float64), mem[o].astype(np.float64)
                err = np.abs(g - w) - (e["abs"] + e["rel"] * np.abs(w))
                bad = int((~(err <= 0) & ~(np.isnan(g) & np.isnan(w))).sum())
                msg.append(f"{o}: {bad} of {w.size} outside" if bad else f"{o} ok")
            print(name, "; ".join(msg), flush=True)
        except Exception as x:
            print(name, "NOT RUN", repr(x)[:200], flush=True)
            if os.environ.get("TRACE"):
                traceback.print_exc()
        return fill
    return deco


text = (HERE / "defs" / "triton_cases.py").read_text().replace("def tri(", "def _tri(", 1)
ns = {"__file__": str(HERE / "defs" / "triton_cases.py"), "__name__": "triton_cases", "tri": tri}
exec(compile(text, "triton_cases.py", "exec"), ns)
