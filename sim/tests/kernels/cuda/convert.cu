// Conversions between number formats.
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cstdint>
typedef long long ll; typedef unsigned long long ull;
#define PUT(e) o[(k++) * n + i] = (e)
#define HEAD int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return; int k = 0;

extern "C" __global__ void f_to_int(const float *a, const double *b, ll *o, int n) {
    HEAD float x = a[i]; double y = b[i];
    PUT(__float2int_rn(x)); PUT(__float2int_rz(x)); PUT(__float2int_ru(x)); PUT(__float2int_rd(x));
    PUT(__float2uint_rn(x)); PUT(__float2uint_rz(x)); PUT(__float2uint_ru(x)); PUT(__float2uint_rd(x));
    PUT(__float2ll_rn(x)); PUT(__float2ll_rz(x)); PUT(__float2ll_ru(x)); PUT(__float2ll_rd(x));
    PUT(__float2ull_rn(x)); PUT(__float2ull_rz(x)); PUT(__float2ull_ru(x)); PUT(__float2ull_rd(x));
    PUT(__double2int_rn(y)); PUT(__double2int_rz(y)); PUT(__double2int_ru(y)); PUT(__double2int_rd(y));
    PUT(__double2uint_rn(y)); PUT(__double2uint_rz(y)); PUT(__double2uint_ru(y)); PUT(__double2uint_rd(y));
    PUT(__double2ll_rn(y)); PUT(__double2ll_rz(y)); PUT(__double2ll_ru(y)); PUT(__double2ll_rd(y));
    PUT(__double2ull_rn(y)); PUT(__double2ull_rz(y)); PUT(__double2ull_ru(y)); PUT(__double2ull_rd(y));
    PUT(__double2hiint(y)); PUT(__double2loint(y)); PUT(__double_as_longlong(y)); PUT(__float_as_uint(x));
}
extern "C" __global__ void int_to_f(const int *a, const ll *b, float *o32, double *o64, int n) {
    HEAD int x = a[i]; ll y = b[i];
    { float *o = o32;
    PUT(__int2float_rn(x)); PUT(__int2float_rz(x)); PUT(__int2float_ru(x)); PUT(__int2float_rd(x));
    PUT(__uint2float_rn(x)); PUT(__uint2float_rz(x)); PUT(__uint2float_ru(x)); PUT(__uint2float_rd(x));
    PUT(__ll2float_rn(y)); PUT(__ll2float_rz(y)); PUT(__ll2float_ru(y)); PUT(__ll2float_rd(y));
    PUT(__ull2float_rn(y)); PUT(__ull2float_rz(y)); PUT(__ull2float_ru(y)); PUT(__ull2float_rd(y));
    PUT((float)(signed char)x); PUT((float)(unsigned char)x); PUT((float)(short)x); PUT((float)(unsigned short)x); }
    k = 0;
    { double *o = o64;
    PUT(__int2double_rn(x)); PUT(__uint2double_rn(x));
    PUT(__ll2double_rn(y)); PUT(__ll2double_rz(y)); PUT(__ll2double_ru(y)); PUT(__ll2double_rd(y));
    PUT(__ull2double_rn(y)); PUT(__ull2double_rz(y)); PUT(__ull2double_ru(y)); PUT(__ull2double_rd(y));
    PUT((double)(signed char)x); PUT((double)(unsigned short)x); PUT(__hiloint2double(x & 0x3fffffff, (int)y)); }
}
extern "C" __global__ void f_to_f(const float *a, const double *b, float *o32, double *o64, __half *o16, __nv_bfloat16 *ob, int n) {
    HEAD float x = a[i]; double y = b[i];
    { float *o = o32; float r; unsigned t;
    PUT(__double2float_rn(y)); PUT(__double2float_rz(y)); PUT(__double2float_ru(y)); PUT(__double2float_rd(y));
    asm("cvt.rna.tf32.f32 %0,%1;" : "=r"(t) : "f"(x)); PUT(__uint_as_float(t));
    asm("cvt.rn.ftz.f32.f64 %0,%1;" : "=f"(r) : "d"(y)); PUT(r);
    PUT(__half2float(__float2half_rn(x))); PUT(__bfloat162float(__float2bfloat16_rn(x))); }
    k = 0;
    { double *o = o64; PUT((double)x); PUT((double)__float2half_rz(x)); }
    k = 0;
    { __half *o = o16;
    PUT(__float2half_rn(x)); PUT(__float2half_rz(x)); PUT(__float2half_ru(x)); PUT(__float2half_rd(x)); PUT(__double2half(y));
    __half2 h = __floats2half2_rn(x, -x); PUT(h.x); PUT(h.y); }
    k = 0;
    { __nv_bfloat16 *o = ob;
    PUT(__float2bfloat16_rn(x)); PUT(__float2bfloat16_rz(x)); PUT(__float2bfloat16_ru(x)); PUT(__float2bfloat16_rd(x)); PUT(__double2bfloat16(y));
    __nv_bfloat162 h = __floats2bfloat162_rn(x, -x); PUT(h.x); PUT(h.y); }
}
template <class T> __device__ void half_int(const T *a, const int *b, const ll *c, int *oi, ll *ol, T *oh, int n);
template <> __device__ void half_int<__half>(const __half *a, const int *b, const ll *c, int *oi, ll *ol, __half *oh, int n) {
    HEAD __half x = a[i]; int y = b[i]; ll z = c[i];
    { int *o = oi;
    PUT(__half2int_rn(x)); PUT(__half2int_rz(x)); PUT(__half2int_ru(x)); PUT(__half2int_rd(x)); PUT(__half2uint_rz(x)); PUT(__half2uint_ru(x));
    PUT(__half2short_rn(x)); PUT(__half2short_rz(x)); PUT(__half2ushort_rd(x)); PUT(__half2ushort_ru(x)); }
    k = 0; { ll *o = ol; PUT(__half2ll_rz(x)); PUT(__half2ll_ru(x)); PUT((ll)__half2ull_rn(x)); }
    k = 0; { __half *o = oh;
    PUT(__int2half_rn(y)); PUT(__int2half_rz(y)); PUT(__int2half_ru(y)); PUT(__int2half_rd(y)); PUT(__uint2half_rn(y)); PUT(__short2half_rn((short)y));
    PUT(__ushort2half_rz((unsigned short)y)); PUT(__ll2half_rn(z)); PUT(__ull2half_rd(z)); }
}
template <> __device__ void half_int<__nv_bfloat16>(const __nv_bfloat16 *a, const int *b, const ll *c, int *oi, ll *ol, __nv_bfloat16 *oh, int n) {
    HEAD __nv_bfloat16 x = a[i]; int y = b[i]; ll z = c[i];
    { int *o = oi;
    PUT(__bfloat162int_rn(x)); PUT(__bfloat162int_rz(x)); PUT(__bfloat162int_ru(x)); PUT(__bfloat162int_rd(x)); PUT(__bfloat162uint_rz(x)); PUT(__bfloat162uint_ru(x));
    PUT(__bfloat162short_rn(x)); PUT(__bfloat162short_rz(x)); PUT(__bfloat162ushort_rd(x)); PUT(__bfloat162ushort_ru(x)); }
    k = 0; { ll *o = ol; PUT(__bfloat162ll_rz(x)); PUT(__bfloat162ll_ru(x)); PUT((ll)__bfloat162ull_rn(x)); }
    k = 0; { __nv_bfloat16 *o = oh;
    PUT(__int2bfloat16_rn(y)); PUT(__int2bfloat16_rz(y)); PUT(__int2bfloat16_ru(y)); PUT(__int2bfloat16_rd(y)); PUT(__uint2bfloat16_rn(y)); PUT(__short2bfloat16_rn((short)y));
    PUT(__ushort2bfloat16_rz((unsigned short)y)); PUT(__ll2bfloat16_rn(z)); PUT(__ull2bfloat16_rd(z)); }
}
extern "C" __global__ void f16_int(const __half *a, const int *b, const ll *c, int *oi, ll *ol, __half *oh, int n) { half_int<__half>(a, b, c, oi, ol, oh, n); }
extern "C" __global__ void bf16_int(const __nv_bfloat16 *a, const int *b, const ll *c, int *oi, ll *ol, __nv_bfloat16 *oh, int n) { half_int<__nv_bfloat16>(a, b, c, oi, ol, oh, n); }

