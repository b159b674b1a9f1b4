// Approximate instructions and libdevice functions.
#include <cstdint>
#define PUT(e) o[(k++) * n + i] = (e)

// x in [-6, 6], p positive in [0.05, 20]
extern "C" __global__ void f32_approx(const float *a, const float *b, float *tight, float *absol, float *loose, float *coarse, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float x = a[i], p = b[i], r;
    float *o = tight; int k = 0;
    PUT(__fdividef(x, p));
    asm("div.full.f32 %0,%1,%2;" : "=f"(r) : "f"(x), "f"(p)); PUT(r);
    asm("rcp.approx.ftz.f32 %0,%1;" : "=f"(r) : "f"(p)); PUT(r);
    asm("sqrt.approx.f32 %0,%1;" : "=f"(r) : "f"(p)); PUT(r);
    asm("rsqrt.approx.ftz.f32 %0,%1;" : "=f"(r) : "f"(p)); PUT(r);
    asm("ex2.approx.ftz.f32 %0,%1;" : "=f"(r) : "f"(x)); PUT(r);
    PUT(__frsqrt_rn(p));
    o = absol; k = 0;
    PUT(__sinf(x)); PUT(__cosf(x)); PUT(__log2f(p)); PUT(__logf(p)); PUT(__log10f(p));
    float s, c; __sincosf(x, &s, &c); PUT(s); PUT(c);
    o = loose; k = 0;
    PUT(__expf(x)); PUT(__exp10f(x)); PUT(__powf(p, x * 0.25f)); PUT(__tanf(x * 0.2f));
    o = coarse; k = 0;
    asm("tanh.approx.f32 %0,%1;" : "=f"(r) : "f"(x)); PUT(r);
}

// ordinary math functions; the compile flags decide what they become
extern "C" __global__ void f32_math(const float *a, const float *b, float *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float x = a[i], p = b[i];
    int k = 0;
    PUT(sinf(x)); PUT(cosf(x)); PUT(tanf(x * 0.2f)); PUT(expf(x)); PUT(exp2f(x)); PUT(exp10f(x)); PUT(expm1f(x));
    PUT(logf(p)); PUT(log2f(p)); PUT(log10f(p)); PUT(log1pf(p)); PUT(powf(p, x)); PUT(tanhf(x)); PUT(sinhf(x)); PUT(coshf(x));
    PUT(x / p); PUT(sqrtf(p)); PUT(rsqrtf(p)); PUT(1.0f / p); PUT(fmaf(x, p, 1.0f)); PUT(x * p + 1.0f);
}

extern "C" __global__ void f32_libdevice(const float *a, const float *b, float *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float x = a[i], p = b[i];
    float u = x * (1.0f / 6.5f);
    int k = 0, q;
    PUT(asinf(u)); PUT(acosf(u)); PUT(atanf(x)); PUT(atan2f(x, p)); PUT(asinhf(x)); PUT(acoshf(1.0f + p)); PUT(atanhf(u));
    PUT(erff(x)); PUT(erfcf(x)); PUT(erfcxf(x)); PUT(tgammaf(p)); PUT(lgammaf(p + 3.0f)); PUT(cbrtf(x)); PUT(rcbrtf(p));
    PUT(hypotf(x, p)); PUT(normcdff(x)); PUT(erfinvf(u)); PUT(sinpif(x)); PUT(cospif(x)); PUT(j0f(p * 0.1f)); PUT(rhypotf(x, p)); PUT(norm3df(x, p, u));
    PUT(fmodf(x * 1000.f, p)); PUT(remainderf(x * 1000.f, p)); PUT(fdimf(x, p)); PUT(ldexpf(x, (int)p - 10)); PUT(frexpf(x, &q)); PUT((float)q);
    PUT(logbf(p)); PUT((float)ilogbf(p)); PUT(nextafterf(x, 100.f)); PUT(sinf(x * 1e6f)); PUT(cosf(x * 1e9f)); PUT(tanf(p * 1e5f));
}

extern "C" __global__ void f64_libdevice(const double *a, const double *b, double *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double x = a[i], p = b[i], u = x * (1.0 / 6.5);
    int k = 0, q;
    PUT(sin(x)); PUT(cos(x)); PUT(tan(x * 0.2)); PUT(exp(x)); PUT(exp2(x)); PUT(expm1(x)); PUT(log(p)); PUT(log2(p)); PUT(log10(p)); PUT(log1p(p));
    PUT(pow(p, x)); PUT(tanh(x)); PUT(sinh(x)); PUT(cosh(x)); PUT(asin(u)); PUT(acos(u)); PUT(atan(x)); PUT(atan2(x, p)); PUT(asinh(x)); PUT(atanh(u));
    PUT(erf(x)); PUT(erfc(x)); PUT(tgamma(p)); PUT(lgamma(p + 3.0)); PUT(cbrt(x)); PUT(hypot(x, p)); PUT(rsqrt(p)); PUT(sinpi(x)); PUT(fmod(x * 1000., p));
    PUT(remainder(x * 1000., p)); PUT(frexp(x, &q)); PUT((double)q); PUT(sin(x * 1e6)); PUT(x / p); PUT(sqrt(p));
    double s, c; sincos(x, &s, &c); PUT(s); PUT(c);
}
