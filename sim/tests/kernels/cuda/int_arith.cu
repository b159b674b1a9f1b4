// Integer arithmetic of every width and signedness.  One thread, one element; each result has its own row.
#include <cstdint>
typedef long long ll; typedef unsigned long long ull;

extern "C" __global__ void i32_ops(const int *a, const int *b, const int *c, int *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int x = a[i], y = b[i], z = c[i];
    unsigned ux = x, uy = y, uz = z;
    int k = 0;
#define PUT(e) o[(k++) * n + i] = (int)(e)
    PUT(ux + uy); PUT(ux - uy); PUT(ux * uy); PUT(__mulhi(x, y)); PUT(__umulhi(ux, uy));
    PUT(x / (y == 0 || (y == -1) ? 7 : y)); PUT(x % (y == 0 || (y == -1) ? 7 : y)); PUT(ux / (uy | 1)); PUT(ux % (uy | 1));
    PUT(min(x, y)); PUT(max(x, y)); PUT(min(ux, uy)); PUT(max(ux, uy)); PUT(ux * uy + uz);
    PUT(x == (int)0x80000000 ? 5 : abs(x)); PUT(0u - ux); PUT(~x); PUT(x & y); PUT(x | y); PUT(x ^ y);
    PUT(ux << (uy & 31)); PUT(ux >> (uy & 31)); PUT(x >> (uy & 31));
    PUT(__popc(x)); PUT(__clz(x)); PUT(__ffs(x)); PUT(__brev(x));
    PUT(__byte_perm(x, y, z & 0x7777)); PUT(__funnelshift_l(ux, uy, uz)); PUT(__funnelshift_r(ux, uy, uz));
    PUT(__funnelshift_lc(ux, uy, uz)); PUT(__funnelshift_rc(ux, uy, uz));
    PUT(__sad(x, y, uz)); PUT(__usad(ux, uy, uz)); PUT(__mul24(x, y)); PUT(__umul24(ux, uy));
    PUT(__hadd(x, y)); PUT(__rhadd(x, y)); PUT(__uhadd(ux, uy)); PUT(__urhadd(ux, uy));
    PUT((x & y) ^ (~z | x)); PUT(x % 10); PUT(ux / 1000); PUT(x / 16); PUT(x < y); PUT(ux < uy);
#undef PUT
}