// every fp8 code to f16 and back; f32 to fp8
extern "C" __global__ void fp8_decode(const uint8_t *a, __half *o, int n) {
    HEAD
    PUT(__half(__nv_cvt_fp8_to_halfraw(a[i], __NV_E4M3))); PUT(__half(__nv_cvt_fp8_to_halfraw(a[i], __NV_E5M2)));
    __half2 h = __half2(__nv_cvt_fp8x2_to_halfraw2(a[i] | 0x3c00, __NV_E4M3)); PUT(h.x); PUT(h.y);
}
extern "C" __global__ void fp8_encode(const float *a, uint8_t *o, int n) {
    HEAD float x = a[i];
    PUT(__nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3)); PUT(__nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E5M2));
    __half h = __float2half_rn(x);
    PUT(__nv_cvt_halfraw_to_fp8(h, __NV_SATFINITE, __NV_E4M3)); PUT(__nv_cvt_halfraw_to_fp8(h, __NV_SATFINITE, __NV_E5M2));
    PUT(__nv_cvt_float2_to_fp8x2(make_float2(x, -x), __NV_SATFINITE, __NV_E4M3) >> 8);
    PUT(__nv_cvt_double_to_fp8((double)x, __NV_SATFINITE, __NV_E4M3));
#if __CUDA_ARCH__ >= 890
    unsigned short r;
    asm("cvt.rn.satfinite.relu.e4m3x2.f32 %0,%1,%2;" : "=h"(r) : "f"(x), "f"(-x)); PUT(r & 255); PUT(r >> 8);   // %1 goes to the upper byte
    asm("cvt.rn.satfinite.relu.e5m2x2.f32 %0,%1,%2;" : "=h"(r) : "f"(x), "f"(-x)); PUT(r & 255); PUT(r >> 8);
