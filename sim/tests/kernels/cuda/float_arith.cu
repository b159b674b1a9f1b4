// Floating point: correctly rounded operations in every rounding mode, min/max, halves.
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#include <cstdint>
#define PUT(e) o[(k++) * n + i] = (e)

extern "C" __global__ void f32_rounded(const float *a, const float *b, const float *c, float *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float x = a[i], y = b[i], z = c[i], p = fabsf(x);
    int k = 0;
    PUT(__fadd_rn(x, y)); PUT(__fadd_rz(x, y)); PUT(__fadd_ru(x, y)); PUT(__fadd_rd(x, y));
    PUT(__fsub_rn(x, y)); PUT(__fsub_rz(x, y)); PUT(__fsub_ru(x, y)); PUT(__fsub_rd(x, y));
    PUT(__fmul_rn(x, y)); PUT(__fmul_rz(x, y)); PUT(__fmul_ru(x, y)); PUT(__fmul_rd(x, y));
    PUT(__fmaf_rn(x, y, z)); PUT(__fmaf_rz(x, y, z)); PUT(__fmaf_ru(x, y, z)); PUT(__fmaf_rd(x, y, z));
    PUT(__fdiv_rn(x, y)); PUT(__fdiv_rz(x, y)); PUT(__fdiv_ru(x, y)); PUT(__fdiv_rd(x, y));
    PUT(__frcp_rn(x)); PUT(__frcp_rz(x)); PUT(__frcp_ru(x)); PUT(__frcp_rd(x));
    PUT(__fsqrt_rn(p)); PUT(__fsqrt_rz(p)); PUT(__fsqrt_ru(p)); PUT(__fsqrt_rd(p));
    PUT(fminf(x, y)); PUT(fmaxf(x, y)); PUT(-x); PUT(p); PUT(copysignf(x, y));
    PUT(floorf(x)); PUT(ceilf(x)); PUT(truncf(x)); PUT(rintf(x)); PUT(roundf(x));
    PUT(__saturatef(x) + 0.0f); PUT(x < y ? 1.f : 0.f); PUT(x == y ? 1.f : 0.f); PUT(!(x >= y) ? 1.f : 0.f); PUT(x != y ? 1.f : 0.f);
    PUT(isnan(x) ? 1.f : 0.f); PUT(isinf(x) ? 1.f : 0.f);
}

extern "C" __global__ void f64_rounded(const double *a, const double *b, const double *c, double *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double x = a[i], y = b[i], z = c[i], p = fabs(x);
    int k = 0;
    PUT(__dadd_rn(x, y)); PUT(__dadd_rz(x, y)); PUT(__dadd_ru(x, y)); PUT(__dadd_rd(x, y));
    PUT(__dsub_rn(x, y)); PUT(__dsub_rz(x, y)); PUT(__dsub_ru(x, y)); PUT(__dsub_rd(x, y));
    PUT(__dmul_rn(x, y)); PUT(__dmul_rz(x, y)); PUT(__dmul_ru(x, y)); PUT(__dmul_rd(x, y));
    PUT(__fma_rn(x, y, z)); PUT(__fma_rz(x, y, z)); PUT(__fma_ru(x, y, z)); PUT(__fma_rd(x, y, z));
    PUT(__ddiv_rn(x, y)); PUT(__ddiv_rz(x, y)); PUT(__ddiv_ru(x, y)); PUT(__ddiv_rd(x, y));
    PUT(__drcp_rn(x)); PUT(__drcp_rz(x)); PUT(__drcp_ru(x)); PUT(__drcp_rd(x));
    PUT(__dsqrt_rn(p)); PUT(__dsqrt_rz(p)); PUT(__dsqrt_ru(p)); PUT(__dsqrt_rd(p));
    PUT(fmin(x, y)); PUT(fmax(x, y)); PUT(-x); PUT(p); PUT(copysign(x, y));
    PUT(floor(x)); PUT(ceil(x)); PUT(trunc(x)); PUT(rint(x)); PUT(round(x));
    PUT(x < y ? 1. : 0.); PUT(x == y ? 1. : 0.); PUT(!(x >= y) ? 1. : 0.);
}

