// Warp-level matrix instructions: mma.sync shapes and types, nvcuda::wmma, ldmatrix, stmatrix, movmatrix.
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#include <mma.h>
#include <cstdint>

// Fragment register r of A holds rows g + 8 (r & 1), E elements from k = t E + 4 E (r >> 1); of B column g, k = t E + 4 E r.
// E elements fill a 32-bit register (one element for f64).  One warp computes M x 8 at column block blockIdx.x.
template <class R, int SZ> __device__ R frag(const char *p, int row, int k, int ld) { return *(const R *)(p + ((size_t)row * ld + k) * SZ); }
#define GEMM(name, R, SZ, M, K, NA, NB, CT, NC, PACK, ASM)                                                           \
    extern "C" __global__ void name(const char *A, const char *B, const CT *C, CT *D, int kt, int n) {               \
        int lane = threadIdx.x, g = lane >> 2, t = lane & 3, n0 = blockIdx.x * 8;                                    \
        constexpr int E = sizeof(R) / SZ;                                                                            \
        R a[NA], b[NB]; CT c[NC];                                                                                    \
        for (int r = 0; r < NC; r++) c[r] = C[((g + 8 * (r >> 1 - PACK)) * n + n0) / (1 + PACK) + (PACK ? t : t * 2 + (r & 1))]; \
        for (int k = 0; k < kt; k += K) {                                                                            \
            for (int r = 0; r < NA; r++) a[r] = frag<R, SZ>(A, g + 8 * (M == 16 ? r & 1 : 0), k + t * E + 4 * E * (r >> 1), kt); \
            for (int r = 0; r < NB; r++) b[r] = frag<R, SZ>(B, n0 + g, k + t * E + 4 * E * r, kt);                   \
            ASM                                                                                                      \
        }                                                                                                            \
        for (int r = 0; r < NC; r++) D[((g + 8 * (r >> 1 - PACK)) * n + n0) / (1 + PACK) + (PACK ? t : t * 2 + (r & 1))] = c[r]; \
    }
#define A421(op, ac, cc) asm volatile(op " {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};" : "+" cc(c[0]), "+" cc(c[1]), "+" cc(c[2]), "+" cc(c[3]) : ac(a[0]), ac(a[1]), ac(a[2]), ac(a[3]), ac(b[0]), ac(b[1]));
#define A211(op, ac, cc) asm volatile(op " {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};" : "+" cc(c[0]), "+" cc(c[1]), "+" cc(c[2]), "+" cc(c[3]) : ac(a[0]), ac(a[1]), ac(b[0]));
#define A112(op, ac, cc) asm volatile(op " {%0,%1},{%2},{%3},{%0,%1};" : "+" cc(c[0]), "+" cc(c[1]) : ac(a[0]), ac(b[0]));
#define A422(op) asm volatile(op " {%0,%1},{%2,%3,%4,%5},{%6,%7},{%0,%1};" : "+r"(c[0]), "+r"(c[1]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#define A212(op) asm volatile(op " {%0,%1},{%2,%3},{%4},{%0,%1};" : "+r"(c[0]), "+r"(c[1]) : "r"(a[0]), "r"(a[1]), "r"(b[0]));

