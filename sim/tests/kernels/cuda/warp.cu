// Warp-level operations, divergence, special registers.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
#include <cstdint>
namespace cg = cooperative_groups;
#define FULL 0xffffffffu
#define PUT(e) o[(k++) * n + i] = (e)

extern "C" __global__ void shuffles(const int *a, int *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, k = 0;      // n is a multiple of the block size
    int x = a[i], lane = threadIdx.x & 31;
    PUT(__shfl_sync(FULL, x, 5)); PUT(__shfl_sync(FULL, x, (lane * 7 + 3) & 31)); PUT(__shfl_sync(FULL, x, lane + 1, 8)); PUT(__shfl_sync(FULL, x, 37));
    PUT(__shfl_up_sync(FULL, x, 1)); PUT(__shfl_up_sync(FULL, x, 5, 16)); PUT(__shfl_down_sync(FULL, x, 3)); PUT(__shfl_down_sync(FULL, x, 2, 4));
    PUT(__shfl_xor_sync(FULL, x, 16)); PUT(__shfl_xor_sync(FULL, x, 3, 8)); PUT(__shfl_xor_sync(FULL, x, 9, 4));
    long long w = (long long)x << 20 | lane; w = __shfl_xor_sync(FULL, w, 1); PUT((int)(w >> 20)); PUT((int)(w & 0xfffff));
    double d = __shfl_down_sync(FULL, (double)x * 0.5, 4); PUT((int)(d * 2));
    int r, p;
    asm volatile("{ .reg .pred q; shfl.sync.up.b32 %0|q,%2,4,0x0800,-1; selp.s32 %1,1,0,q; }" : "=r"(r), "=r"(p) : "r"(x)); PUT(r); PUT(p);
    asm volatile("{ .reg .pred q; shfl.sync.idx.b32 %0|q,%2,%3,0x1c03,-1; selp.s32 %1,1,0,q; }" : "=r"(r), "=r"(p) : "r"(x), "r"(lane * 3)); PUT(r); PUT(p);
    asm volatile("{ .reg .pred q; shfl.sync.down.b32 %0|q,%2,6,0x101f,-1; selp.s32 %1,1,0,q; }" : "=r"(r), "=r"(p) : "r"(x)); PUT(r); PUT(p);
    asm volatile("{ .reg .pred q; shfl.sync.bfly.b32 %0|q,%2,12,0x1007,-1; selp.s32 %1,1,0,q; }" : "=r"(r), "=r"(p) : "r"(x)); PUT(r); PUT(p);
    // only half of the lanes take part
    r = -1;
    if (lane & 1) r = __shfl_sync(0xaaaaaaaau, x, (lane + 2) & 31 | 1);
    PUT(r);
}

extern "C" __global__ void votes(const int *a, unsigned *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, k = 0;
    int x = a[i], lane = threadIdx.x & 31;
    PUT(__all_sync(FULL, x > -100)); PUT(__all_sync(FULL, x > 0)); PUT(__any_sync(FULL, x > 40)); PUT(__any_sync(FULL, x > 1000));
    PUT(__ballot_sync(FULL, x & 1)); PUT(__uni_sync(FULL, x > -100)); PUT(__uni_sync(FULL, x > 0));
    PUT(__match_any_sync(FULL, x & 7)); int pred; unsigned m = __match_all_sync(FULL, x > -100, &pred); PUT(m); PUT(pred);
    m = __match_all_sync(FULL, x & 3, &pred); PUT(m); PUT(pred);
    PUT(__match_any_sync(FULL, (long long)(x & 3) << 40));
    PUT(__reduce_add_sync(FULL, x)); PUT(__reduce_min_sync(FULL, x)); PUT(__reduce_max_sync(FULL, x)); PUT(__reduce_min_sync(FULL, (unsigned)x)); PUT(__reduce_max_sync(FULL, (unsigned)x));
    PUT(__reduce_and_sync(FULL, (unsigned)x)); PUT(__reduce_or_sync(FULL, (unsigned)x)); PUT(__reduce_xor_sync(FULL, (unsigned)x));
    unsigned r = 0;
    if (lane < 11) r = __ballot_sync(0x7ff, x & 2); else if (lane < 20) r = __reduce_add_sync(0xff800, x); else r = __match_any_sync(0xfff00000, x & 1);
    PUT(r);
    r = 0;
    if (x & 1) r = __activemask() & (1u << lane) ? 3 : 1;
    PUT(r);
    unsigned lt, le, eq, ge, gt;
    asm("mov.u32 %0,%%lanemask_lt;" : "=r"(lt)); asm("mov.u32 %0,%%lanemask_le;" : "=r"(le)); asm("mov.u32 %0,%%lanemask_eq;" : "=r"(eq));
    asm("mov.u32 %0,%%lanemask_ge;" : "=r"(ge)); asm("mov.u32 %0,%%lanemask_gt;" : "=r"(gt));
    PUT(lt); PUT(le); PUT(eq); PUT(ge); PUT(gt);
}

