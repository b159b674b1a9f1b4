"""What the case definitions share: declaring a case, writing its files, rounding helpers.

Tolerances.  A float output is compared as |got - want| <= abs + rel * |want|.
With u = 2^-(p) the unit roundoff of the output format (p = 24 f32, 11 f16, 8 bf16, 53 f64,
4 e4m3, 3 e5m2):
  * one correctly rounded operation: `exact` where numpy gives the correctly rounded result;
  * a sum of k products accumulated in f32 in any order: abs = 2 k 2^-24 sum|a_i b_i|max, which
    covers every association of the sum (the bound is k*u; the 2 covers tensor cores that
    truncate the aligned addends instead of rounding them), then one rounding to the output
    format: rel = u_out * 1.01;
  * a PTX `.approx` instruction: the bound the PTX ISA documents for it;
  * a libdevice function: the ulp bound of the CUDA C++ programming guide, doubled.
  * fp8 tensor cores on Hopper: `hardware` widens abs by k/32 * 2^-12 * max|a b| sums
    (13 fractional bits of the aligned maximum, truncated, per instruction of depth 32).
"""
import json, math, os
from fractions import Fraction
import numpy as np
import ml_dtypes

bf16 = ml_dtypes.bfloat16
e4m3 = ml_dtypes.float8_e4m3fn
e5m2 = ml_dtypes.float8_e5m2
f16, f32, f64 = np.float16, np.float32, np.float64

_DT = {"uint8": "u8", "int8": "s8", "uint16": "u16", "int16": "s16", "uint32": "u32", "int32": "s32",
       "uint64": "u64", "int64": "s64", "float16": "f16", "float32": "f32", "float64": "f64",
       "bfloat16": "bf16", "float8_e4m3fn": "f8e4m3", "float8_e5m2": "f8e5m2"}
UNIT = {"f16": 2.0**-11, "bf16": 2.0**-8, "f32": 2.0**-24, "f64": 2.0**-53, "f8e4m3": 2.0**-4, "f8e5m2": 2.0**-3}


def dt(a):
    return _DT[np.asarray(a).dtype.name]


def rng(seed):
    return np.random.Generator(np.random.PCG64(seed))


# ---------------------------------------------------------------- case declaration
CASES = []          # every Case, in order of declaration


class Case:
    def __init__(self, name, what):
        self.name, self.what = name, what
        self.buffers, self.data, self.outs = {}, {}, {}
        self.launches, self.stdout = [], None
        self.alias = None            # name of the case whose .bin files this one uses
        self.module = None           # ("cuda", file, arch, opt) or ("triton", key)
        self.devices = 1

    # buffers
    def inp(self, name, arr, **kw):
        arr = np.ascontiguousarray(arr)
        self.buffers[name] = {"dtype": dt(arr), "shape": list(arr.shape), "file": f"{name}.bin", **kw}
        self.data[f"{name}.bin"] = arr
        return name

    def out(self, name, want, abs=0.0, rel=0.0, exact=None, hw=None, fill="poison", inp=None, **kw):
        want = np.ascontiguousarray(want)
        b = {"dtype": dt(want), "shape": list(want.shape)}
        if inp is not None:
            inp = np.ascontiguousarray(inp)
            assert inp.dtype == want.dtype and inp.shape == want.shape
            b["file"] = f"{name}.bin"
            self.data[f"{name}.bin"] = inp
        else:
            b["fill"] = fill
        b["save"] = f"{name}.out.bin"
        b.update(kw)
        self.buffers[name] = b
        isint = want.dtype.kind in "iu"
        if exact is None:
            exact = isint or (abs == 0 and rel == 0)
        e = {"file": f"{name}.expected.bin", "dtype": dt(want), "abs": float(abs), "rel": float(rel), "exact": bool(exact)}
        if hw:
            e["hardware"] = hw
        self.outs[name] = e
        self.data[f"{name}.expected.bin"] = want
        return name

    def scratch(self, name, dtype, shape, fill=0, **kw):
        self.buffers[name] = {"dtype": dtype, "shape": list(shape), "fill": fill, **kw}
        return name

    def launch(self, kernel, grid, block, args, smem=0, cluster=(1, 1, 1), **kw):
        def d3(x):
            x = [x] if isinstance(x, int) else list(x)
            return x + [1] * (3 - len(x))
        a = []
        for v in args:
            if isinstance(v, str):
                v = {"buffer": v}
            a.append(v)
        l = {"device": kw.pop("device", 0), "module": None, "kernel": kernel, "grid": d3(grid), "block": d3(block),
             "cluster": d3(cluster), "dynamic_smem": smem, "args": a}
        l.update(kw)
        self.launches.append(l)


def u8(v): return {"u8": int(v)}
def u32(v): return {"u32": int(v)}
def s32(v): return {"s32": int(v)}
def u64(v): return {"u64": int(v)}
def s64(v): return {"s64": int(v)}
def F32(v): return {"f32": float(v)}
def F64(v): return {"f64": float(v)}


def tmap(buffer, dtype, dims, strides, box, swizzle="none", offset=0, es=None, l2="none", oob="zero", interleave="none"):
    return {"tensor_map": {"buffer": buffer, "offset": offset, "dtype": dtype, "dims": list(dims), "strides": list(strides),
                           "box": list(box), "element_strides": list(es or [1] * len(dims)), "interleave": interleave,
                           "swizzle": swizzle, "l2_promotion": l2, "oob_fill": oob}}


def cuda(name, src, what, variants=("90a.o3",)):
    """Declares one case per variant ("<arch>.<opt>"); the body fills in the first, the others share its data."""
    def deco(fn):
        for i, v in enumerate(variants):
            arch, opt = v.split(".")
            c = Case(name if i == 0 else f"{name}.sm{arch}-{opt}", what)
            if i:
                c.alias = name
            c.module = ("cuda", src, arch, opt)
            c.fill = fn
            c.variant = v
            CASES.append(c)
        return fn
    return deco


# ---------------------------------------------------------------- rounding
def rnd(x, p, emin, emax, mode="rn", sat=False):
    """Rounds the Fraction x to p significant bits, exponents emin..emax (of the leading bit), to a Python float.
    mode rn (ties to even) rz ru rd.  Overflow gives inf or the largest finite value as the mode says."""
    if x == 0:
        return 0.0
    s = -1 if x < 0 else 1
    a = abs(x)
    e = a.numerator.bit_length() - a.denominator.bit_length()
    if Fraction(2) ** e > a:
        e -= 1
    e = max(e, emin)
    q = Fraction(2) ** (e - p + 1)
    n = a / q
    fl = n.numerator // n.denominator
    r = n - fl
    up = {"rn": r > Fraction(1, 2) or (r == Fraction(1, 2) and fl & 1), "rz": False,
          "ru": r > 0 and s > 0, "rd": r > 0 and s < 0}[mode]
    v = (fl + (1 if up else 0)) * q
    big = (2 - Fraction(2) ** (1 - p)) * Fraction(2) ** emax
    if v > big:
        if mode == "rz" or (mode == "ru" and s < 0) or (mode == "rd" and s > 0) or sat:
            v = big
        else:
            return s * math.inf
    return s * float(v)


FMT = {"f32": (24, -126, 127), "f64": (53, -1022, 1023), "f16": (11, -14, 15), "bf16": (8, -126, 127)}


def rfmt(x, fmt, mode="rn"):
    return rnd(Fraction(x), *FMT[fmt], mode=mode)


def fr(x):
    return Fraction(float(x))


