// Clusters, distributed shared memory, bulk and tensor copies, warp specialisation (sm_90a).
#include <cooperative_groups.h>
#include <cuda.h>
#include <cstdint>
namespace cg = cooperative_groups;
typedef unsigned long long ull;
#define SPTR(p) ((unsigned)__cvta_generic_to_shared(p))
__device__ __forceinline__ void bar_init(unsigned b, int n) { asm volatile("mbarrier.init.shared::cta.b64 [%0],%1;" :: "r"(b), "r"(n) : "memory"); }
__device__ __forceinline__ void bar_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ __forceinline__ void bar_expect(unsigned b, int n) { asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _,[%0],%1;" :: "r"(b), "r"(n) : "memory"); }
__device__ __forceinline__ void bar_arrive(unsigned b) { asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _,[%0];" :: "r"(b) : "memory"); }
__device__ __forceinline__ void bar_wait(unsigned b, int ph) {
    asm volatile("{\n .reg .pred P1;\n LAB_WAIT:\n mbarrier.try_wait.parity.shared::cta.b64 P1,[%0],%1;\n @P1 bra DONE;\n bra LAB_WAIT;\n DONE:\n }" :: "r"(b), "r"(ph) : "memory");
}
__device__ __forceinline__ void proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// every block adds its neighbours' values through mapped shared memory; atomics in the leader's
extern "C" __global__ void dsmem(const int *a, int *o, int *hist) {
    __shared__ int s[64]; __shared__ int h[8];
    cg::cluster_group c = cg::this_cluster();
    int t = threadIdx.x, r = c.block_rank(), n = c.num_blocks();
    s[t] = a[blockIdx.x * 64 + t];
    if (t < 8) h[t] = 0;
    c.sync();
    int sum = 0;
    for (int k = 0; k < n; k++) sum = sum * 3 + c.map_shared_rank(s, (r + k) % n)[(t + k) & 63];
    atomicAdd(&c.map_shared_rank(h, 0)[s[t] & 7], 1);
    c.sync();
    if (r == 0 && t < 8) hist[blockIdx.x / n * 8 + t] = h[t];
    o[blockIdx.x * 64 + t] = sum;
    unsigned q = c.query_shared_rank(c.map_shared_rank(s, (r + 1) % n));
    o[(gridDim.x + blockIdx.x) * 64 + t] = q * 100 + c.thread_rank() / 64;
    c.sync();
}
// the same through PTX: mapa, ld/st.shared::cluster, split arrive and wait, remote mbarrier arrive, st.async, red.async
extern "C" __global__ void __cluster_dims__(2, 1, 1) cluster_ptx(int *o) {
    __shared__ alignas(16) int s[128]; __shared__ alignas(8) ull bar; __shared__ alignas(8) ull bar2; __shared__ alignas(8) ull sum; __shared__ int cnt;
    int t = threadIdx.x; unsigned rank, peer;
    asm volatile("mov.u32 %0,%%cluster_ctarank;" : "=r"(rank)); peer = rank ^ 1;
    if (t == 0) { bar_init(SPTR(&bar), 1); bar_init(SPTR(&bar2), 128); bar_fence(); cnt = 5; sum = 0; bar_expect(SPTR(&bar), 64 * 4 + 32 * 8 + 4 * 4); }
    s[t] = -1;
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
    unsigned rs, rb, rb2, rc, rsum;
    asm volatile("mapa.shared::cluster.u32 %0,%1,%2;" : "=r"(rs) : "r"(SPTR(s)), "r"(peer));
    asm volatile("mapa.shared::cluster.u32 %0,%1,%2;" : "=r"(rb) : "r"(SPTR(&bar)), "r"(peer));
    asm volatile("mapa.shared::cluster.u32 %0,%1,%2;" : "=r"(rb2) : "r"(SPTR(&bar2)), "r"(peer));
    asm volatile("mapa.shared::cluster.u32 %0,%1,%2;" : "=r"(rc) : "r"(SPTR(&cnt)), "r"(peer));
    asm volatile("mapa.shared::cluster.u32 %0,%1,%2;" : "=r"(rsum) : "r"(SPTR(&sum)), "r"(peer));
    if (t < 64) asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [%0],%1,[%2];" :: "r"(rs + t * 4), "r"(t + rank * 1000), "r"(rb) : "memory");
    if (t == 64) asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.s32 [%0],{%1,%2,%3,%4},[%5];" :: "r"(rs + 400), "r"(11), "r"(22), "r"(33), "r"(44 + rank), "r"(rb) : "memory");
    if (t >= 96) asm volatile("red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u64 [%0],%1,[%2];" :: "r"(rsum), "l"((ull)t), "r"(rb) : "memory");
    asm volatile("atom.shared::cluster.add.u32 %0,[%1],1;" : "=r"(rs) : "r"(rc) : "memory");
    asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _,[%0];" :: "r"(rb2) : "memory");
    bar_wait(SPTR(&bar), 0);
    asm volatile("{\n .reg .pred P1;\n L2:\n mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 P1,[%0],0,100;\n @!P1 bra L2;\n }" :: "r"(SPTR(&bar2)) : "memory");
    int v = s[t];
    // relaxed orders nothing by itself: the fence releases the updates of the peer's counter
    asm volatile("fence.acq_rel.cluster;\n barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
    asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
    int c; asm volatile("ld.shared::cluster.s32 %0,[%1];" : "=r"(c) : "r"(rc));
    unsigned own; asm volatile("getctarank.shared::cluster.u32 %0,%1;" : "=r"(own) : "r"(rc));
    o[blockIdx.x * 128 + t] = v + (t == 127 ? (int)sum + c * 10000 + (int)own : 0);
    asm volatile("barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;" ::: "memory");
}

// bulk copies: global to shared, shared to global, shared to another block's shared, reduction into global, prefetch
extern "C" __global__ void bulk(const int *a, int *o, int *acc, float *facc, int n) {
    __shared__ alignas(128) int s[256]; __shared__ alignas(128) int d[256]; __shared__ alignas(128) float f[64]; __shared__ alignas(8) ull bar;
    int t = threadIdx.x; unsigned b = SPTR(&bar);
    if (t == 0) { bar_init(b, 1); bar_fence(); }
    __syncthreads();
    for (int k = 0; k < n; k++) {
        const int *src = a + (blockIdx.x * n + k) * 256;
        if (t == 0) {
            asm volatile("cp.async.bulk.prefetch.L2.global [%0],1024;" :: "l"(src));
            bar_expect(b, 1024);
            asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0],[%1],%2,[%3];" :: "r"(SPTR(s)), "l"(src), "r"(512), "r"(b) : "memory");
            asm volatile("cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%0],[%1],%2,[%3];" :: "r"(SPTR(s) + 512), "l"(src + 128), "r"(512), "r"(b) : "memory");
        }
        bar_wait(b, k & 1);
        d[t] = s[255 - t] * 2; if (t < 64) f[t] = (float)s[t];
        proxy_fence();
        __syncthreads();
        if (t == 0) {
            asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0],[%1],%2;" :: "l"(o + (blockIdx.x * n + k) * 256), "r"(SPTR(d)), "r"(1024) : "memory");
            asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.s32 [%0],[%1],%2;" :: "l"(acc), "r"(SPTR(d)), "r"(1008) : "memory");
            asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.max.s32 [%0],[%1],%2;" :: "l"(acc + 256), "r"(SPTR(d)), "r"(1024) : "memory");
            asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0],[%1],%2;" :: "l"(facc), "r"(SPTR(f)), "r"(256) : "memory");
            asm volatile("cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0;" ::: "memory");
        }
        __syncthreads();
    }
    if (t == 0) asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}