extern "C" __global__ void i32_asm(const int *a, const int *b, const int *c, int *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int x = a[i], y = b[i], z = c[i], r, r2;
    int k = 0;
    unsigned pos = (unsigned)y & 0xff, len = (unsigned)z & 0xff;
#define PUT(e) o[(k++) * n + i] = (int)(e)
#define A2(op) asm(op " %0,%1,%2;" : "=r"(r) : "r"(x), "r"(y)); PUT(r)
#define A3(op) asm(op " %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r)
    asm("bfind.s32 %0,%1;" : "=r"(r) : "r"(x)); PUT(r);
    asm("bfind.u32 %0,%1;" : "=r"(r) : "r"(x)); PUT(r);
    asm("bfind.shiftamt.s32 %0,%1;" : "=r"(r) : "r"(x)); PUT(r);
    asm("bfind.shiftamt.u32 %0,%1;" : "=r"(r) : "r"(x)); PUT(r);
    asm("bfe.s32 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(pos), "r"(len)); PUT(r);
    asm("bfe.u32 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(pos), "r"(len)); PUT(r);
    asm("bfi.b32 %0,%1,%2,%3,%4;" : "=r"(r) : "r"(x), "r"(0x5a5a1234), "r"(pos), "r"(len)); PUT(r);
    asm("prmt.b32.f4e %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("prmt.b32.b4e %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("prmt.b32.rc8 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("prmt.b32.ecl %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("prmt.b32.ecr %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("prmt.b32.rc16 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("prmt.b32 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);   // with sign replication bits
    asm("lop3.b32 %0,%1,%2,%3,0x1e;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("lop3.b32 %0,%1,%2,%3,0xe8;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("dp4a.s32.s32 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("dp4a.u32.u32 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("dp4a.u32.s32 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("dp2a.lo.s32.s32 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("dp2a.hi.u32.u32 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("dp2a.hi.s32.u32 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    A3("mad.lo.s32"); A3("mad.hi.s32"); A3("mad.hi.u32"); A3("mad24.lo.s32"); A3("mad24.hi.s32"); A3("mad24.hi.u32");
    asm("mul24.hi.s32 %0,%1,%2;" : "=r"(r) : "r"(x), "r"(y)); PUT(r);
    asm("add.sat.s32 %0,%1,%2;" : "=r"(r) : "r"(x), "r"(y)); PUT(r);
    asm("sub.sat.s32 %0,%1,%2;" : "=r"(r) : "r"(x), "r"(y)); PUT(r);
    asm("mad.hi.sat.s32 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("shf.l.wrap.b32 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("shf.r.clamp.b32 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("shl.b32 %0,%1,%2;" : "=r"(r) : "r"(x), "r"(pos)); PUT(r);             // shifts of 32 and more clamp
    asm("shr.s32 %0,%1,%2;" : "=r"(r) : "r"(x), "r"(pos)); PUT(r);
    asm("shr.u32 %0,%1,%2;" : "=r"(r) : "r"(x), "r"(pos)); PUT(r);
    asm("fns.b32 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y & 31), "r"((z % 9))); PUT(r);
    asm("bmsk.clamp.b32 %0,%1,%2;" : "=r"(r) : "r"(pos & 63), "r"(len & 63)); PUT(r);
    asm("bmsk.wrap.b32 %0,%1,%2;" : "=r"(r) : "r"(pos & 63), "r"(len & 63)); PUT(r);
    asm("szext.clamp.s32 %0,%1,%2;" : "=r"(r) : "r"(x), "r"(len & 63)); PUT(r);
    asm("szext.wrap.u32 %0,%1,%2;" : "=r"(r) : "r"(x), "r"(len & 63)); PUT(r);
    asm("cnot.b32 %0,%1;" : "=r"(r) : "r"(x & y & z)); PUT(r);
    asm("slct.s32.s32 %0,%1,%2,%3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("set.lt.u32.s32 %0,%1,%2;" : "=r"(r) : "r"(x), "r"(y)); PUT(r);
    asm("{ .reg .pred p,q; setp.gt.s32 q,%1,0; setp.lt.and.s32 p|q,%2,%3,q; selp.s32 %0,1,0,p; @q add.s32 %0,%0,2; }" : "=r"(r) : "r"(z), "r"(x), "r"(y)); PUT(r);
    asm("{ .reg .pred p,q,s; setp.lo.u32 p,%1,%2; setp.hs.u32 q,%2,%3; xor.pred s,p,q; not.pred p,p; and.pred p,p,q; selp.u32 %0,5,9,s; @p neg.s32 %0,%0; }" : "=r"(r) : "r"(x), "r"(y), "r"(z)); PUT(r);
    asm("{ add.cc.u32 %0,%2,%3; addc.u32 %1,%3,%4; }" : "=&r"(r), "=r"(r2) : "r"(x), "r"(y), "r"(z)); PUT(r); PUT(r2);
    asm("{ sub.cc.u32 %0,%2,%3; subc.u32 %1,%3,%4; }" : "=&r"(r), "=r"(r2) : "r"(x), "r"(y), "r"(z)); PUT(r); PUT(r2);
    asm("{ mad.lo.cc.u32 %0,%2,%3,%4; madc.hi.u32 %1,%2,%3,0; }" : "=&r"(r), "=r"(r2) : "r"(x), "r"(y), "r"(z)); PUT(r); PUT(r2);
#undef PUT
}

extern "C" __global__ void i64_ops(const ll *a, const ll *b, const ll *c, ll *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    ll x = a[i], y = b[i], z = c[i], r;
    ull ux = x, uy = y, uz = z;
    int k = 0;
#define PUT(e) o[(k++) * n + i] = (ll)(e)
    PUT(ux + uy); PUT(ux - uy); PUT(ux * uy); PUT(__mul64hi(x, y)); PUT(__umul64hi(ux, uy));
    ll ys = y == 0 || y == -1 ? 11 : y;
    PUT(x / ys); PUT(x % ys); PUT(ux / (uy | 1)); PUT(ux % (uy | 1)); PUT(x / 1000003); PUT(ux % 97);
    PUT(min(x, y)); PUT(max(x, y)); PUT(umin(ux, uy)); PUT(ux * uy + uz);
    PUT(x << (uy & 63)); PUT(x >> (uy & 63)); PUT(ux >> (uy & 63)); PUT(~x ^ y); PUT((x & y) | z);
    PUT(__popcll(x)); PUT(__clzll(x)); PUT(__ffsll(x)); PUT(__brevll(x));
    PUT((ll)(int)x * (int)y); PUT((ull)(unsigned)x * (unsigned)y); PUT((ll)(int)x * (int)y + z); PUT((ull)(unsigned)x * (unsigned)y + uz);
    unsigned pos = (unsigned)y & 0xff, len = (unsigned)z & 0xff; unsigned q;
    asm("bfe.s64 %0,%1,%2,%3;" : "=l"(r) : "l"(x), "r"(pos), "r"(len)); PUT(r);
    asm("bfe.u64 %0,%1,%2,%3;" : "=l"(r) : "l"(x), "r"(pos), "r"(len)); PUT(r);
    asm("bfi.b64 %0,%1,%2,%3,%4;" : "=l"(r) : "l"(x), "l"(y), "r"(pos), "r"(len)); PUT(r);
    asm("bfind.s64 %0,%1;" : "=r"(q) : "l"(x)); PUT(q);
    asm("bfind.shiftamt.u64 %0,%1;" : "=r"(q) : "l"(x)); PUT(q);
    asm("shl.b64 %0,%1,%2;" : "=l"(r) : "l"(x), "r"(pos)); PUT(r);
    asm("shr.s64 %0,%1,%2;" : "=l"(r) : "l"(x), "r"(pos)); PUT(r);
    asm("mad.wide.s32 %0,%1,%2,%3;" : "=l"(r) : "r"((int)x), "r"((int)y), "l"(z)); PUT(r);
    asm("mad.hi.s64 %0,%1,%2,%3;" : "=l"(r) : "l"(x), "l"(y), "l"(z)); PUT(r);
    asm("sad.s64 %0,%1,%2,%3;" : "=l"(r) : "l"(x >> 2), "l"(y >> 2), "l"(z)); PUT(r);
    PUT(x < y); PUT(ux >= uy); PUT((ll)(int)x); PUT((ll)(short)x); PUT((ll)(signed char)x); PUT((ull)(unsigned short)x);
    unsigned __int128 p = (unsigned __int128)ux * uy, s = ((unsigned __int128)ux << 64 | uz) + ((unsigned __int128)uz << 64 | uy);
    PUT((ull)p); PUT((ull)(p >> 64)); PUT((ull)s); PUT((ull)(s >> 64));
    unsigned __int128 d = ((unsigned __int128)ux << 64 | uz) - ((unsigned __int128)uy << 64 | ux);
    PUT((ull)d); PUT((ull)(d >> 64));
    __int128 t = ((__int128)x << 40) - (__int128)y * 12345 + z;
    PUT((ull)t); PUT((ll)(t >> 64)); PUT((ll)(t >> 37)); PUT(t < 0);
    unsigned __int128 dv = (((unsigned __int128)ux << 64) | uy) / (uz | 1), rm = (((unsigned __int128)ux << 64) | uy) % (uz | 1);
    PUT((ull)dv); PUT((ull)(dv >> 64)); PUT((ull)rm);
#undef PUT
}

template <class T> __device__ void small_ops(const T *a, const T *b, int *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    T x = a[i], y = b[i];
    int k = 0;
#define PUT(e) o[(k++) * n + i] = (int)(T)(e)
    PUT(x + y); PUT(x - y); PUT(x * y); PUT(y ? x / y : x); PUT(y ? x % y : x); PUT(x < y ? x : y); PUT(x > y ? x : y);
    PUT(x << (y & 7)); PUT(x >> (y & 7)); PUT(-x); PUT(~x); PUT(x & y); PUT(x ^ y); PUT(x * y + x);
#undef PUT
}
extern "C" __global__ void s8_ops(const int8_t *a, const int8_t *b, int *o, int n) { small_ops(a, b, o, n); }
extern "C" __global__ void u8_ops(const uint8_t *a, const uint8_t *b, int *o, int n) { small_ops(a, b, o, n); }
extern "C" __global__ void s16_ops(const int16_t *a, const int16_t *b, int *o, int n) { small_ops(a, b, o, n); }
extern "C" __global__ void u16_ops(const uint16_t *a, const uint16_t *b, int *o, int n) { small_ops(a, b, o, n); }

extern "C" __global__ void i16_asm(const short *a, const short *b, const short *c, int *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    short x = a[i], y = b[i], z = c[i], r; int w;
    int k = 0;
#define PUT(e) o[(k++) * n + i] = (int)(e)
#define H2(op) asm(op " %0,%1,%2;" : "=h"(r) : "h"(x), "h"(y)); PUT(r)
#define H3(op) asm(op " %0,%1,%2,%3;" : "=h"(r) : "h"(x), "h"(y), "h"(z)); PUT(r)
    H2("add.s16"); H2("sub.u16"); H2("mul.lo.s16"); H2("mul.hi.s16"); H2("mul.hi.u16"); H2("min.s16"); H2("max.u16");
    H3("mad.lo.s16"); H3("mad.hi.u16"); H3("sad.s16"); H2("and.b16"); H2("or.b16"); H2("xor.b16");
    asm("mul.wide.s16 %0,%1,%2;" : "=r"(w) : "h"(x), "h"(y)); PUT(w);
    asm("mul.wide.u16 %0,%1,%2;" : "=r"(w) : "h"(x), "h"(y)); PUT(w);
    asm("mad.wide.s16 %0,%1,%2,%3;" : "=r"(w) : "h"(x), "h"(y), "r"((int)z * 1000)); PUT(w);
    asm("abs.s16 %0,%1;" : "=h"(r) : "h"((short)(x | 1))); PUT(r);
    asm("neg.s16 %0,%1;" : "=h"(r) : "h"(x)); PUT(r);
    asm("shl.b16 %0,%1,%2;" : "=h"(r) : "h"(x), "r"(y & 31)); PUT(r);
    asm("shr.s16 %0,%1,%2;" : "=h"(r) : "h"(x), "r"(y & 31)); PUT(r);
    asm("shr.u16 %0,%1,%2;" : "=h"(r) : "h"(x), "r"(y & 31)); PUT(r);
    asm("cnot.b16 %0,%1;" : "=h"(r) : "h"((short)(x & y & z & 3))); PUT(r);
    asm("{ .reg .pred p; setp.lt.u16 p,%1,%2; selp.b16 %0,%1,%3,p; }" : "=h"(r) : "h"(x), "h"(y), "h"(z)); PUT(r);
#if __CUDA_ARCH__ >= 900
    asm("add.s16x2 %0,%1,%2;" : "=r"(w) : "r"((int)x << 16 | (unsigned short)y), "r"((int)z << 16 | (unsigned short)x)); PUT(w);
    asm("min.u16x2 %0,%1,%2;" : "=r"(w) : "r"((int)x << 16 | (unsigned short)y), "r"((int)z << 16 | (unsigned short)x)); PUT(w);
    asm("max.s16x2 %0,%1,%2;" : "=r"(w) : "r"((int)x << 16 | (unsigned short)y), "r"((int)z << 16 | (unsigned short)x)); PUT(w);
#endif
#undef PUT
}
