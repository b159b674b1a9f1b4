"""Integer arithmetic: Python integers, wrapped by hand."""
from base import *


def U(v, w=32): return int(v) & ((1 << w) - 1)
def S(v, w=32):
    v = U(v, w)
    return v - (1 << w) if v >> (w - 1) else v
def tdiv(a, b): return -(-a // b) if (a < 0) != (b < 0) and a % b else a // b
def cdiv(a, b):
    q = abs(a) // abs(b)
    return q if (a < 0) == (b < 0) else -q
def cmod(a, b): return a - cdiv(a, b) * b
def popc(v): return bin(v).count("1")
def brev(v, w): return int(format(v, f"0{w}b")[::-1], 2)
def hb(v): return v.bit_length() - 1
def bfind(v, w, signed, shift):
    if signed and v >> (w - 1):
        v = U(~v, w)
    if v == 0:
        return -1
    return w - 1 - hb(v) if shift else hb(v)
def bfe(v, pos, ln, w, signed):
    sb = (v >> min(pos + ln - 1, w - 1)) & 1 if signed and ln else 0
    return sum((((v >> (pos + i)) & 1) if i < ln and pos + i < w else sb) << i for i in range(w))
def bfi(a, b, pos, ln, w):
    for i in range(ln):
        if pos + i < w:
            b = b & ~(1 << (pos + i)) | ((a >> i) & 1) << (pos + i)
    return b
def byts(v, n=4): return [(v >> (8 * i)) & 255 for i in range(n)]
def prmt(a, b, sel):
    by = byts(a) + byts(b)
    r = 0
    for i in range(4):
        s = (sel >> (4 * i)) & 15
        x = by[s & 7]
        if s & 8:
            x = 255 if x & 128 else 0
        r |= x << (8 * i)
    return r
def pick(a, b, idx):
    by = byts(a) + byts(b)
    return sum(by[j] << (8 * i) for i, j in enumerate(idx))
def lop3(a, b, c, lut): return sum(((lut >> (((a >> i) & 1) << 2 | ((b >> i) & 1) << 1 | (c >> i) & 1)) & 1) << i for i in range(32))
def shf_l(lo, hi, n): return U(((hi << 32 | lo) << n) >> 32)
def shf_r(lo, hi, n): return U((hi << 32 | lo) >> n)
def dp4(a, b, c, sa, sb): return c + sum((S(p, 8) if sa else p) * (S(q, 8) if sb else q) for p, q in zip(byts(a), byts(b)))
def dp2(a, b, c, sa, sb, hi):
    h = [a & 0xffff, a >> 16]
    q = byts(b)[2:] if hi else byts(b)[:2]
    return c + sum((S(x, 16) if sa else x) * (S(y, 8) if sb else y) for x, y in zip(h, q))
def fns(mask, base_, off):
    if off == 0:
        return base_ if (mask >> base_) & 1 else -1
    pos, cnt, inc = base_, abs(off) - 1, 1 if off > 0 else -1
    while 0 <= pos < 32:
        if (mask >> pos) & 1:
            if cnt == 0:
                return pos
            cnt -= 1
        pos += inc
    return -1
def bmsk(a, b, clamp):
    if not clamp:
        a, b = a & 31, b & 31
    m0 = 0 if a >= 32 else U(-1 << a)
    m1 = 0 if a + b >= 32 or b >= 32 else U(-1 << (a + b))
    return m0 & ~m1
def szext(a, b, clamp, signed):
    if not clamp:
        b &= 31
    if clamp and b >= 32:
        return a
    m = U(-1 << b)
    sb = signed and b and (a >> (b - 1)) & 1
    return (a & ~m) | (m if sb else 0)
def sat32(v): return max(-2**31, min(2**31 - 1, v))


EDGE32 = [0, 1, -1, 2, -2, 31, 32, 33, 255, 256, 0x7fffffff, -0x80000000, -0x7fffffff, 0x00ffffff, 0x00800000, -0x800000, 0x0f0f0f0f, 0x12345678]
EDGE64 = [0, 1, -1, 2, -3, 63, 64, 2**31, -2**31, 2**32, 2**63 - 1, -2**63, -2**63 + 1, 0x0123456789abcdef, 2**53 + 1]


def mix(seed, n, edges, w):
    r = rng(seed)
    v = [S(int(x), w) for x in r.integers(0, 2**64, n, dtype=np.uint64)]
    for i in range(n):
        k = r.integers(0, 4)
        if k == 0:
            v[i] = edges[int(r.integers(0, len(edges)))]
        elif k == 1:
            v[i] >>= int(r.integers(0, w))
    return [S(x, w) for x in v]


N = 203


def rows(vals, w):
    """vals[i] = the results of element i -> array [rows, N] of signed w-bit."""
    return np.array([[S(r, w) for r in e] for e in vals], dtype=np.dtype(f"i{w//8}")).T.copy()


@cuda("int32", "int_arith.cu", "32-bit integer arithmetic, CUDA intrinsics, signed and unsigned",
      ("90a.o3", "80.o3", "90a.o1", "90a.o0", "90a.g"))
def _(c):
    A, B, C = mix(1, N, EDGE32, 32), mix(2, N, EDGE32, 32), mix(3, N, EDGE32, 32)
    res = []
    for x, y, z in zip(A, B, C):
        ux, uy, uz = U(x), U(y), U(z)
        d = 7 if y in (0, -1) else y
        res.append([
            ux + uy, ux - uy, ux * uy, (x * y) >> 32, (ux * uy) >> 32,
            cdiv(x, d), cmod(x, d), ux // (uy | 1), ux % (uy | 1),
            min(x, y), max(x, y), min(ux, uy), max(ux, uy), ux * uy + uz,
            5 if x == -2**31 else abs(x), -ux, ~x, x & y, x | y, x ^ y,
            ux << (uy & 31), ux >> (uy & 31), x >> (uy & 31),
            popc(ux), 32 - ux.bit_length(), (ux & -ux).bit_length(), brev(ux, 32),
            prmt(ux, uy, uz & 0x7777), shf_l(ux, uy, uz & 31), shf_r(ux, uy, uz & 31),
            shf_l(ux, uy, min(uz, 32)), shf_r(ux, uy, min(uz, 32)),
            abs(x - y) + uz, abs(ux - uy) + uz, S(x, 24) * S(y, 24), U(x, 24) * U(y, 24),
            (x + y) >> 1, (x + y + 1) >> 1, (ux + uy) >> 1, (ux + uy + 1) >> 1,
            (x & y) ^ (~z | x), cmod(x, 10), ux // 1000, cdiv(x, 16), x < y, ux < uy])
    for n, v in zip("abc", (A, B, C)):
        c.inp(n, np.array(v, np.int32))
    c.out("o", rows(res, 32))
    c.launch("i32_ops", 2, 128, ["a", "b", "c", "o", s32(N)])


@cuda("int32_asm", "int_arith.cu", "bfind bfe bfi prmt lop3 dp4a dp2a mad24 sat shf shl/shr clamping fns bmsk szext cnot slct set setp addc subc madc",
      ("90a.o3", "80.o3", "90a.o0"))
def _(c):
    A, B, C = mix(4, N, EDGE32, 32), mix(5, N, EDGE32, 32), mix(6, N, EDGE32, 32)
    res = []
    for x, y, z in zip(A, B, C):
        ux, uy, uz = U(x), U(y), U(z)
        pos, ln = uy & 255, uz & 255
        n3 = uz & 3
        m24 = S(x, 24) * S(y, 24)
        p = x < y
        q0 = z > 0
        r1 = (1 if p and q0 else 0) + (2 if not p and q0 else 0)
        p2, q2 = ux < uy, uy >= uz
        r2 = 5 if p2 != q2 else 9
        if not p2 and q2:
            r2 = -r2
        cy = (ux + uy) >> 32
        bw = 1 if ux < uy else 0
        ml = U(ux * uy) + uz
        res.append([
            bfind(ux, 32, True, False), bfind(ux, 32, False, False), bfind(ux, 32, True, True), bfind(ux, 32, False, True),
            bfe(ux, pos, ln, 32, True), bfe(ux, pos, ln, 32, False), bfi(ux, 0x5a5a1234, pos, ln, 32),
            pick(ux, uy, [n3 + i for i in range(4)]), pick(ux, uy, [(n3 - i) % 8 for i in range(4)]), pick(ux, uy, [n3] * 4),
            pick(ux, uy, [max(i, n3) for i in range(4)]), pick(ux, uy, [min(i, n3) for i in range(4)]),
            pick(ux, uy, [2, 3, 2, 3] if n3 & 1 else [0, 1, 0, 1]), prmt(ux, uy, uz),
            lop3(ux, uy, uz, 0x1e), lop3(ux, uy, uz, 0xe8),
            dp4(ux, uy, z, 1, 1), dp4(ux, uy, z, 0, 0), dp4(ux, uy, z, 0, 1),
            dp2(ux, uy, z, 1, 1, 0), dp2(ux, uy, z, 0, 0, 1), dp2(ux, uy, z, 1, 0, 1),
            x * y + z, ((x * y) >> 32) + z, ((ux * uy) >> 32) + z, m24 + z, (m24 >> 16) + z, ((U(x, 24) * U(y, 24)) >> 16) + z,
            m24 >> 16, sat32(x + y), sat32(x - y), sat32(((x * y) >> 32) + z),
            shf_l(ux, uy, uz & 31), shf_r(ux, uy, min(uz, 32)),
            0 if pos > 31 else ux << pos, x >> min(pos, 31), 0 if pos > 31 else ux >> pos,
            fns(ux, uy & 31, cmod(z, 9)), bmsk(pos & 63, ln & 63, True), bmsk(pos & 63, ln & 63, False),
            szext(ux, ln & 63, True, True), szext(ux, ln & 63, False, False),
            1 if x & y & z == 0 else 0, x if z >= 0 else y, -1 if x < y else 0, r1, r2,
            ux + uy, uy + uz + cy, ux - uy, uy - uz - bw, ml, ((ux * uy) >> 32) + (ml >> 32)])
    for n, v in zip("abc", (A, B, C)):
        c.inp(n, np.array(v, np.int32))
    c.out("o", rows(res, 32))
    c.launch("i32_asm", 2, 128, ["a", "b", "c", "o", s32(N)])


@cuda("int64", "int_arith.cu", "64-bit and 128-bit integer arithmetic (carry chains, 128-bit multiply and divide)",
      ("90a.o3", "80.o3", "90a.o1", "90a.o0", "90a.g"))
def _(c):
    A, B, C = mix(7, N, EDGE64, 64), mix(8, N, EDGE64, 64), mix(9, N, EDGE64, 64)
    M = (1 << 128) - 1
    res = []
    for x, y, z in zip(A, B, C):
        ux, uy, uz = U(x, 64), U(y, 64), U(z, 64)
        d = 11 if y in (0, -1) else y
        pos, ln = uy & 255, uz & 255
        p = ux * uy
        s = ((ux << 64 | uz) + (uz << 64 | uy)) & M
        df = ((ux << 64 | uz) - (uy << 64 | ux)) & M
        t = (x << 40) - y * 12345 + z
        nu = ux << 64 | uy
        x32, y32 = S(x), S(y)
        res.append([
            ux + uy, ux - uy, p, (x * y) >> 64, p >> 64,
            cdiv(x, d), cmod(x, d), ux // (uy | 1), ux % (uy | 1), cdiv(x, 1000003), ux % 97,
            min(x, y), max(x, y), min(U(x), U(y)), p + uz,  # umin is of 32 bits
            ux << (uy & 63), x >> (uy & 63), ux >> (uy & 63), ~x ^ y, (x & y) | z,
            popc(ux), 64 - ux.bit_length(), (ux & -ux).bit_length(), brev(ux, 64),
            x32 * y32, U(x) * U(y), x32 * y32 + z, U(x) * U(y) + uz,
            bfe(ux, pos, ln, 64, True), bfe(ux, pos, ln, 64, False), bfi(ux, uy, pos, ln, 64),
            U(bfind(ux, 64, True, False)), U(bfind(ux, 64, False, True)),
            0 if pos > 63 else ux << pos, x >> min(pos, 63), x32 * y32 + z, ((x * y) >> 64) + z, abs((x >> 2) - (y >> 2)) + z,
            x < y, ux >= uy, x32, S(x, 16), S(x, 8), U(x, 16),
            p, p >> 64, s, s >> 64, df, df >> 64, t, t >> 64, t >> 37, t < 0,
            nu // (uz | 1), (nu // (uz | 1)) >> 64, nu % (uz | 1)])
    for n, v in zip("abc", (A, B, C)):
        c.inp(n, np.array(v, np.int64))
    c.out("o", rows(res, 64))
    c.launch("i64_ops", 2, 128, ["a", "b", "c", "o", s32(N)])


def small(name, w, signed, kern):
    @cuda(name, "int_arith.cu", f"{w}-bit {'signed' if signed else 'unsigned'} C arithmetic", ("90a.o3", "80.o3", "90a.o0"))
    def _(c):
        T = (lambda v: S(v, w)) if signed else (lambda v: U(v, w))
        r = rng(w + signed)
        A = [T(int(v)) for v in r.integers(0, 2**w, N)]
        B = [T(int(v)) for v in r.integers(0, 2**w, N)]
        for i, e in enumerate([0, 1, -1, 1 << (w - 1), (1 << (w - 1)) - 1]):
            A[i], B[i * 3 + 7] = T(e), T(e)
        res = [[T(v) for v in (x + y, x - y, x * y, cdiv(x, y) if y else x, cmod(x, y) if y else x, min(x, y), max(x, y),
                               x << (y & 7), x >> (y & 7), -x, ~x, x & y, x ^ y, x * y + x)] for x, y in zip(A, B)]
        dtp = np.dtype(("i" if signed else "u") + str(w // 8))
        c.inp("a", np.array(A, dtp))
        c.inp("b", np.array(B, dtp))
        c.out("o", rows(res, 32))
        c.launch(kern, 2, 128, ["a", "b", "o", s32(N)])


small("int8s", 8, True, "s8_ops")
small("int8u", 8, False, "u8_ops")
small("int16s", 16, True, "s16_ops")
small("int16u", 16, False, "u16_ops")


@cuda("int16_asm", "int_arith.cu", "16-bit integer instructions and s16x2/u16x2", ("90a.o3", "90a.o0"))
def _(c):
    r = rng(77)
    A, B, C = ([S(int(v), 16) for v in r.integers(0, 2**16, N)] for _ in range(3))
    A[0], B[1], C[2], A[3], B[3] = -32768, -32768, -32768, 0, 0
    res = []
    for x, y, z in zip(A, B, C):
        h = lambda v: S(v, 16)
        ux, uy, uz = U(x, 16), U(y, 16), U(z, 16)
        x1 = h(x | 1)
        res.append([
            h(x + y), h(x - y), h(x * y), h((x * y) >> 16), h((ux * uy) >> 16), min(x, y), h(max(ux, uy)),
            h(x * y + z), h(((ux * uy) >> 16) + uz), h(z + abs(x - y)), x & y, x | y, x ^ y,
            x * y, ux * uy, x * y + z * 1000, abs(x1), h(-x),
            h(ux << (y & 31)) if (y & 31) < 16 else 0, x >> min(y & 31, 15), h(ux >> (y & 31)) if (y & 31) < 16 else 0,
            1 if x & y & z & 3 == 0 else 0, x if ux < uy else z,
            U(x + z, 16) << 16 | U(y + x, 16), min(ux, uz) << 16 | min(uy, ux), U(max(x, z), 16) << 16 | U(max(y, x), 16)])
    for n, v in zip("abc", (A, B, C)):
        c.inp(n, np.array(v, np.int16))
    c.out("o", rows(res, 32))
    c.launch("i16_asm", 2, 128, ["a", "b", "c", "o", s32(N)])