extern "C" __global__ void __cluster_dims__(2, 1, 1) bulk_cluster(const int *a, int *o) {
    __shared__ alignas(128) int s[128]; __shared__ alignas(128) int r[128]; __shared__ alignas(8) ull bar;
    int t = threadIdx.x; unsigned rank, db, dr;
    asm volatile("mov.u32 %0,%%cluster_ctarank;" : "=r"(rank));
    if (t == 0) { bar_init(SPTR(&bar), 1); bar_fence(); bar_expect(SPTR(&bar), 512); }
    s[t] = a[blockIdx.x * 128 + t] + 1;
    proxy_fence();
    cg::this_cluster().sync();
    asm volatile("mapa.shared::cluster.u32 %0,%1,%2;" : "=r"(db) : "r"(SPTR(&bar)), "r"(rank ^ 1));
    asm volatile("mapa.shared::cluster.u32 %0,%1,%2;" : "=r"(dr) : "r"(SPTR(r)), "r"(rank ^ 1));
    if (t == 0) asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0],[%1],512,[%2];" :: "r"(dr), "r"(SPTR(s)), "r"(db) : "memory");
    bar_wait(SPTR(&bar), 0);
    o[blockIdx.x * 128 + t] = r[t];
    cg::this_cluster().sync();
}

