// Atomics of every type, scope and width; reductions; vector forms; compare-and-swap loops; locks.
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#include <cuda/atomic>
#include <cstdint>
typedef long long ll; typedef unsigned long long ull;

// order-independent totals (no result used: compiles to red), each counter once in global and once in shared memory
template <class P32, class P64> __device__ void totals(P32 *i, P64 *u, float *f, double *d, int x) {
    atomicAdd(&i[0], x); atomicSub(&i[1], x); atomicMin(&i[2], x); atomicMax(&i[3], x); atomicAnd(&i[4], x | 0xff00); atomicOr(&i[5], x & 0xf0f); atomicXor(&i[6], x * 77);
    atomicMin((unsigned *)&i[7], (unsigned)x); atomicMax((unsigned *)&i[8], (unsigned)x);
    atomicInc((unsigned *)&i[9], 12); atomicDec((unsigned *)&i[10], 9);
    atomicAdd(&u[0], (ull)(ll)x * 0x100000001ull); atomicMin((ll *)&u[1], (ll)x << 33); atomicMax((ll *)&u[2], (ll)x << 33);
    atomicMin(&u[3], (ull)((ll)x << 33)); atomicMax(&u[4], (ull)((ll)x << 33)); atomicAnd(&u[5], ~((ull)(x & 31) << 36)); atomicOr(&u[6], 1ull << (x & 63)); atomicXor(&u[7], (ull)(unsigned)x << 15);
    atomicAdd(f, (float)x * 0.25f); atomicAdd(d, (double)x * 0.125);
}
extern "C" __global__ void atom_totals(const int *a, int *gi, ull *gu, float *gf, double *gd, int *si, ull *su, float *sf, double *sd, int n) {
    __shared__ int i32[11]; __shared__ ull u64[8]; __shared__ float f; __shared__ double d;
    int t = threadIdx.x;
    if (t < 11) i32[t] = t == 2 ? 0x7fffffff : t == 3 ? (int)0x80000000 : t == 4 || t == 7 ? -1 : 0;
    if (t < 8) u64[t] = t == 1 ? 0x7fffffffffffffffull : t == 2 ? 0x8000000000000000ull : t == 3 || t == 5 ? ~0ull : 0;
    if (t == 0) { f = 0; d = 0; }
    __syncthreads();
    for (int k = blockIdx.x * blockDim.x + t; k < n; k += gridDim.x * blockDim.x) {
        totals(gi, gu, gf, gd, a[k]);
        totals(i32, u64, &f, &d, a[k]);
    }
    __syncthreads();
    if (t < 11) si[blockIdx.x * 11 + t] = i32[t];
    if (t < 8) su[blockIdx.x * 8 + t] = u64[t];
    if (t == 0) { sf[blockIdx.x] = f; sd[blockIdx.x] = d; }
}

// results used: every ticket handed out once; exchange and compare-and-swap
extern "C" __global__ void atom_results(int *ctr, int *seen, ull *chain, unsigned short *h, float *fmax, int *inc, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int t = atomicAdd(&ctr[0], 1);
    seen[t] += 1;
    unsigned w = atomicInc((unsigned *)&ctr[1], 6);
    atomicAdd(&inc[w], 1);
    unsigned d = atomicDec((unsigned *)&ctr[2], 4);
    atomicAdd(&inc[8 + d], 1);
    ull old = atomicExch(&chain[0], (ull)(i + 1));           // sum of all old values + the last = n (n + 1) / 2
    atomicAdd(&chain[1], old);
    ull e = chain[2], c;
    do { c = e; e = atomicCAS(&chain[2], c, c + 1); } while (e != c);
    unsigned short q = h[0], p;
    do { p = q; q = atomicCAS(&h[0], p, (unsigned short)(p + 3)); } while (q != p);
    int *fi = (int *)fmax, o = *fi;
    float v = (float)((i * 37) % n) * 0.5f;
    while (__int_as_float(o) < v) { int was = atomicCAS(fi, o, __float_as_int(v)); if (was == o) break; o = was; }
}

extern "C" __global__ void atom_fold(ull *p, int from, int to) { p[to] += p[from]; p[from] = 0; }

extern "C" __global__ void atom_half(const __half *a, __half *oh, __half2 *oh2, const __nv_bfloat16 *b, __nv_bfloat16 *ob, __nv_bfloat162 *ob2, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    atomicAdd(&oh[i & 3], a[i]); atomicAdd(&oh2[i & 1], __half2(a[i], a[n - 1 - i]));
    atomicAdd(&ob[i & 3], b[i]); atomicAdd(&ob2[i & 1], __nv_bfloat162(b[i], b[n - 1 - i]));
}