#if __CUDA_ARCH__ >= 900
extern "C" __global__ void elect(int *o) {
    unsigned who, p;
    int t = threadIdx.x, lane = t & 31;
    asm volatile("{ .reg .pred q; elect.sync %0|q,0xffffffff; selp.u32 %1,1,0,q; }" : "=r"(who), "=r"(p));
    int ok = __popc(__ballot_sync(FULL, p)) == 1 && ((__ballot_sync(FULL, p) >> who) & 1);
    int sub = 1;
    if (lane >= 10 && lane < 20) {
        asm volatile("{ .reg .pred q; elect.sync %0|q,0x000ffc00; selp.u32 %1,1,0,q; }" : "=r"(who), "=r"(p));
        sub = __popc(__ballot_sync(0xffc00, p)) == 1 && who >= 10 && who < 20;
    }
    o[t] = ok * 2 + sub;
}
#endif

// block reduction, scan and divergent exchange through shared memory with __syncwarp
extern "C" __global__ void reduce_scan(const float *a, const int *b, float *sum, int *scan, int n) {
    __shared__ float ws[32];
    __shared__ int wi[32];
    __shared__ int ring[8][32];
    int t = threadIdx.x, lane = t & 31, w = t >> 5;
    float s = 0;
    for (int i = t; i < n; i += blockDim.x) s += a[blockIdx.x * n + i];
    for (int d = 16; d; d >>= 1) s += __shfl_down_sync(FULL, s, d);
    if (lane == 0) ws[w] = s;
    int v = b[blockIdx.x * blockDim.x + t], inc = v;
    for (int d = 1; d < 32; d <<= 1) { int u = __shfl_up_sync(FULL, inc, d); if (lane >= d) inc += u; }
    if (lane == 31) wi[w] = inc;
    __syncthreads();
    if (w == 0) {
        s = lane < blockDim.x / 32 ? ws[lane] : 0;
        for (int d = 16; d; d >>= 1) s += __shfl_xor_sync(FULL, s, d);
        if (lane == 0) sum[blockIdx.x] = s;
        int u = lane < blockDim.x / 32 ? wi[lane] : 0;
        for (int d = 1; d < 32; d <<= 1) { int q = __shfl_up_sync(FULL, u, d); if (lane >= d) u += q; }
        wi[lane] = u;
    }
    __syncthreads();
    inc += w ? wi[w - 1] : 0;
    // a ring: each half of the warp writes for the other, in turns
    for (int step = 0; step < 4; step++) {
        if ((lane >> 4) == (step & 1)) ring[w][lane] = inc + step;
        __syncwarp();
        if ((lane >> 4) != (step & 1)) inc += ring[w][lane ^ 16];
        __syncwarp();
    }
    scan[blockIdx.x * blockDim.x + t] = inc;
}

// deep divergence: nested branches whose lanes meet again in different places
extern "C" __global__ void diverge(const int *a, int *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    int lane = threadIdx.x & 31, x = i < n ? a[i] : 0, r = 0;
    if (x & 1) {
        if (x & 2) { for (int k = 0; k < (x & 15); k++) { r += k * x; if (r > 5000) goto out; } }
        else { int k = lane; do { r ^= k * 3; k--; if (k == 7) continue; r += 2; } while (k > 0); }
        r += __popc(__activemask()) > 0;
    } else if (x % 3 == 0) {
        if (i >= n) return;
        r = -x;
    } else {
        switch (x % 5) { case 0: r = 1; break; case 1: r = x; case 2: r += 2; break; default: if (x > 50) return; r = 99; }
    }
    r *= 2;
out:
    if (i < n) o[i] = r;
}