// the box at (c0, c1, ...) lands in shared memory, whose raw bytes (so the swizzle shows) go to raw; then it is stored or reduced elsewhere
#define TMA(name, D, COORD, OUTC, LD, ST)                                                                                          \
    extern "C" __global__ void name(const __grid_constant__ CUtensorMap in, const __grid_constant__ CUtensorMap out, unsigned *raw, int bytes, int c0, int c1, int c2, int c3, int c4) { \
        extern __shared__ __align__(1024) unsigned char smem[];                                                                    \
        __shared__ alignas(8) ull bar; int t = threadIdx.x; unsigned b = SPTR(&bar), s = SPTR(smem);                               \
        if (t == 0) { bar_init(b, 1); bar_fence(); asm volatile("prefetch.tensormap [%0];" :: "l"(&in)); }                         \
        __syncthreads();                                                                                                           \
        if (t == 0) { bar_expect(b, bytes);                                                                                        \
            asm volatile("cp.async.bulk.tensor." #D ".shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0],[%1," COORD "],[%2];"  \
                         :: "r"(s), "l"(&in), "r"(b), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4) : "memory"); }                  \
        bar_wait(b, 0);                                                                                                            \
        for (int i = t; i < bytes / 4; i += blockDim.x) raw[i] = ((unsigned *)smem)[i];                                           \
        proxy_fence(); __syncthreads();                                                                                            \
        if (t == 0) { asm volatile(ST " [%0," OUTC "],[%1]; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;"               \
                                   :: "l"(&out), "r"(s), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4) : "memory"); }               \
    }
#define STORE(D) "cp.async.bulk.tensor." D ".global.shared::cta.tile.bulk_group"
#define RED(D, op) "cp.reduce.async.bulk.tensor." D ".global.shared::cta." op ".tile.bulk_group"
TMA(tma_1d, 1d, "{%3}", "{%2}", , STORE("1d"))
TMA(tma_2d, 2d, "{%3,%4}", "{%2,%3}", , STORE("2d"))
TMA(tma_3d, 3d, "{%3,%4,%5}", "{%2,%3,%4}", , STORE("3d"))
TMA(tma_4d, 4d, "{%3,%4,%5,%6}", "{%2,%3,%4,%5}", , STORE("4d"))
TMA(tma_5d, 5d, "{%3,%4,%5,%6,%7}", "{%2,%3,%4,%5,%6}", , STORE("5d"))
TMA(tma_red_add, 2d, "{%3,%4}", "{%2,%3}", , RED("2d", "add"))
TMA(tma_red_min, 2d, "{%3,%4}", "{%2,%3}", , RED("2d", "min"))
TMA(tma_red_max, 2d, "{%3,%4}", "{%2,%3}", , RED("2d", "max"))
TMA(tma_red_xor, 2d, "{%3,%4}", "{%2,%3}", , RED("2d", "xor"))
TMA(tma_red_or, 2d, "{%3,%4}", "{%2,%3}", , RED("2d", "or"))

// each of two blocks fetches half of a tile and multicasts it to both; the descriptor lies in global memory
extern "C" __global__ void __cluster_dims__(2, 1, 1) tma_multicast(const __grid_constant__ CUtensorMap in, int *o) {
    __shared__ alignas(1024) int s[64 * 32]; __shared__ alignas(8) ull bar;
    int t = threadIdx.x; unsigned rank, b = SPTR(&bar);
    asm volatile("mov.u32 %0,%%cluster_ctarank;" : "=r"(rank));
    if (t == 0) { bar_init(b, 1); bar_fence(); bar_expect(b, 64 * 32 * 4); }
    cg::this_cluster().sync();
    if (t == 0)
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0],[%1,{%2,%3}],[%4],%5;"
                     :: "r"(SPTR(s) + rank * 32 * 32 * 4), "l"(&in), "r"(0), "r"((int)rank * 32), "r"(b), "h"((unsigned short)3) : "memory");
    bar_wait(b, 0);
    for (int i = t; i < 64 * 32; i += blockDim.x) o[blockIdx.x * 64 * 32 + i] = s[i] + (int)blockIdx.x;
    cg::this_cluster().sync();
}