#if __CUDA_ARCH__ >= 900
extern "C" __global__ void atom_vec(const float *a, float *o2, float *o4, float *oa, __half *oh, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    atomicAdd((float2 *)o2 + (i & 1), make_float2(a[i], 1.0f));
    atomicAdd((float4 *)o4 + (i & 1), make_float4(a[i], 1.0f, -a[i], 2.0f));
    float4 r;
    asm volatile("atom.relaxed.gpu.global.add.v4.f32 {%0,%1,%2,%3},[%4],{%5,%5,%6,%6};" : "=f"(r.x), "=f"(r.y), "=f"(r.z), "=f"(r.w) : "l"(oa), "f"(a[i]), "f"(1.0f) : "memory");
    if (r.z < 0 || r.z >= n) oa[4] = 1.0f;
    unsigned x = 0x3c003c00u;   // two ones
    asm volatile("red.relaxed.gpu.global.add.noftz.v4.f16x2 [%0],{%1,%1,%1,%1};" :: "l"(oh), "r"(x) : "memory");
    asm volatile("red.relaxed.gpu.global.max.noftz.v2.f16x2 [%0],{%1,%1};" :: "l"(oh + 8), "r"(0x3c003c00u + (i & 7)) : "memory");
    asm volatile("red.relaxed.gpu.global.min.noftz.v2.bf16x2 [%0],{%1,%1};" :: "l"(oh + 12), "r"(0x3f803f80u + (i & 7)) : "memory");
}
extern "C" __global__ void cas128(ulonglong2 *p, ulonglong2 *x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    ull lo = 0, hi = 0, ol, oh;
    for (;;) {
        asm volatile("{ .reg .b128 e,d,r; mov.b128 e,{%2,%3}; mov.b128 d,{%4,%5}; atom.relaxed.gpu.global.cas.b128 r,[%6],e,d; mov.b128 {%0,%1},r; }"
                     : "=l"(ol), "=l"(oh) : "l"(lo), "l"(hi), "l"(lo + 0xffffffffffffff01ull), "l"(hi + i + (lo + 0xffffffffffffff01ull < lo)), "l"(p) : "memory");
        if (ol == lo && oh == hi) break;
        lo = ol; hi = oh;
    }
    asm volatile("{ .reg .b128 d,r; mov.b128 d,{%2,%3}; atom.relaxed.gpu.global.exch.b128 r,[%4],d; mov.b128 {%0,%1},r; }"
                 : "=l"(ol), "=l"(oh) : "l"((ull)i + 1), "l"((ull)i * 2 + 2), "l"(x) : "memory");
    atomicAdd(&x[1].x, ol); atomicAdd(&x[1].y, oh);
}
#endif

// scopes and orders as libcu++ writes them
extern "C" __global__ void atom_scopes(int *g, ull *u, int n) {
    __shared__ cuda::atomic<int, cuda::thread_scope_block> blk; __shared__ int count;
    if (threadIdx.x == 0) { blk.store(0, cuda::memory_order_relaxed); count = 0; }
    __syncthreads();
    cuda::atomic_ref<int, cuda::thread_scope_device> dev(g[0]);
    cuda::atomic_ref<int, cuda::thread_scope_system> sys(g[1]);
    cuda::atomic_ref<ull, cuda::thread_scope_device> d64(u[0]);
    blk.fetch_add(2); dev.fetch_add(3, cuda::memory_order_acq_rel); sys.fetch_add(1, cuda::memory_order_seq_cst); d64.fetch_or(1ull << (threadIdx.x & 63), cuda::memory_order_release);
    sys.fetch_sub(2, cuda::memory_order_relaxed); dev.fetch_max(-5); d64.fetch_xor(0, cuda::memory_order_acquire);
    int e = dev.load(cuda::memory_order_acquire);
    while (!dev.compare_exchange_weak(e, e + 1, cuda::memory_order_acq_rel)) {}
    atomicAdd_block(&count, 1); atomicAdd_system(&g[3], 1);
    cuda::atomic_thread_fence(cuda::memory_order_seq_cst, cuda::thread_scope_device);
    __threadfence_block(); __threadfence(); __threadfence_system();
    __syncthreads();
    if (threadIdx.x == 0) { g[4 + blockIdx.x] = blk.load(); atomicAdd(&g[2], count); }
}

// every lane of a warp takes the same lock in turn
extern "C" __global__ void spin_lock(int *lock, volatile int *sum, volatile int *last) {
    bool done = false;
    while (!done) {
        if (atomicCAS(lock, 0, 1) == 0) {
            __threadfence();
            int s = *sum; *last = threadIdx.x; *sum = s + threadIdx.x + blockIdx.x * 1000;
            __threadfence();
            atomicExch(lock, 0);
            done = true;
        }
    }
}
// the form that needs forward progress of single lanes
extern "C" __global__ void spin_lock_lane(int *lock, volatile int *sum) {
    while (atomicCAS(lock, 0, 1) != 0) __nanosleep(10);
    __threadfence();
    *sum = *sum + (int)threadIdx.x + 1;
    __threadfence();
    atomicExch(lock, 0);
}
// lanes of one warp pass a token along; a lane waits for a value its neighbour writes
extern "C" __global__ void lane_chain(volatile int *box) {
    int t = threadIdx.x;
    int v;
    while ((v = box[t]) == 0) {}
    box[t + 1] = v + t;
}
// block 0 produces, block 1 consumes, through flags with acquire and release
extern "C" __global__ void producer_consumer(const int *a, int *q, int *flag, int *o, int n) {
    const int slots = 4, w = 64;
    int t = threadIdx.x;
    if (blockIdx.x == 0) {
        for (int k = 0; k < n; k++) {
            int s = k % slots;
            if (t == 0) { int f; do asm volatile("ld.acquire.gpu.global.s32 %0,[%1];" : "=r"(f) : "l"(&flag[s]) : "memory"); while (f != 2 * (k / slots)); }
            __syncthreads();
            q[s * w + t] = a[k * w + t] * 2 + k;
            __syncthreads();
            if (t == 0) asm volatile("st.release.gpu.global.s32 [%0],%1;" :: "l"(&flag[s]), "r"(2 * (k / slots) + 1) : "memory");
        }
    } else {
        int sum = 0;
        for (int k = 0; k < n; k++) {
            int s = k % slots;
            if (t == 0) { int f; do asm volatile("ld.acquire.gpu.global.s32 %0,[%1];" : "=r"(f) : "l"(&flag[s]) : "memory"); while (f != 2 * (k / slots) + 1); }
            __syncthreads();
            sum = sum * 3 + q[s * w + (t ^ 1)];
            __syncthreads();
            if (t == 0) asm volatile("red.release.gpu.global.add.s32 [%0],1;" :: "l"(&flag[s]) : "memory");
        }
        o[t] = sum;
    }
}
