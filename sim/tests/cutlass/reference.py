"""Input data, float64 references and bounds of the error they may differ by."""

import zlib

import ml_dtypes
import numpy as np

NUMPY = {
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f16": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
    "tf32": np.dtype(np.float32),
    "f8e4m3": np.dtype(ml_dtypes.float8_e4m3fn),
    "f8e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "s4": np.dtype(ml_dtypes.int4),
    "s8": np.dtype(np.int8),
    "u8": np.dtype(np.uint8),
    "s32": np.dtype(np.int32),
}
# Half a unit in the last place, relative; and half the smallest subnormal.
HALF_ULP = {
    "f32": (2.0**-24, 2.0**-150),
    "f16": (2.0**-11, 2.0**-25),
    "bf16": (2.0**-8, 2.0**-134),
    "f8e4m3": (2.0**-4, 2.0**-10),
    "f8e5m2": (2.0**-3, 2.0**-17),
    "s32": (0.0, 0.5),
    "s8": (0.0, 0.5),
}
LIMIT = {"f8e4m3": 448.0, "f8e5m2": 57344.0, "s8": (-128, 127)}
GUARD = 256


def fill_of(dtype, value):
    return np.array(value).astype(NUMPY[dtype])


class Rng:
    def __init__(self, seed, mode):
        self.g = np.random.default_rng(zlib.crc32(seed.encode()))
        self.mode = mode

    def data(self, dtype, shape, scale=1.0):
        """Values as the type holds them."""
        if dtype in ("s4", "s8", "u8", "s32"):
            lo, hi = {"s4": (-8, 8), "s8": (-128, 128), "u8": (0, 256), "s32": (-1000, 1000)}[dtype]
            return self.g.integers(lo, hi, shape).astype(NUMPY[dtype])
        if self.mode == "ints":
            return self.g.integers(-2, 3, shape).astype(np.float32).astype(NUMPY[dtype])
        x = (self.g.standard_normal(shape, dtype=np.float32) * np.float32(scale)).astype(NUMPY[dtype])
        if dtype == "tf32":  # no bits below those the format keeps
            x = (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
        return x


def save(folder, name, values):
    np.ascontiguousarray(values).tofile(folder / f"{name}.bin")


def f64(x):
    return x.astype(np.float64)


def accumulation(a, b, unit, terms, epsilon, promote=0, kept=0.0):
    """(a b^T, bound of its error) where every `unit` of K, `terms` + 1 addends
    are cut to `epsilon` of the largest, the sum is kept to `kept` of itself and,
    if `promote`, begins anew after that much of K and is added to a float total."""
    m, k = a.shape
    n = b.shape[0]
    total = np.zeros((m, n))
    part = np.zeros((m, n))
    bound = np.zeros((m, n))
    for at in range(0, k, unit):
        x, y = a[:, at : at + unit], b[:, at : at + unit]
        before = np.abs(part)
        part = part + x @ y.T
        product = np.abs(x).max(1)[:, None] * np.abs(y).max(1)[None, :]
        bound += (terms + 1) * epsilon * np.maximum(np.maximum(before, np.abs(part)), product)
        bound += kept * np.abs(part)
        if promote and (at + unit) % promote == 0:
            total = total + part
            part = np.zeros((m, n))
            bound += 2.0**-23 * np.abs(total)
    return total + part, bound


def multiply(spec, a, b, precision):
    """Product of two matrices of rows by K, with the bound of the accumulation."""
    types = (spec["a"], spec["b"])
    if spec["acc"] == "s32":
        return a @ b.T, np.zeros((a.shape[0], b.shape[0]))
    eight = all(t.startswith("f8") for t in types)
    unit = 32 if eight else 8 if "tf32" in types else 16
    epsilon = 2.0**-23
    kept = 2.0**-10 if spec["acc"] == "f16" else 0.0
    promote = 0
    if eight:
        if precision == "hardware":
            epsilon = 2.0**-13
        if not spec.get("fast"):
            promote = 128
    return accumulation(a, b, unit, unit, epsilon, promote, kept)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(x * (0.7978845608028654 + 0.7978845608028654 * 0.044715 * x * x)))


def silu(x):
    with np.errstate(over="ignore"):
        return x / (1 + np.exp(-x))


