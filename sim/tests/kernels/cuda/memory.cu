// Loads and stores: vectors, cache operators, volatile, shared memory, address spaces, prefetch, policies.
#include <cuda_fp16.h>
#include <cstdint>
typedef long long ll;

extern "C" __global__ void vectors(const float4 *f4, const longlong2 *l2, const char4 *c4, const short2 *s2, const double2 *d2, const uchar3 *u3, float4 *of, longlong2 *ol, char4 *oc, short2 *os, double2 *od, uchar3 *ou, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float4 f = f4[i]; of[n - 1 - i] = make_float4(f.w, f.x + 1.0f, f.z * 2.0f, f.y);
    longlong2 l = l2[i]; ol[i] = make_longlong2(l.y - l.x, l.x ^ l.y);
    char4 c = c4[i]; oc[i] = make_char4(c.y, c.x, -c.z, c.w + 1);
    short2 s = s2[i]; os[i] = make_short2(s.y, s.x * 3);
    double2 d = d2[i]; od[i] = make_double2(d.x * d.y, -d.x);
    uchar3 u = u3[i]; ou[i] = make_uchar3(u.z, u.x, u.y + 1);
}

extern "C" __global__ void cache_ops(const int *a, int *o, volatile int *v, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int s = __ldg(&a[i]) + __ldcg(&a[(i + 1) % n]) * 2 + __ldcs(&a[(i + 2) % n]) * 3 + __ldca(&a[(i + 3) % n]) * 4 + __ldlu(&a[(i + 4) % n]) * 5 + __ldcv(&a[(i + 5) % n]) * 6;
    __stcs(&o[i], s); __stcg(&o[n + i], s + 1); __stwb(&o[2 * n + i], s + 2); __stwt(&o[3 * n + i], s + 3);
    int4 q = __ldg((const int4 *)a + i % (n / 4)); __stcs((int2 *)(o + 4 * n) + i, make_int2(q.x ^ q.z, q.y ^ q.w));
    v[i] = i; v[i] = v[i] + 5;
    int r;
    asm volatile("prefetch.global.L1 [%0]; prefetch.global.L2 [%0]; prefetchu.L1 [%0]; prefetch.global.L2::evict_last [%0];" :: "l"(a + i));
    unsigned long long pol;
    asm volatile("createpolicy.fractional.L2::evict_last.L2::evict_unchanged.b64 %0,0.5;" : "=l"(pol));
    asm volatile("ld.global.L2::cache_hint.s32 %0,[%1],%2;" : "=r"(r) : "l"(a + i), "l"(pol)); o[6 * n + i] = r;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0;" : "=l"(pol));
    asm volatile("st.global.L2::cache_hint.s32 [%0],%1,%2;" :: "l"(o + 7 * n + i), "r"(r + 1), "l"(pol) : "memory");
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.s32 %0,[%1];" : "=r"(r) : "l"(a + i)); o[8 * n + i] = r * 2;
    asm volatile("ld.global.L1::evict_last.L2::64B.s32 %0,[%1];" : "=r"(r) : "l"(a + i)); o[9 * n + i] = r * 3;
    asm volatile("{ .reg .b64 p; createpolicy.range.L2::evict_last.L2::evict_first.b64 p,[%1],1024,4096; ld.global.L2::cache_hint.s32 %0,[%2],p; }" : "=r"(r) : "l"(a), "l"(a + i)); o[10 * n + i] = r;
    asm volatile("ld.relaxed.sys.global.s32 %0,[%1];" : "=r"(r) : "l"(a + i)); o[11 * n + i] = r;
#if __CUDA_ARCH__ >= 900
    asm volatile("st.relaxed.cluster.global.s32 [%0],%1;" :: "l"(o + 12 * n + i), "r"(r) : "memory");
#else
    asm volatile("st.relaxed.gpu.global.s32 [%0],%1;" :: "l"(o + 12 * n + i), "r"(r) : "memory");
#endif
    asm volatile("{ .reg .s16 t; ld.volatile.global.s8 t,[%1]; cvt.s32.s16 %0,t; }" : "=r"(r) : "l"((const char *)a + i)); o[13 * n + i] = r;
    asm volatile("ld.weak.global.u8 %0,[%1+3];" : "=r"(r) : "l"(a + i)); o[14 * n + i] = r;
    asm volatile("applypriority.global.L2::evict_normal [%0],128;" :: "l"((const void *)((size_t)a & ~127ull)) : "memory");
}

// generic pointers that turn out shared, global or local; cvta, isspacep; a transposing tile with padding
__device__ __noinline__ int load_generic(const int *p, int *kind) { *kind = (__isShared(p) ? 1 : 0) + (__isGlobal(p) ? 2 : 0) + (__isLocal(p) ? 4 : 0) ; return *p; }
__constant__ int c_four[4] = {100, 200, 300, 400};
extern "C" __global__ void generic_ptr(const int *a, int *o, int n) {
    __shared__ int s[128];
    int t = threadIdx.x, l[4], kind;
    s[t] = t * 7;
    for (int k = 0; k < 4; k++) l[k] = k * 11 + t;
    __syncthreads();
    int j = a[t] & 3;
    const int *p = j == 0 ? &a[t] : j == 1 ? &s[(t + 1) & 127] : j == 2 ? &l[(t >> 2) & 3] : &c_four[t & 3];
    o[t] = load_generic(p, &kind); o[n + t] = j == 3 ? 8 : kind;     // whether constant memory counts as global is left open
    if (j == 1) { int *w = const_cast<int *>(p); *w = -t; }     // generic store to shared
    __syncthreads();
    o[2 * n + t] = s[t];
}
extern "C" __global__ void transpose(const float *a, float *o, int rows, int cols) {
    extern __shared__ float dyn[];                 // 32 x 33
    __shared__ int fixed[2];
    int x = blockIdx.x * 32 + threadIdx.x, y0 = blockIdx.y * 32;
    if (threadIdx.x == 0 && threadIdx.y == 0) { fixed[0] = 3; fixed[1] = 4; }
    for (int k = threadIdx.y; k < 32; k += blockDim.y) if (x < cols && y0 + k < rows) dyn[k * 33 + threadIdx.x] = a[(y0 + k) * cols + x];
    __syncthreads();
    int ox = y0 + threadIdx.x;
    for (int k = threadIdx.y; k < 32; k += blockDim.y) if (ox < rows && blockIdx.x * 32 + k < cols) o[(blockIdx.x * 32 + k) * rows + ox] = dyn[threadIdx.x * 33 + k] * fixed[0] - fixed[1];
}
// two views of one dynamic allocation, 8- and 16-bit shared accesses
extern "C" __global__ void shared_bytes(const uint8_t *a, uint8_t *o, int n) {
    extern __shared__ __align__(16) unsigned char raw[];
    uint16_t *h = (uint16_t *)(raw + 256); uint4 *v = (uint4 *)(raw + 1024);
    int t = threadIdx.x;
    raw[t] = a[t]; h[t] = a[t] * 257;
    __syncthreads();
    if (t < 16) v[t] = *(uint4 *)(raw + t * 16);
    __syncthreads();
    o[t] = raw[1024 + (t ^ 5)] + (h[(t + 3) & 255] >> 8);
}