#endif
}
// integers to integers, every width
extern "C" __global__ void int_int(const ll *a, ll *o, int n) {
    HEAD ll x = a[i]; int r; short h; ll l;
    asm("cvt.sat.s32.s64 %0,%1;" : "=r"(r) : "l"(x)); PUT(r);
    asm("cvt.sat.u32.s64 %0,%1;" : "=r"(r) : "l"(x)); PUT((unsigned)r);
    asm("cvt.sat.s16.s64 %0,%1;" : "=h"(h) : "l"(x)); PUT(h);
    asm("cvt.sat.u16.s32 %0,%1;" : "=h"(h) : "r"((int)x)); PUT((unsigned short)h);
    asm("cvt.sat.s8.s32 %0,%1;" : "=r"(r) : "r"((int)x)); PUT(r);
    asm("cvt.sat.u8.s32 %0,%1;" : "=r"(r) : "r"((int)x)); PUT(r);
    asm("cvt.sat.s32.u32 %0,%1;" : "=r"(r) : "r"((int)x)); PUT(r);
    asm("cvt.s8.s32 %0,%1;" : "=r"(r) : "r"((int)x)); PUT(r);
    asm("cvt.u8.u32 %0,%1;" : "=r"(r) : "r"((int)x)); PUT(r);
    asm("cvt.s16.s64 %0,%1;" : "=r"(r) : "l"(x)); PUT(r);
    asm("cvt.s64.s8 %0,%1;" : "=l"(l) : "r"((int)x)); PUT(l);
    asm("cvt.u64.u16 %0,%1;" : "=l"(l) : "h"((short)x)); PUT(l);
    asm("cvt.sat.u64.s32 %0,%1;" : "=l"(l) : "r"((int)x)); PUT(l);
    asm("cvt.pack.sat.s16.s32 %0,%1,%2;" : "=r"(r) : "r"((int)x), "r"((int)(x >> 32))); PUT(r);
    asm("cvt.pack.sat.u8.s32.b32 %0,%1,%2,%3;" : "=r"(r) : "r"((int)x), "r"((int)(x >> 32)), "r"(0x12345678)); PUT(r);
    asm("{ .reg .b16 p,q; mov.b32 {p,q},%1; mov.b32 %0,{q,p}; }" : "=r"(r) : "r"((int)x)); PUT(r);
    asm("{ .reg .b32 p,q; mov.b64 {p,q},%1; mov.b64 %0,{q,p}; }" : "=l"(l) : "l"(x)); PUT(l);
}