class Output:
    """What one saved buffer must hold."""

    def __init__(self, name, dtype, want, tolerance, guard=GUARD, fill=77):
        self.name, self.dtype, self.guard, self.fill = name, dtype, guard, fill
        self.want = np.asarray(want, dtype=np.float64).reshape(-1)
        self.tolerance = np.broadcast_to(np.asarray(tolerance, dtype=np.float64), np.shape(want)).reshape(-1)

    def check(self, folder):
        path = folder / f"{self.name}.out.bin"
        if not path.exists():
            return False, np.inf, np.inf, "no output"
        raw = np.fromfile(path, dtype=NUMPY[self.dtype])
        if raw.size != self.want.size + self.guard:
            return False, np.inf, np.inf, f"{raw.size} elements"
        if self.guard and (raw[self.want.size :] != fill_of(self.dtype, self.fill)).any():
            return False, np.inf, np.inf, "wrote past the end"
        have = f64(raw[: self.want.size])
        if have.size == 0:
            return True, 0.0, 0.0, ""
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.abs(have - self.want)
            error = np.where(have == self.want, 0, error)
            good = error <= self.tolerance
            ratio = np.where(error == 0, 0, error / self.tolerance)
        ratio = np.where(np.isnan(ratio), np.inf, ratio)
        text = ""
        if not good.all():
            i = int(np.argmin(good))
            text = f"{(~good).sum()} of {good.size} wrong, first [{i}] {have[i]:g} for {self.want[i]:g}"
        return bool(good.all()), float(np.nanmax(np.where(np.isnan(error), np.inf, error))), float(ratio.max()), text


class Checker:
    """`outputs(precision)` gives the list of Output."""

    def __init__(self, macs, outputs):
        self.macs, self.outputs = macs, outputs
        self.made = {}

    def check(self, folder, precision):
        if precision not in self.made:
            self.made[precision] = self.outputs(precision)
        ok, worst, ratio, texts = True, 0.0, 0.0, []
        for o in self.made[precision]:
            good, e, r, text = o.check(folder)
            ok = ok and good
            worst, ratio = max(worst, e), max(ratio, r)
            if text:
                texts.append(f"{o.name}: {text}")
        return {"ok": ok, "error": worst, "ratio": ratio, "text": "; ".join(texts[:3]) or f"{worst:.3g} {ratio:.3f}"}


def rounded(dtype, value, bound, epilogue):
    """Reference and tolerance after conversion to the output type."""
    relative, smallest = HALF_ULP[dtype]
    bound = bound + epilogue
    if dtype in LIMIT:
        lo, hi = LIMIT[dtype] if isinstance(LIMIT[dtype], tuple) else (-LIMIT[dtype], LIMIT[dtype])
        value = np.clip(value, lo, hi)
    if dtype in ("s8", "s32"):
        # Exact up to the rounding, ties to even.
        return np.rint(value), np.where(bound > 0, 1.0, 0.0)
    return value, bound + (np.abs(value) + bound) * relative * 1.0001 + smallest


def order(x, contiguous_rows):
    """Memory order of [L, rows, K] data: K fastest, or rows fastest."""
    return x if contiguous_rows else np.swapaxes(x, 1, 2)