// flush to zero, saturation, NaN-propagating minimum, three-input forms: inline PTX
extern "C" __global__ void f32_ptx(const float *a, const float *b, const float *c, float *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float x = a[i], y = b[i], z = c[i], r;
    int k = 0;
#define F2(op) asm(op " %0,%1,%2;" : "=f"(r) : "f"(x), "f"(y)); PUT(r)
#define F3(op) asm(op " %0,%1,%2,%3;" : "=f"(r) : "f"(x), "f"(y), "f"(z)); PUT(r)
    F2("add.ftz.f32"); F2("sub.rz.ftz.f32"); F2("mul.ftz.f32"); F3("fma.rn.ftz.f32"); asm("fma.rn.sat.f32 %0,%1,%2,%3; add.f32 %0,%0,0f00000000;" : "=f"(r) : "f"(x), "f"(y), "f"(z)); PUT(r);
    asm("add.sat.f32 %0,%1,%2; add.f32 %0,%0,0f00000000;" : "=f"(r) : "f"(x), "f"(y)); PUT(r);
    asm("mul.rz.sat.f32 %0,%1,%2; add.f32 %0,%0,0f00000000;" : "=f"(r) : "f"(x), "f"(y)); PUT(r);   // + 0: the sign of a saturated -0 is left open
    F2("div.rn.ftz.f32");
    F2("min.ftz.f32"); F2("max.NaN.f32"); F2("min.NaN.f32"); 
#if __CUDA_ARCH__ >= 890
    F2("max.xorsign.abs.f32"); F2("min.NaN.xorsign.abs.f32");
#endif
    asm("abs.ftz.f32 %0,%1;" : "=f"(r) : "f"(x)); PUT(r);
    asm("neg.ftz.f32 %0,%1;" : "=f"(r) : "f"(x)); PUT(r);
    asm("sqrt.rn.ftz.f32 %0,%1;" : "=f"(r) : "f"(fabsf(x))); PUT(r);
    asm("set.gt.ftz.f32.f32 %0,%1,%2;" : "=f"(r) : "f"(x), "f"(y)); PUT(r);
    asm("set.ltu.f32.f32 %0,%1,%2;" : "=f"(r) : "f"(x), "f"(y)); PUT(r);
    asm("set.num.f32.f32 %0,%1,%2;" : "=f"(r) : "f"(x), "f"(y)); PUT(r);
    asm("{ .reg .pred p; testp.subnormal.f32 p,%1; selp.f32 %0,0f3f800000,0f00000000,p; }" : "=f"(r) : "f"(x)); PUT(r);
    asm("{ .reg .pred p; testp.normal.f32 p,%1; selp.f32 %0,0f3f800000,0f00000000,p; }" : "=f"(r) : "f"(x)); PUT(r);
    asm("{ .reg .pred p; testp.finite.f32 p,%1; selp.f32 %0,0f3f800000,0f00000000,p; }" : "=f"(r) : "f"(x)); PUT(r);
    asm("slct.f32.f32 %0,%1,%2,%3;" : "=f"(r) : "f"(x), "f"(y), "f"(z)); PUT(r);
    asm("copysign.f32 %0,%1,%2;" : "=f"(r) : "f"(x), "f"(y)); PUT(r);   // magnitude of y, sign of x
}

template <class T, class T2> __device__ void half_ops(const T *a, const T *b, const T *c, T *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    T x = a[i], y = b[i], z = c[i];
    int k = 0;
    T one = T(1.f), zero = T(0.f);
    PUT(__hadd(x, y)); PUT(__hsub(x, y)); PUT(__hmul(x, y)); PUT(__hfma(x, y, z));
    // + 0: the sign of a clamped -0 is left open
    PUT(__hadd(__hadd_sat(x, y), zero)); PUT(__hadd(__hmul_sat(x, y), zero)); PUT(__hadd(__hfma_sat(x, y, z), zero)); PUT(__hadd(__hfma_relu(x, y, z), zero));
    PUT(__hmin(x, y)); PUT(__hmax(x, y)); PUT(__hmin_nan(x, y)); PUT(__hmax_nan(x, y));
    PUT(__hneg(x)); PUT(__habs(x));
    PUT(__hlt(x, y) ? one : zero); PUT(__heq(x, y) ? one : zero); PUT(__hgeu(x, y) ? one : zero); PUT(__hisnan(x) ? one : zero);
    PUT(hfloor(x)); PUT(hceil(x)); PUT(htrunc(x)); PUT(hrint(x));
    T2 xy, yx, zz;
    xy.x = x; xy.y = y; yx.x = y; yx.y = x; zz.x = z; zz.y = x;
    T2 r = __hfma2(xy, yx, zz); PUT(r.x); PUT(r.y);
    r = __hadd2(xy, zz); PUT(r.x); PUT(r.y);
    r = __hsub2(xy, zz); PUT(r.x); PUT(r.y);
    r = __hmul2(xy, zz); PUT(r.x); PUT(r.y);
    r = __hmax2(xy, zz); PUT(r.x); PUT(r.y);
    r = __hmin2_nan(xy, zz); PUT(r.x); PUT(r.y);
    r = __hgt2(xy, zz); PUT(r.x); PUT(r.y);
    r = __hneg2(xy); PUT(r.x); PUT(r.y);
}
extern "C" __global__ void f16_ops(const __half *a, const __half *b, const __half *c, __half *o, int n) { half_ops<__half, __half2>(a, b, c, o, n); }
extern "C" __global__ void bf16_ops(const __nv_bfloat16 *a, const __nv_bfloat16 *b, const __nv_bfloat16 *c, __nv_bfloat16 *o, int n) {
    half_ops<__nv_bfloat16, __nv_bfloat162>(a, b, c, o, n);
}

// functions on halves that go through approximations
extern "C" __global__ void f16_funcs(const __half *a, const __half *b, __half *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    __half x = a[i], y = b[i];
    int k = 0;
    PUT(__hdiv(x, y)); PUT(hsqrt(y)); PUT(hrsqrt(y)); PUT(hrcp(y)); PUT(hexp(x)); PUT(hexp2(x)); PUT(hlog(y)); PUT(hlog2(y)); PUT(hsin(x)); PUT(hcos(x));
}
extern "C" __global__ void bf16_funcs(const __nv_bfloat16 *a, const __nv_bfloat16 *b, __nv_bfloat16 *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    __nv_bfloat16 x = a[i], y = b[i];
    int k = 0;
    PUT(__hdiv(x, y)); PUT(hsqrt(y)); PUT(hrsqrt(y)); PUT(hrcp(y)); PUT(hexp(x)); PUT(hexp2(x)); PUT(hlog(y)); PUT(hlog2(y)); PUT(hsin(x)); PUT(hcos(x));
}