// a descriptor edited on the device: address, dimensions, strides, box replaced, copied to global memory, fenced, used
extern "C" __global__ void tensormap_replace(const __grid_constant__ CUtensorMap proto, ull *maps, const int *base, int *o, int width, int height) {
    __shared__ alignas(128) ull m[16]; __shared__ alignas(1024) int s[16 * 16]; __shared__ alignas(8) ull bar;
    int t = threadIdx.x; unsigned b = SPTR(&bar), ms = SPTR(m);
    if (t < 16) m[t] = ((const ull *)&proto)[t];
    if (t == 0) { bar_init(b, 1); bar_fence(); }
    __syncthreads();
    if (t == 0) {
        asm volatile("tensormap.replace.tile.global_address.shared::cta.b1024.b64 [%0],%1;" :: "r"(ms), "l"(base + blockIdx.x * width * height) : "memory");
        asm volatile("tensormap.replace.tile.rank.shared::cta.b1024.b32 [%0],%1;" :: "r"(ms), "r"(1) : "memory");
        asm volatile("tensormap.replace.tile.global_dim.shared::cta.b1024.b32 [%0],0,%1;" :: "r"(ms), "r"(width) : "memory");
        asm volatile("tensormap.replace.tile.global_dim.shared::cta.b1024.b32 [%0],1,%1;" :: "r"(ms), "r"(height - 3) : "memory");
        asm volatile("tensormap.replace.tile.global_stride.shared::cta.b1024.b64 [%0],0,%1;" :: "r"(ms), "l"((ull)width * 4) : "memory");
        asm volatile("tensormap.replace.tile.box_dim.shared::cta.b1024.b32 [%0],0,%1;" :: "r"(ms), "r"(16) : "memory");
        asm volatile("tensormap.replace.tile.box_dim.shared::cta.b1024.b32 [%0],1,%1;" :: "r"(ms), "r"(16) : "memory");
        asm volatile("tensormap.replace.tile.element_stride.shared::cta.b1024.b32 [%0],0,1; tensormap.replace.tile.element_stride.shared::cta.b1024.b32 [%0],1,1;" :: "r"(ms) : "memory");
        asm volatile("tensormap.replace.tile.elemtype.shared::cta.b1024.b32 [%0],3; tensormap.replace.tile.interleave_layout.shared::cta.b1024.b32 [%0],0;" :: "r"(ms) : "memory");   // .s32
        asm volatile("tensormap.replace.tile.swizzle_mode.shared::cta.b1024.b32 [%0],2; tensormap.replace.tile.fill_mode.shared::cta.b1024.b32 [%0],0;" :: "r"(ms) : "memory");          // 64 bytes
    }
    __syncwarp();
    ull *g = maps + blockIdx.x * 16;
    if (t < 32) {
        asm volatile("tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned [%0],[%1],128;" :: "l"(g), "r"(ms) : "memory");
    }
    __syncthreads();
    if (t == 0) {
        asm volatile("fence.proxy.tensormap::generic.acquire.gpu [%0],128;" :: "l"(g) : "memory");
        bar_expect(b, 1024);
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0],[%1,{%2,%3}],[%4];" :: "r"(SPTR(s)), "l"(g), "r"(4), "r"(8), "r"(b) : "memory");
    }
    bar_wait(b, 0);
    for (int i = t; i < 256; i += blockDim.x) o[blockIdx.x * 256 + i] = s[i];
}

// three warpgroups: one loads by TMA with few registers, two consume with many; four-deep ring of full and empty barriers
extern "C" __global__ void __launch_bounds__(384) specialised(const __grid_constant__ CUtensorMap in, float *o, int tiles) {
    extern __shared__ __align__(1024) float ring[];       // 4 x 32 x 32
    __shared__ alignas(8) ull full[4]; __shared__ alignas(8) ull empty[4];
    int wg = threadIdx.x / 128, t = threadIdx.x % 128;
    if (threadIdx.x == 0) { for (int i = 0; i < 4; i++) { bar_init(SPTR(&full[i]), 1); bar_init(SPTR(&empty[i]), 256); } bar_fence(); }
    __syncthreads();
    if (wg == 0) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (t == 0)
            for (int k = 0; k < tiles; k++) {
                int s = k & 3;
                if (k >= 4) bar_wait(SPTR(&empty[s]), (k / 4 - 1) & 1);
                bar_expect(SPTR(&full[s]), 4096);
                asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0],[%1,{%2,%3}],[%4];"
                             :: "r"(SPTR(ring) + s * 4096), "l"(&in), "r"((int)blockIdx.x * 32), "r"(k * 32), "r"(SPTR(&full[s])) : "memory");
            }
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        float acc = 0;
        int col = t & 31, part = t >> 5;
        for (int k = 0; k < tiles; k++) {
            int s = k & 3;
            bar_wait(SPTR(&full[s]), (k / 4) & 1);
            for (int r = part; r < 32; r += 4) { float v = ring[s * 1024 + r * 32 + col]; acc += wg == 1 ? v : v * (float)(k + 1); }
            // reads before the copy that refills the stage: another proxy
            asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
            bar_arrive(SPTR(&empty[s]));
        }
        atomicAdd(&o[(blockIdx.x * 2 + wg - 1) * 32 + col], acc);
    }
}