def prepare_gemm(kernel, case, folder, rng):
    s = kernel.spec
    m, n, k, batch = case["m"], case["n"], case["k"], case.get("l", 1)
    alpha, beta = case.get("alpha", 1.0), case.get("beta", 0.0)
    a = rng.data(s["a"], (batch, m, k))
    b = rng.data(s["b"], (batch, n, k))
    if kernel.source == "sparse.cu":  # two of every four along K stay, of tf32 one of two
        group = 2 if s["a"] == "tf32" else 4
        keep = np.argsort(rng.g.random((batch, m, k // group, group)), axis=3) < group // 2
        a = np.where(keep.reshape(a.shape), a, np.zeros((), a.dtype))
    save(folder, "a", order(a, s["layout"][0] == "T"))
    save(folder, "b", order(b, s["layout"][1] == "N"))
    rows = s["ld"] == "RowMajor"
    c = None
    if s["c"] != "void":
        c = rng.data(s["c"], (batch, m, n))
        save(folder, "c", order(c, rows))
    fusion = s["fusion"]
    bias = None
    if fusion in (1, 2, 3):
        bias = rng.data("f32", (m,), 4.0)
    elif fusion == 4:
        bias = rng.data("f32", (n,), 4.0)
    if bias is not None:
        save(folder, "bias", bias)

    def outputs(precision):
        wants, tolerances = [], []
        aux = []
        for i in range(batch):
            acc, bound = multiply(s, f64(a[i]), f64(b[i]), precision)
            scale = alpha
            if fusion == 3:
                scale *= case.get("scale_a", 1) * case.get("scale_b", 1)
            z = scale * acc
            size = np.abs(z)
            if c is not None:
                cc = beta * f64(c[i]) * (case.get("scale_c", 1) if fusion == 3 else 1)
                z, size = z + cc, size + np.abs(cc)
            if bias is not None:
                bb = f64(bias)[None, :] if fusion == 4 else f64(bias)[:, None]
                z, size = z + bb, size + np.abs(bb)
            bound = abs(scale) * bound
            epilogue = size * 2.0**-21
            if s["acc"] == "s32" and alpha in (1.0, 0.5, 2.0**-10):
                epilogue = 0 * size  # float arithmetic on small whole numbers is exact
            if fusion == 1:
                z = np.maximum(z, 0)
            elif fusion == 2:
                # tanh.approx is good to 2^-10.987 relative
                epilogue = 1.2 * epilogue + np.abs(z) * 2.0**-11.9
                bound, z = 1.2 * bound, gelu(z)
            elif fusion == 4:
                epilogue = 1.2 * epilogue + np.abs(z) * 2.0**-20
                bound, z = 1.2 * bound, silu(z)
            elif fusion == 3:
                aux.append((z, bound + epilogue))
                z = np.maximum(z, 0)
            wants.append(z)
            tolerances.append((bound, epilogue))
        z = np.stack(wants)
        bound = np.stack([t[0] for t in tolerances])
        epilogue = np.stack([t[1] for t in tolerances])
        made = []
        if fusion == 3:
            # amax is of the activated value before the scale of the output.
            e = bound + epilogue
            made.append(Output("amax_d", "f32", [np.abs(z).max()], [e.max() + np.abs(z).max() * 2.0**-20], 0))
            az, ab = np.stack([x[0] for x in aux]), np.stack([x[1] for x in aux])
            made.append(Output("amax_aux", "f32", [np.abs(az).max()], [ab.max() + np.abs(az).max() * 2.0**-20], 0))
            q = case.get("scale_aux", 1)
            w, t = rounded(s["d"], az * q, ab * q, 0 * ab)
            made.append(Output("aux", s["d"], order(w, rows), order(t, rows)))
            q = case.get("scale_d", 1)
            z, bound, epilogue = z * q, bound * q, epilogue * q
        w, t = rounded(s["d"], z, bound, epilogue)
        made.append(Output("d", s["d"], order(w, rows), order(t, rows)))
        return made

    return Checker(batch * m * n * k, outputs)


def prepare_mixed(kernel, case, folder, rng):
    """A narrow A that becomes A * scale + zero, rounded to the type of B after each step."""
    s = kernel.spec
    m, n, k = case["m"], case["n"], case["k"]
    group, wide = kernel.defines["SCALEGROUP"], NUMPY[s["b"]]
    a, b = rng.data(s["a"], (m, k)), rng.data(s["b"], (n, k))
    shape = (-(-k // group), m)
    if kernel.defines["WITHZERO"]:
        # Everything is exact, whether the compiler fuses the steps or not.
        scale = rng.g.choice(np.array([0.5, 1, 2]), shape).astype(wide)
        zero = (f64(scale) * rng.g.integers(-16, 17, shape)).astype(wide)
        save(folder, "zero", zero)
    else:
        scale, zero = rng.data(s["b"], shape), np.zeros(shape, wide)
    save(folder, "scale", scale)
    save(folder, "b", b)
    if s["a"] == "s4":
        nibbles = a.astype(np.int8).view(np.uint8) & 15
        save(folder, "a", nibbles[:, 0::2] | nibbles[:, 1::2] << 4)
    else:
        save(folder, "a", a)

    def along_k(x):
        return np.repeat(x, group, axis=0)[:k].T

    def outputs(precision):
        # The first product is exact in f64, so that it is rounded once.
        scaled = (f64(a) * f64(along_k(scale))).astype(wide)
        expanded = (f64(scaled) + f64(along_k(zero))).astype(wide)
        z, bound = multiply(dict(s, a=s["b"]), f64(expanded), f64(b), precision)
        alpha = case.get("alpha", 1.0)
        w, t = rounded(s["d"], alpha * z, abs(alpha) * bound, np.abs(alpha * z) * 2.0**-22)
        return [Output("d", s["d"], w, t)]

    return Checker(m * n * k, outputs)


def scales(rng, rows, granularity, k):
    """Positive scales, [K blocks, row blocks]."""
    shape = ((k + 127) // 128, (rows + granularity - 1) // granularity)
    if rng.mode == "ints":
        return rng.g.choice(np.array([0.5, 1, 2], np.float32), shape)
    return rng.g.uniform(0.25, 2.0, shape).astype(np.float32)


def blockwise_product(s, a, b, sa, sb, gm, gn, precision):
    """Sum over blocks of 128 of K of the block's product times the scales."""
    total = np.zeros((a.shape[0], b.shape[0]))
    bound = np.zeros_like(total)
    for i in range(0, a.shape[1], 128):
        part, e = multiply(dict(s, fast=True), f64(a[:, i : i + 128]), f64(b[:, i : i + 128]), precision)
        fa = np.repeat(f64(sa[i // 128]), gm)[: a.shape[0]]
        fb = np.repeat(f64(sb[i // 128]), gn)[: b.shape[0]]
        f = fa[:, None] * fb[None, :]
        total += part * f
        bound += e * f + np.abs(part * f) * 2.0**-22 + np.abs(total) * 2.0**-23
    return total, bound


def prepare_blockwise(kernel, case, folder, rng):
    s = kernel.spec
    m, n, k = case["m"], case["n"], case["k"]
    gm, gn = kernel.defines["SGM"], kernel.defines["SGN"]
    a, b = rng.data(s["a"], (m, k)), rng.data(s["b"], (n, k))
    sa, sb = scales(rng, m, gm, k), scales(rng, n, gn, k)
    for name, x in (("a", a), ("b", b), ("sa", sa), ("sb", sb)):
        save(folder, name, x)

    def outputs(precision):
        z, bound = blockwise_product(s, a, b, sa, sb, gm, gn, precision)
        z, bound = z * case.get("alpha", 1), bound * case.get("alpha", 1)
        w, t = rounded(s["d"], z, bound, np.abs(z) * 2.0**-22)
        if s["ld"] != "RowMajor":
            w, t = w.T, t.T
        return [Output("d", s["d"], w, t)]

    return Checker(m * n * k, outputs)


def prepare_grouped(kernel, case, folder, rng):
    s = kernel.spec
    alpha, beta = case.get("alpha", 1.0), case.get("beta", 0.0)
    block = kernel.defines.get("BLOCKWISE", 0)
    groups, macs = [], 0
    for g in range(case["groups"]):
        m, n, k = case[f"m{g}"], case[f"n{g}"], case[f"k{g}"]
        macs += m * n * k
        x = {"g": g, "m": m, "n": n}
        # A group without rows still has one, so that its buffer is no empty file.
        x["a"] = rng.data(s["a"], (max(m, 1), k))
        x["b"] = rng.data(s["b"], (max(n, 1), k))
        save(folder, f"a{g}", x["a"] if s["layout"][0] == "T" else x["a"].T)
        save(folder, f"b{g}", x["b"] if s["layout"][1] == "N" else x["b"].T)
        if s["c"] != "void":
            x["c"] = rng.data(s["c"], (max(m, 1), max(n, 1)))
            save(folder, f"c{g}", x["c"] if s["ld"] == "RowMajor" else x["c"].T)
        if block:
            x["sa"] = scales(rng, max(m, 1), kernel.defines["SGM"], k)
            x["sb"] = scales(rng, max(n, 1), kernel.defines["SGN"], k)
            save(folder, f"sa{g}", x["sa"])
            save(folder, f"sb{g}", x["sb"])
        groups.append(x)

    def outputs(precision):
        made = []
        for x in groups:
            a, b = x["a"][: x["m"]], x["b"][: x["n"]]
            if x["m"] * x["n"] == 0:
                made.append(Output(f"d{x['g']}", s["d"], np.zeros(0), np.zeros(0)))
                continue
            if block:
                z, bound = blockwise_product(
                    s, a, b, x["sa"], x["sb"], kernel.defines["SGM"], kernel.defines["SGN"], precision
                )
            else:
                z, bound = multiply(s, f64(a), f64(b), precision)
            z, bound = alpha * z, abs(alpha) * bound
            size = np.abs(z)
            if "c" in x:
                cc = beta * f64(x["c"])
                z, size = z + cc, size + np.abs(cc)
            w, t = rounded(s["d"], z, bound, size * 2.0**-22)
            if s["ld"] != "RowMajor":
                w, t = w.T, t.T
            made.append(Output(f"d{x['g']}", s["d"], w, t))
        return made

    return Checker(macs, outputs)


def prepare_cute_tma(kernel, case, folder, rng):
    t = kernel.spec["t"]
    m, n = case["m"], case["n"]
    x = rng.data(t, (m, n))
    save(folder, "in", x)
    w = 16 // NUMPY[t].itemsize

    def tiles(matrix, ti, tj):
        gi, gj = -(-m // ti), -(-n // tj)
        full = np.zeros((gi * ti, gj * tj))
        full[:m, :n] = matrix
        return full.reshape(gi, ti, gj, tj).transpose(0, 2, 1, 3)

    def outputs(_precision):
        made = []
        rows, columns = f64(x), f64(x.reshape(n, m).T)
        for name, matrix, ti, tj in [
            ("k_none", rows, 64, w),
            ("k_32", rows, 64, 2 * w),
            ("k_64", rows, 32, 4 * w),
            ("k_128", rows, 64, 8 * w),
            ("k_128w", rows, 16, 16 * w),
            ("mn_none", columns, w, 32),
            ("mn_32", columns, 2 * w, 32),
            ("mn_64", columns, 4 * w, 16),
            ("mn_128", columns, 8 * w, 32),
        ]:
            memory = matrix if name[0] == "k" else matrix.T
            made.append(Output(name + "_flat", t, tiles(matrix, ti, tj), 0))
            made.append(Output(name + "_store", t, -memory, 0))
            if NUMPY[t].itemsize == 1:
                made.append(Output(name + "_add", t, -memory, 0, fill=2))
            else:
                want = 2 - memory
                bound = np.abs(want) * HALF_ULP[t][0] * 1.0001 + HALF_ULP[t][1]
                made.append(Output(name + "_add", t, want, bound, fill=2))
        for name, ti, tj, copies in (("multicast2", 64, 8 * w, 2), ("multicast4", 64, 4 * w, 4)):
            one = tiles(rows, ti, tj)[:, 0]
            made.append(Output(name, t, np.repeat(one, copies, axis=0), 0))
        return made

    return Checker(0, outputs)


def prepare_cute_mma(kernel, case, folder, rng):
    s = kernel.spec
    m, n, k = s["tile"]
    a, b = rng.data(s["a"], (m, k)), rng.data(s["b"], (n, k))
    save(folder, "a", a)
    save(folder, "b", b)
    names = s["outputs"]

    def outputs(precision):
        made = []
        for name in names:
            x, y = f64(a), f64(b)
            if s["memory_major"]:
                # The letters say which dimension the bytes have contiguous.
                x = f64(a) if name[0] == "k" else f64(a.reshape(k, m).T)
                y = f64(b) if name[1] == "k" else f64(b.reshape(k, n).T)
            z, bound = multiply(dict(s, fast=True), x, y, precision)
            w, t = rounded(s["d"], z, bound, 0)
            if s["memory_major"] and name in ("km", "mm"):
                w, t = w.T, t.T
            made.append(Output(name, s["d"], w, t))
        return made

    return Checker(m * n * k * len(names), outputs)


def prepare_attention(kernel, case, folder, rng):
    s = kernel.spec
    batch, heads, q, kv, d = (case[x] for x in ("b", "h", "q", "k", "d"))
    x = rng.data(s["a"], (batch, heads, q, d))
    y = rng.data(s["a"], (batch, heads, kv, d))
    z = rng.data(s["a"], (batch, heads, kv, d))
    for name, v in (("q", x), ("k", y), ("v", z)):
        save(folder, name, v)
    scale = 1 / np.sqrt(d)

    def outputs(_precision):
        scores = f64(x) @ np.swapaxes(f64(y), 2, 3) * scale
        if s["causal"]:
            # rows count from the top
            scores = np.where(np.arange(kv)[None, :] <= np.arange(q)[:, None], scores, -np.inf)
        top = scores.max(3, keepdims=True)
        p = np.exp(scores - top)
        total = p.sum(3, keepdims=True)
        want = (p / total) @ f64(z)
        # Probabilities are rounded to the input type before the second product.
        spread = (p / total) @ np.abs(f64(z))
        relative = HALF_ULP[s["a"]][0] * 2 + 2.0**-18
        tolerance = spread * relative + np.abs(want) * HALF_ULP[s["d"]][0] + 1e-6
        lse = np.log(total[..., 0]) + top[..., 0]
        return [
            Output("o", s["d"], want, tolerance),
            Output("lse", "f32", lse, np.abs(lse) * 2.0**-18 + 2.0**-14),
        ]

    return Checker(2 * batch * heads * q * kv * d, outputs)


KINDS = {
    "gemm": prepare_gemm,
    "mixed": prepare_mixed,
    "blockwise": prepare_blockwise,
    "grouped": prepare_grouped,
    "cute_tma": prepare_cute_tma,
    "cute_mma": prepare_cute_mma,
    "attention": prepare_attention,
}


def prepare(kernel, case, folder, mode, seed):
    rng = Rng(f"{kernel.name} {sorted(case.items())} {seed}", mode)
    return KINDS[kernel.kind](kernel, case, folder, rng)