extern "C" __global__ void tiles(const int *a, int *o, int n) {
    cg::thread_block b = cg::this_thread_block();
    int i = blockIdx.x * blockDim.x + threadIdx.x, k = 0, x = a[i];
    cg::thread_block_tile<32> w = cg::tiled_partition<32>(b);
    cg::thread_block_tile<8> t8 = cg::tiled_partition<8>(w);
    cg::thread_block_tile<4> t4 = cg::tiled_partition<4>(b);
    PUT((int)b.thread_rank()); PUT((int)w.meta_group_rank()); PUT((int)t8.thread_rank()); PUT((int)t8.meta_group_rank());
    PUT(t8.shfl(x, 3)); PUT(t8.shfl_down(x, 2)); PUT(t4.shfl_xor(x, 1)); PUT((int)t8.ballot(x & 1)); PUT(t4.any(x > 40)); PUT(t4.all(x > -20));
    PUT(cg::reduce(w, x, cg::plus<int>())); PUT(cg::reduce(t8, x, cg::less<int>())); PUT(cg::reduce(t4, x, cg::bit_xor<int>()));
    PUT(cg::inclusive_scan(t8, x)); PUT(cg::exclusive_scan(w, x));
    int r = -7;
    if (x % 3 == 0) {
        cg::coalesced_group g = cg::coalesced_threads();
        r = (g.thread_rank() < g.size()) ? 1 : 0;       // how lanes coalesce is the machine's choice
        g.sync();
        r += __popc(g.ballot(1)) == (int)g.size();
    }
    PUT(r);
    auto bp = cg::binary_partition(w, (bool)(x & 1));
    PUT((int)bp.size()); PUT((int)bp.thread_rank()); PUT(cg::reduce(bp, x, cg::plus<int>()));
    auto lp = cg::labeled_partition(w, x & 3);
    PUT((int)lp.size()); PUT(cg::reduce(lp, x, cg::greater<int>()));
    cg::sync(b);
}

extern "C" __global__ void __launch_bounds__(96) special_regs(int *o, unsigned long long *o64) {
    int bid = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    int tid = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    int n = gridDim.x * gridDim.y * gridDim.z * blockDim.x * blockDim.y * blockDim.z;
    int i = bid * 96 + tid, k = 0;
    unsigned lane, warp, nw, smid, nsmid, gx, dyn, tot, cl;
    asm volatile("mov.u32 %0,%%laneid;" : "=r"(lane)); asm volatile("mov.u32 %0,%%warpid;" : "=r"(warp)); asm volatile("mov.u32 %0,%%nwarpid;" : "=r"(nw));
    asm volatile("mov.u32 %0,%%smid;" : "=r"(smid)); asm volatile("mov.u32 %0,%%nsmid;" : "=r"(nsmid)); asm volatile("mov.u32 %0,%%nctaid.y;" : "=r"(gx));
    asm volatile("mov.u32 %0,%%dynamic_smem_size;" : "=r"(dyn)); asm volatile("mov.u32 %0,%%total_smem_size;" : "=r"(tot));
    PUT(threadIdx.x); PUT(threadIdx.y); PUT(threadIdx.z); PUT(blockIdx.x); PUT(blockIdx.y); PUT(blockIdx.z); PUT(blockDim.x * 100 + blockDim.y * 10 + blockDim.z);
    PUT(gridDim.x * 100 + gridDim.y * 10 + gridDim.z); PUT((int)lane); PUT(warp < nw); PUT(smid < nsmid); PUT((int)gx); PUT((int)dyn); PUT(tot >= dyn);
#if __CUDA_ARCH__ >= 900
    unsigned ci, nci, cr, nc, cx; int ex;
    asm volatile("mov.u32 %0,%%clusterid.x;" : "=r"(ci)); asm volatile("mov.u32 %0,%%nclusterid.x;" : "=r"(nci)); asm volatile("mov.u32 %0,%%cluster_ctarank;" : "=r"(cr));
    asm volatile("mov.u32 %0,%%cluster_nctarank;" : "=r"(nc)); asm volatile("mov.u32 %0,%%cluster_ctaid.x;" : "=r"(cx));
    asm volatile("{ .reg .pred p; mov.pred p,%%is_explicit_cluster; selp.s32 %0,1,0,p; }" : "=r"(ex));
    PUT((int)ci); PUT((int)nci); PUT((int)cr); PUT((int)nc); PUT((int)cx);
#endif
    long long c0 = clock64(); unsigned g0 = clock();
    __nanosleep(20);
    long long c1 = clock64(); unsigned g1 = clock();
    unsigned long long t0, t1;
    asm volatile("mov.u64 %0,%%globaltimer;" : "=l"(t0)); __nanosleep(1000); asm volatile("mov.u64 %0,%%globaltimer;" : "=l"(t1));
    o64[i] = (c1 >= c0) + (t1 >= t0) * 2 + ((int)(g1 - g0) >= 0) * 4;
}
