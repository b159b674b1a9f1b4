// Warpgroup matrix multiply: one 64 x N tile, operands in shared memory (every swizzle), A in registers, MN-major operands.
#include <cstdint>
#define SPTR(p) ((unsigned)__cvta_generic_to_shared(p))
typedef unsigned long long ull;
__device__ __forceinline__ ull desc(unsigned addr, unsigned lbo, unsigned sbo, unsigned mode) {
    return (ull)((addr & 0x3ffff) >> 4) | (ull)(lbo >> 4) << 16 | (ull)(sbo >> 4) << 32 | (ull)mode << 62;
}
// rows of RB bytes with the 16-byte chunks exchanged as the swizzle of that width does; RB = 16 stands for no swizzle (core matrices, chunk-major)
__device__ __forceinline__ int place(int row, int byte, int rb, int rows, int mode) {
    if (mode == 0) return (byte / 16) * rows * 16 + row * 16 + byte % 16;
    int off = row * rb + byte;
    return off ^ ((off >> 7 & (rb / 16 - 1)) << 4);
}
#define FENCE asm volatile("wgmma.fence.sync.aligned;" ::: "memory")
#define COMMIT asm volatile("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;" ::: "memory")
#define D4(c) "+" c(d[0]), "+" c(d[1]), "+" c(d[2]), "+" c(d[3])
#define D8(c) D4(c), "+" c(d[4]), "+" c(d[5]), "+" c(d[6]), "+" c(d[7])
#define D16(c) D8(c), "+" c(d[8]), "+" c(d[9]), "+" c(d[10]), "+" c(d[11]), "+" c(d[12]), "+" c(d[13]), "+" c(d[14]), "+" c(d[15])
#define L4 "{%0,%1,%2,%3}"
#define L8 "{%0,%1,%2,%3,%4,%5,%6,%7}"
#define L16 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}"

// A: 64 rows of kb bytes, B: N rows of kb bytes (K-major).  kb is the swizzle width, or any multiple of 32 with mode 0.
// D is written as 32-bit registers: NR of them, register r of a lane at row g + 8 (r >> 1 & 1), columns from (r >> 2) 8 + 2 t + (r & 1);
// f16 accumulators pack two columns, so there register r is at row g + 8 (r & 1), column pair (r >> 1) 4 + t.
#define KMAJOR(name, N, CT, NR, PACK, MODE, KB, INS)                                                                              \
    extern "C" __global__ void __launch_bounds__(128) name(const uint8_t *A, const uint8_t *B, CT *C, CT *D) {                    \
        __shared__ __align__(1024) uint8_t sa[64 * KB]; __shared__ __align__(1024) uint8_t sb[N * KB];                            \
        int t = threadIdx.x, lane = t & 31, g = t / 32 * 16 + lane / 4, q = lane & 3;                                             \
        for (int i = t * 4; i < 64 * KB; i += 512) *(unsigned *)&sa[place(i / KB, i % KB, KB, 64, MODE)] = *(const unsigned *)&A[i]; \
        for (int i = t * 4; i < N * KB; i += 512) *(unsigned *)&sb[place(i / KB, i % KB, KB, N, MODE)] = *(const unsigned *)&B[i]; \
        asm volatile("fence.proxy.async;" ::: "memory");                                                                          \
        __syncthreads();                                                                                                          \
        CT d[NR];                                                                                                                 \
        for (int r = 0; r < NR; r++) d[r] = C[PACK ? (g + 8 * (r & 1)) * (N / 2) + (r >> 1) * 4 + q : (g + 8 * (r >> 1 & 1)) * N + (r >> 2) * 8 + q * 2 + (r & 1)]; \
        FENCE;                                                                                                                    \
        for (int k = 0; k < KB / 32; k++) {                                                                                       \
            ull da = MODE ? desc(SPTR(sa) + k * 32, 16, KB * 8, MODE) : desc(SPTR(sa) + k * 2 * 64 * 16, 64 * 16, 128, 0);        \
            ull db = MODE ? desc(SPTR(sb) + k * 32, 16, KB * 8, MODE) : desc(SPTR(sb) + k * 2 * N * 16, N * 16, 128, 0);          \
            INS                                                                                                                   \
        }                                                                                                                         \
        COMMIT;                                                                                                                   \
        for (int r = 0; r < NR; r++) D[PACK ? (g + 8 * (r & 1)) * (N / 2) + (r >> 1) * 4 + q : (g + 8 * (r >> 1 & 1)) * N + (r >> 2) * 8 + q * 2 + (r & 1)] = d[r]; \
    }
