// Block barriers, cooperative grid barrier, cuda::barrier, cuda::pipeline, cp.async, mbarrier.
#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
#include <cuda/barrier>
#include <cuda/pipeline>
#include <cstdint>
namespace cg = cooperative_groups;

extern "C" __global__ void barrier_votes(const int *a, int *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    int x = a[i], k = 0;
    o[(k++) * n + i] = __syncthreads_count(x & 1); o[(k++) * n + i] = __syncthreads_and(x > -100); o[(k++) * n + i] = __syncthreads_or(x > 45); o[(k++) * n + i] = __syncthreads_and(x & 1) != 0;
    int r;
    asm volatile("{ .reg .pred p; setp.gt.s32 p,%1,0; barrier.cta.red.popc.u32 %0,2,128,p; }" : "=r"(r) : "r"(x)); o[(k++) * n + i] = r;
}
// two groups of warps ping-pong over named barriers: group 0 fills, group 1 drains
extern "C" __global__ void named_barriers(const int *a, int *o, int n) {
    __shared__ int buf[2][64];
    int t = threadIdx.x & 63, g = threadIdx.x >> 6;
    for (int k = 0; k < n; k++) {
        int b = k & 1;
        if (g == 0) {
            if (k >= 2) asm volatile("bar.sync %0,128;" :: "r"(3 + b) : "memory");
            buf[b][t] = a[k * 64 + t] + k;
            asm volatile("bar.arrive %0,128;" :: "r"(1 + b) : "memory");
        } else {
            asm volatile("bar.sync %0,128;" :: "r"(1 + b) : "memory");
            o[k * 64 + t] = buf[b][63 - t];
            if (k + 2 < n) asm volatile("bar.arrive %0,128;" :: "r"(3 + b) : "memory");
        }
    }
}
extern "C" __global__ void grid_sync(int *a, int *b, int rounds) {
    cg::grid_group g = cg::this_grid();
    int n = g.size(), i = g.thread_rank();
    for (int r = 0; r < rounds; r++) {
        int *s = r & 1 ? b : a, *d = r & 1 ? a : b;
        d[i] = s[i] + s[(i + 37) % n];
        g.sync();
    }
}
extern "C" __global__ void libcu_barrier(const int *a, int *o, int n) {
    __shared__ cuda::barrier<cuda::thread_scope_block> bar;
    __shared__ int s[256];
    auto blk = cg::this_thread_block();
    if (threadIdx.x == 0) init(&bar, blockDim.x);
    blk.sync();
    int sum = 0;
    for (int k = 0; k < n; k++) {
        cuda::memcpy_async(blk, s, a + k * blockDim.x, sizeof(int) * blockDim.x, bar);
        bar.arrive_and_wait();
        sum += s[(threadIdx.x * 5 + k) % blockDim.x];
        auto tok = bar.arrive();
        bar.wait(std::move(tok));
    }
    o[threadIdx.x] = sum;
}
extern "C" __global__ void libcu_pipeline(const float *a, float *o, int n) {
    __shared__ alignas(16) float s[3][128];
    __shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, 3> st;
    auto blk = cg::this_thread_block();
    auto pipe = cuda::make_pipeline(blk, &st);
    int fetched = 0;
    float acc = 0;
    for (int k = 0; k < n; k++) {
        for (; fetched < n && fetched < k + 3; fetched++) {
            pipe.producer_acquire();
            cuda::memcpy_async(blk, s[fetched % 3], a + fetched * 128, cuda::aligned_size_t<16>(512), pipe);
            pipe.producer_commit();
        }
        pipe.consumer_wait();
        acc += s[k % 3][127 - threadIdx.x] * (k + 1);
        pipe.consumer_release();
    }
    o[threadIdx.x] = acc;
}
extern "C" __global__ void cg_memcpy(const int *a, int *o, int n) {
    __shared__ alignas(16) int s[2][128];
    auto blk = cg::this_thread_block();
    int acc = 0;
    cg::memcpy_async(blk, s[0], a, cuda::aligned_size_t<16>(512));
    for (int k = 0; k < n; k++) {
        if (k + 1 < n) { cg::memcpy_async(blk, s[(k + 1) & 1], a + (k + 1) * 128, cuda::aligned_size_t<16>(512)); cg::wait_prior<1>(blk); } else cg::wait(blk);
        acc = acc * 3 + s[k & 1][threadIdx.x ^ 3];
        blk.sync();
    }
    o[threadIdx.x] = acc;
}
// cp.async of 4, 8 and 16 bytes, source sizes that leave a tail of zeros, groups
extern "C" __global__ void cp_async(const int *a, int *o, int n) {
    __shared__ alignas(16) int s[3][4 * 128];
    int t = threadIdx.x;
    unsigned d = (unsigned)__cvta_generic_to_shared(&s[0][t * 4]);
    int left = (n - t * 4) * 4; left = left < 0 ? 0 : left > 16 ? 16 : left;
    const int *src = t * 4 < n ? a + t * 4 : a;
    asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2; cp.async.commit_group;" :: "r"(d), "l"(src), "r"(left) : "memory");
    for (int j = 0; j < 4; j++) if (t * 4 + j < n) asm volatile("cp.async.ca.shared.global.L2::128B [%0],[%1],4;" :: "r"(d + 2048 + (3 - j) * 4), "l"(a + t * 4 + j) : "memory"); else s[1][t * 4 + 3 - j] = -1;
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("{ .reg .pred p; setp.lt.s32 p,%2,1; cp.async.ca.shared.global [%0],[%1],8,p; cp.async.ca.shared.global [%0+8],[%1+8],8; }" :: "r"(d + 4096), "l"(a), "r"(t & 1) : "memory");  // p: ignore the source
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    int x = s[0][(t * 4 + 5) & 511], y = s[1][(t * 4 + 9) & 511];
    asm volatile("cp.async.commit_group; cp.async.wait_all;" ::: "memory");
    __syncthreads();
    o[t] = x; o[128 + t] = y; o[256 + t] = s[2][((t + 1) & 127) * 4] + s[2][t * 4 + 3];
}
// mbarrier by hand: arrive counts, phases, cp.async arriving, pending counts, test_wait by token
extern "C" __global__ void mbarrier(const int *a, int *o, int n) {
    __shared__ alignas(8) unsigned long long bar[2];
    __shared__ int s[128];
    int t = threadIdx.x;
    unsigned b0 = (unsigned)__cvta_generic_to_shared(&bar[0]), b1 = b0 + 8;
    if (t == 0) asm volatile("mbarrier.init.shared.b64 [%0],128; mbarrier.init.shared::cta.b64 [%1],%2;" :: "r"(b0), "r"(b1), "r"(256) : "memory");
    __syncthreads();
    int acc = 0, late = 0;
    for (int k = 0; k < n; k++) {
        asm volatile("cp.async.ca.shared.global [%0],[%1],4; cp.async.mbarrier.arrive.noinc.shared.b64 [%2];" :: "r"((unsigned)__cvta_generic_to_shared(&s[t])), "l"(a + k * 128 + t), "r"(b0) : "memory");
        unsigned ok;
        do asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p,[%1],%2; selp.u32 %0,1,0,p; }" : "=r"(ok) : "r"(b0), "r"(k & 1) : "memory"); while (!ok);
        acc = acc * 5 + s[127 - t];
        unsigned long long tok;
        unsigned pend;
        asm volatile("mbarrier.arrive.noComplete.shared.b64 %0,[%1],1;" : "=l"(tok) : "r"(b1) : "memory");
        asm volatile("mbarrier.arrive.shared.b64 %0,[%1];" : "=l"(tok) : "r"(b1) : "memory");
        asm volatile("mbarrier.pending_count.b64 %0,%1;" : "=r"(pend) : "l"(tok));
        late += pend >= 1 && pend <= 256;
        do asm volatile("{ .reg .pred p; mbarrier.test_wait.shared.b64 p,[%1],%2; selp.u32 %0,1,0,p; }" : "=r"(ok) : "r"(b1), "l"(tok) : "memory"); while (!ok);
    }
    __syncthreads();
    if (t == 0) asm volatile("mbarrier.inval.shared.b64 [%0]; mbarrier.inval.shared.b64 [%1];" :: "r"(b0), "r"(b1) : "memory");
    o[t] = acc; o[128 + t] = late;
}
// the first kernel lets the second start early; the second waits before it reads
#if __CUDA_ARCH__ >= 900
extern "C" __global__ void pdl_first(int *a, int n) {
    asm volatile("griddepcontrol.launch_dependents;");
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) a[i] = i * 3;
}
extern "C" __global__ void pdl_second(const int *a, int *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    asm volatile("griddepcontrol.wait;" ::: "memory");
    if (i < n) o[i] = a[n - 1 - i] + 1;
}
#endif