GEMM(mma_bf16_k16, unsigned, 2, 16, 16, 4, 2, float, 4, 0, A421("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", "r", "f"))
GEMM(mma_bf16_k8, unsigned, 2, 16, 8, 2, 1, float, 4, 0, A211("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", "r", "f"))
GEMM(mma_f16_k16, unsigned, 2, 16, 16, 4, 2, float, 4, 0, A421("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", "r", "f"))
GEMM(mma_f16_k8, unsigned, 2, 16, 8, 2, 1, float, 4, 0, A211("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", "r", "f"))
GEMM(mma_f16acc_k16, unsigned, 2, 16, 16, 4, 2, unsigned, 2, 1, A422("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16"))
GEMM(mma_f16acc_k8, unsigned, 2, 16, 8, 2, 1, unsigned, 2, 1, A212("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16"))
GEMM(mma_tf32_k8, unsigned, 4, 16, 8, 4, 2, float, 4, 0, A421("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", "r", "f"))
GEMM(mma_tf32_k4, unsigned, 4, 16, 4, 2, 1, float, 4, 0, A211("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", "r", "f"))
GEMM(mma_s8_k32, unsigned, 1, 16, 32, 4, 2, int, 4, 0, A421("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", "r", "r"))
GEMM(mma_u8s8_k16, unsigned, 1, 16, 16, 2, 1, int, 4, 0, A211("mma.sync.aligned.m16n8k16.row.col.satfinite.s32.u8.s8.s32", "r", "r"))
GEMM(mma_u8_k16, unsigned, 1, 8, 16, 1, 1, int, 2, 0, A112("mma.sync.aligned.m8n8k16.row.col.s32.u8.u8.s32", "r", "r"))
GEMM(mma_f64_k4, double, 8, 8, 4, 1, 1, double, 2, 0, A112("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64", "d", "d"))
#if __CUDA_ARCH__ >= 890
GEMM(mma_e4m3, unsigned, 1, 16, 32, 4, 2, float, 4, 0, A421("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32", "r", "f"))
GEMM(mma_e5m2_e4m3, unsigned, 1, 16, 32, 4, 2, float, 4, 0, A421("mma.sync.aligned.m16n8k32.row.col.f32.e5m2.e4m3.f32", "r", "f"))
#endif
#if __CUDA_ARCH__ >= 900
GEMM(mma_f64_m16k4, double, 8, 16, 4, 2, 1, double, 4, 0, A211("mma.sync.aligned.m16n8k4.row.col.f64.f64.f64.f64", "d", "d"))
GEMM(mma_f64_m16k8, double, 8, 16, 8, 4, 2, double, 4, 0, A421("mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64", "d", "d"))
#endif

// nvcuda::wmma: one warp a tile of C = A B + C, K stepped
using namespace nvcuda;
template <int M, int N, int K, class T, class A, class LA, class LB> __device__ void wm(const T *a, const T *b, const A *c, A *d, int kt, int lda, int ldb, int n) {
    wmma::fragment<wmma::matrix_a, M, N, K, T, LA> fa; wmma::fragment<wmma::matrix_b, M, N, K, T, LB> fb; wmma::fragment<wmma::accumulator, M, N, K, A> fc;
    wmma::load_matrix_sync(fc, c + blockIdx.x * N, n, wmma::mem_row_major);
    for (int k = 0; k < kt; k += K) {
        wmma::load_matrix_sync(fa, a + (std::is_same<LA, wmma::row_major>::value ? k : k * lda), lda);
        wmma::load_matrix_sync(fb, b + (std::is_same<LB, wmma::row_major>::value ? k * ldb + blockIdx.x * N : blockIdx.x * N * ldb + k), ldb);
        wmma::mma_sync(fc, fa, fb, fc);
    }
    for (int i = 0; i < fc.num_elements; i++) fc.x[i] = fc.x[i] + fc.x[i];
    wmma::store_matrix_sync(d + blockIdx.x * N, fc, n, wmma::mem_row_major);
}
#define RM wmma::row_major
#define CM wmma::col_major
extern "C" __global__ void wmma_f16(const __half *a, const __half *b, const float *c, float *d, int kt, int la, int lb, int n) { wm<16, 16, 16, __half, float, RM, CM>(a, b, c, d, kt, la, lb, n); }
extern "C" __global__ void wmma_f16_rr(const __half *a, const __half *b, const float *c, float *d, int kt, int la, int lb, int n) { wm<8, 32, 16, __half, float, RM, RM>(a, b, c, d, kt, la, lb, n); }
extern "C" __global__ void wmma_f16acc(const __half *a, const __half *b, const __half *c, __half *d, int kt, int la, int lb, int n) { wm<16, 16, 16, __half, __half, CM, CM>(a, b, c, d, kt, la, lb, n); }
extern "C" __global__ void wmma_bf16(const __nv_bfloat16 *a, const __nv_bfloat16 *b, const float *c, float *d, int kt, int la, int lb, int n) { wm<8, 32, 16, __nv_bfloat16, float, RM, CM>(a, b, c, d, kt, la, lb, n); }
extern "C" __global__ void wmma_s8(const signed char *a, const signed char *b, const int *c, int *d, int kt, int la, int lb, int n) { wm<16, 16, 16, signed char, int, RM, CM>(a, b, c, d, kt, la, lb, n); }
extern "C" __global__ void wmma_u8(const unsigned char *a, const unsigned char *b, const int *c, int *d, int kt, int la, int lb, int n) { wm<16, 16, 16, unsigned char, int, CM, RM>(a, b, c, d, kt, la, lb, n); }
extern "C" __global__ void wmma_f64(const double *a, const double *b, const double *c, double *d, int kt, int la, int lb, int n) { wm<8, 8, 4, double, double, RM, CM>(a, b, c, d, kt, la, lb, n); }
extern "C" __global__ void wmma_tf32(const float *a, const float *b, const float *c, float *d, int kt, int la, int lb, int n) {
    wmma::fragment<wmma::matrix_a, 16, 16, 8, wmma::precision::tf32, RM> fa; wmma::fragment<wmma::matrix_b, 16, 16, 8, wmma::precision::tf32, CM> fb;
    wmma::fragment<wmma::accumulator, 16, 16, 8, float> fc;
    wmma::load_matrix_sync(fc, c + blockIdx.x * 16, n, wmma::mem_row_major);
    for (int k = 0; k < kt; k += 8) {
        wmma::load_matrix_sync(fa, a + k, la); wmma::load_matrix_sync(fb, b + blockIdx.x * 16 * lb + k, lb);
        for (int i = 0; i < fa.num_elements; i++) fa.x[i] = wmma::__float_to_tf32(fa.x[i]);
        for (int i = 0; i < fb.num_elements; i++) fb.x[i] = wmma::__float_to_tf32(fb.x[i]);
        wmma::mma_sync(fc, fa, fb, fc);
    }
    wmma::store_matrix_sync(d + blockIdx.x * 16, fc, n, wmma::mem_row_major);
}