KMAJOR(wgmma_bf16_n32, 32, float, 16, 0, 1, 128, asm volatile("wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 " L16 ",%16,%17,1,1,1,0,0;" : D16("f") : "l"(da), "l"(db));)
KMAJOR(wgmma_f16_n8, 8, float, 4, 0, 0, 64, asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 " L4 ",%4,%5,1,1,1,0,0;" : D4("f") : "l"(da), "l"(db));)
KMAJOR(wgmma_f16_sw32, 16, float, 8, 0, 3, 32, asm volatile("{ .reg .pred p; setp.ne.s32 p,%10,0; wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 " L8 ",%8,%9,p,-1,1,0,0; }" : D8("f") : "l"(da), "l"(db), "r"(k));)   // scale-d 0, A negated
KMAJOR(wgmma_f16acc, 32, unsigned, 8, 1, 2, 64, asm volatile("wgmma.mma_async.sync.aligned.m64n32k16.f16.f16.f16 " L8 ",%8,%9,1,1,1,0,0;" : D8("r") : "l"(da), "l"(db));)
KMAJOR(wgmma_tf32, 32, float, 16, 0, 1, 128, asm volatile("wgmma.mma_async.sync.aligned.m64n32k8.f32.tf32.tf32 " L16 ",%16,%17,1,1,-1;" : D16("f") : "l"(da), "l"(db));)   // B negated
KMAJOR(wgmma_e4m3, 32, float, 16, 0, 1, 128, asm volatile("wgmma.mma_async.sync.aligned.m64n32k32.f32.e4m3.e4m3 " L16 ",%16,%17,1,1,1;" : D16("f") : "l"(da), "l"(db));)
KMAJOR(wgmma_e5m2, 16, float, 8, 0, 2, 64, asm volatile("wgmma.mma_async.sync.aligned.m64n16k32.f32.e5m2.e4m3 " L8 ",%8,%9,1,1,1;" : D8("f") : "l"(da), "l"(db));)
KMAJOR(wgmma_e4m3_f16acc, 32, unsigned, 8, 1, 1, 128, asm volatile("wgmma.mma_async.sync.aligned.m64n32k32.f16.e4m3.e5m2 " L8 ",%8,%9,1,1,1;" : D8("r") : "l"(da), "l"(db));)
KMAJOR(wgmma_s8, 32, int, 16, 0, 1, 128, asm volatile("wgmma.mma_async.sync.aligned.m64n32k32.s32.s8.s8 " L16 ",%16,%17,1;" : D16("r") : "l"(da), "l"(db));)
KMAJOR(wgmma_u8, 24, int, 12, 0, 0, 64, asm volatile("wgmma.mma_async.sync.aligned.m64n24k32.s32.u8.s8.satfinite {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11},%12,%13,1;" : D8("r"), "+r"(d[8]), "+r"(d[9]), "+r"(d[10]), "+r"(d[11]) : "l"(da), "l"(db));)

// A from registers, B K-major, 128-byte swizzle
extern "C" __global__ void __launch_bounds__(128) wgmma_a_regs(const uint8_t *A, const uint8_t *B, float *C, float *D) {
    __shared__ __align__(1024) uint8_t sb[32 * 128];
    int t = threadIdx.x, lane = t & 31, g = t / 32 * 16 + lane / 4, q = lane & 3;
    for (int i = t * 4; i < 32 * 128; i += 512) *(unsigned *)&sb[place(i / 128, i % 128, 128, 32, 1)] = *(const unsigned *)&B[i];
    asm volatile("fence.proxy.async;" ::: "memory");
    __syncthreads();
    float d[16];
    for (int r = 0; r < 16; r++) d[r] = C[(g + 8 * (r >> 1 & 1)) * 32 + (r >> 2) * 8 + q * 2 + (r & 1)];
    unsigned a[4][4];
    for (int k = 0; k < 4; k++) for (int r = 0; r < 4; r++) a[k][r] = *(const unsigned *)&A[(g + 8 * (r & 1)) * 128 + k * 32 + q * 4 + 16 * (r >> 1)];
    FENCE;
    for (int k = 0; k < 4; k++)
        asm volatile("wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 " L16 ",{%16,%17,%18,%19},%20,1,1,1,0;" : D16("f") : "r"(a[k][0]), "r"(a[k][1]), "r"(a[k][2]), "r"(a[k][3]), "l"(desc(SPTR(sb) + k * 32, 16, 1024, 1)));
    COMMIT;
    for (int r = 0; r < 16; r++) D[(g + 8 * (r >> 1 & 1)) * 32 + (r >> 2) * 8 + q * 2 + (r & 1)] = d[r];
}
// both operands MN-major: A is 64 (k) x 64 (m), B 64 (k) x 64 (n), rows of 128 bytes, 128-byte swizzle; 8 k-rows are 1024 bytes
extern "C" __global__ void __launch_bounds__(128) wgmma_mn_major(const uint8_t *A, const uint8_t *B, float *C, float *D) {
    __shared__ __align__(1024) uint8_t sa[64 * 128]; __shared__ __align__(1024) uint8_t sb[64 * 128];
    int t = threadIdx.x, lane = t & 31, g = t / 32 * 16 + lane / 4, q = lane & 3;
    for (int i = t * 4; i < 64 * 128; i += 512) {
        *(unsigned *)&sa[place(i / 128, i % 128, 128, 64, 1)] = *(const unsigned *)&A[i];
        *(unsigned *)&sb[place(i / 128, i % 128, 128, 64, 1)] = *(const unsigned *)&B[i];
    }
    asm volatile("fence.proxy.async;" ::: "memory");
    __syncthreads();
    float d[32];
    for (int r = 0; r < 32; r++) d[r] = C[(g + 8 * (r >> 1 & 1)) * 64 + (r >> 2) * 8 + q * 2 + (r & 1)];
    FENCE;
    for (int k = 0; k < 4; k++)
        asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31},%32,%33,1,1,1,1,1;"
            : D16("f"), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
            : "l"(desc(SPTR(sa) + k * 2048, 1024, 1024, 1)), "l"(desc(SPTR(sb) + k * 2048, 1024, 1024, 1)));
    COMMIT;
    for (int r = 0; r < 32; r++) D[(g + 8 * (r >> 1 & 1)) * 64 + (r >> 2) * 8 + q * 2 + (r & 1)] = d[r];
}