// a 16-bit 16x64 tile goes through ldmatrix (.x1 .x2 .x4, plain and transposed), movmatrix and stmatrix
extern "C" __global__ void matrix_moves(const uint16_t *a, unsigned *o, uint16_t *st) {
    __shared__ __align__(16) uint16_t s[16 * 64];
    __shared__ __align__(16) uint16_t d[8 * 64 * 4];
    int l = threadIdx.x;
    for (int i = l; i < 16 * 64; i += 32) s[i] = a[i];
    for (int i = l; i < 8 * 64 * 4; i += 32) d[i] = 0xffff;
    __syncwarp();
    unsigned p = (unsigned)__cvta_generic_to_shared(&s[(l & 15) * 64 + (l >> 4) * 8]), r[4];
    int k = 0;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(p));
    for (int j = 0; j < 4; j++) o[(k++) * 32 + l] = r[j];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(p + 32));
    for (int j = 0; j < 4; j++) o[(k++) * 32 + l] = r[j];
    unsigned m;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0,%1;" : "=r"(m) : "r"(r[1])); o[(k++) * 32 + l] = m;
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1},[%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(p + 64));
    o[(k++) * 32 + l] = r[0]; o[(k++) * 32 + l] = r[1];
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0},[%1];" : "=r"(r[0]) : "r"(p + 96)); o[(k++) * 32 + l] = r[0];
#if __CUDA_ARCH__ >= 900
    unsigned q = (unsigned)__cvta_generic_to_shared(&d[(l & 7) * 8 + (l >> 3) * 64]);
    unsigned v0 = l * 0x10001, v1 = l * 0x20002 + 1, v2 = ~v0, v3 = v1 << 3;
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0],{%1,%2,%3,%4};" :: "r"(q), "r"(v0), "r"(v1), "r"(v2), "r"(v3) : "memory");
    asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0],{%1,%2};" :: "r"(q + 1024), "r"(v0), "r"(v1) : "memory");
    asm volatile("stmatrix.sync.aligned.m8n8.x1.shared.b16 [%0],{%1};" :: "r"(q + 2048), "r"(v3) : "memory");
    __syncwarp();
    for (int i = l; i < 1536; i += 32) st[i] = d[i];
#endif
}
