// A product in FP8 for Hopper in CUDA C++, so that the time of nvcc can stand beside that of Rorqual: benches/gemm.rs
// compiles it. What it computes, and how, is what the family hopper_gemm_fp8 does without groups:
//
//   D = A * B^T in bf16, A [rows, DEPTH] and B [COLUMNS, DEPTH] in e4m3, a scale for 1x128 of A and for 128x128 of B
//
// Warp 0 fills a ring of stages of 128 of DEPTH by tensor copies; two warpgroups multiply and promote the partial sums
// of each stage; results leave through shared memory, 64 columns at a time, by a bulk copy for each row. The grid is as
// large as the machine. COLUMNS, DEPTH, TILE_ROWS (128 or 256) and STAGES are macros; a tile has 128 columns. It needs
// no headers, so nvcc has as little to read as can be.

#include <cstdint>

/// A CUtensorMap, without the headers of the driver.
struct alignas(64) TensorMap {
    uint8_t bytes[128];
};

constexpr uint32_t kBlock = 128;
constexpr uint32_t kTileColumns = 128;
constexpr uint32_t kConsumers = 2;
constexpr uint32_t kThreads = 128 * (1 + kConsumers);
/// Rows and columns of D that a warp stages at once; 16 bytes more for each row, so that rows begin in different banks.
constexpr uint32_t kPieceRows = 16;
constexpr uint32_t kPieceColumns = 64;
constexpr uint32_t kPiecePitch = 2 * kPieceColumns + 16;
/// Rows of tiles of a band. Tiles follow each other down a band, so that those that run together share operands in L2.
constexpr uint32_t kNeighbours = 8;

/// Where what lies in shared memory, in bytes from its start.
template <uint32_t kTileRows, uint32_t kStages>
struct Layout {
    static constexpr uint32_t kABytes = kTileRows * kBlock;
    static constexpr uint32_t kBBytes = kTileColumns * kBlock;
    static constexpr uint32_t kA = 0;
    static constexpr uint32_t kB = kA + kStages * kABytes;
    static constexpr uint32_t kAScales = kB + kStages * kBBytes;
    static constexpr uint32_t kBScales = kAScales + kStages * kTileRows * 4;
    static constexpr uint32_t kPieces = kBScales + kStages * 16;
    static constexpr uint32_t kFull = kPieces + 4 * kConsumers * kPieceRows * kPiecePitch;
    static constexpr uint32_t kEmpty = kFull + 8 * kStages;
    static constexpr uint32_t kEnd = kEmpty + 8 * kStages;
    static_assert(kEnd <= 232448, "a CTA has 227 KiB of shared memory");
};

__device__ __forceinline__ void initialize(uint32_t barrier, uint32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void arrive(uint32_t barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

__device__ __forceinline__ void arrive_expecting(uint32_t barrier, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

__device__ __forceinline__ void wait(uint32_t barrier, uint32_t parity) {
    asm volatile(
        "{\n"
        ".reg .pred over;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1;\n"
        "@!over bra again;\n"
        "}\n" ::"r"(barrier),
        "r"(parity)
        : "memory");
}

/// A box of a matrix of e4m3, from this column and row on.
__device__ __forceinline__ void copy_box(uint32_t to, const TensorMap& map, uint32_t column, uint32_t row,
                                         uint32_t full) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
        "l"(&map), "r"(column), "r"(row), "r"(full)
        : "memory");
}

/// A word, or zeros if it is not there.
__device__ __forceinline__ void copy_word(uint32_t to, const float* from, bool is_there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(is_there ? 4 : 0) : "memory");
}

__device__ __forceinline__ float load_shared(uint32_t from) {
    float value;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(from));
    return value;
}

/// An operand of a product: rows of 128 bytes, permuted within groups of 8 rows.
__device__ __forceinline__ uint64_t descriptor(uint32_t address) {
    return static_cast<uint64_t>((address & 0x3ffff) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

/// 64 rows, 128 columns and 32 of DEPTH, added to the sums or in their place.
__device__ __forceinline__ void multiply(float (&d)[64], uint64_t a, uint64_t b, bool adds) {
    asm volatile(
        "{\n"
        ".reg .pred adds;\n"
        "setp.ne.b32 adds, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        " %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        " %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "%64, %65, adds, 1, 1;\n"
        "}\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
          "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
          "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
          "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]),
          "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]),
          "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),
          "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
          "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
        : "l"(a), "l"(b), "r"(adds ? 1 : 0));
}

/// Two f32 as bf16, the first in the lower half.
__device__ __forceinline__ uint32_t pack(float low, float high) {
    uint32_t packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

/// The tiles of a CTA, one after the other.
template <uint32_t kColumns, uint32_t kTileRows>
struct Tiles {
    uint32_t rows_of_tiles;
    uint32_t index = blockIdx.x;

    __device__ explicit Tiles(uint32_t rows) : rows_of_tiles((rows + kTileRows - 1) / kTileRows) {}

    /// The first row and column of the next tile, if there is one.
    __device__ bool next(uint32_t& row, uint32_t& column) {
        constexpr uint32_t kWide = kColumns / kTileColumns;
        if (index >= rows_of_tiles * kWide) {
            return false;
        }
        uint32_t band = index / (kNeighbours * kWide);
        uint32_t within = index % (kNeighbours * kWide);
        uint32_t high = min(kNeighbours, rows_of_tiles - band * kNeighbours);
        row = (band * kNeighbours + within % high) * kTileRows;
        column = within / high * kTileColumns;
        index += gridDim.x;
        return true;
    }
};

template <uint32_t kColumns, uint32_t kDepth, uint32_t kTileRows, uint32_t kStages>
__global__ void __launch_bounds__(kThreads, 1)
    gemm_fp8(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,
             const float* __restrict__ a_scales, const float* __restrict__ b_scales, uint16_t* __restrict__ d,
             uint32_t rows) {
    using Layout = Layout<kTileRows, kStages>;
    constexpr uint32_t kBlocks = kDepth / kBlock;
    constexpr uint32_t kProducts = kTileRows / (64 * kConsumers);
    static_assert(kColumns % kTileColumns == 0, "tiles lie within B");
    static_assert(kBlocks % kStages == 0, "a tile is whole rounds of the ring");

    extern __shared__ __align__(1024) uint8_t shared[];
    const uint32_t base = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    const uint32_t warp = __shfl_sync(0xffffffff, threadIdx.x / 32, 0);
    const uint32_t lane = threadIdx.x % 32;
    auto full = [&](uint32_t stage) { return base + Layout::kFull + 8 * stage; };
    auto empty = [&](uint32_t stage) { return base + Layout::kEmpty + 8 * stage; };

    if (threadIdx.x == 0) {
        for (uint32_t stage = 0; stage < kStages; ++stage) {
            // The tensor copies, and the scales of every lane.
            initialize(full(stage), 1 + 32);
            initialize(empty(stage), 4 * kConsumers);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();

    Tiles<kColumns, kTileRows> tiles(rows);
    uint32_t row, column, parity = 0;
    if (warp < 4) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
        if (warp != 0) {
            return;
        }
        while (tiles.next(row, column)) {
            for (uint32_t block = 0; block < kBlocks; block += kStages, parity ^= 1) {
#pragma unroll
                for (uint32_t stage = 0; stage < kStages; ++stage) {
                    wait(empty(stage), parity ^ 1);
                    if (lane == 0) {
                        arrive_expecting(full(stage), Layout::kABytes + Layout::kBBytes);
                        uint32_t depth = (block + stage) * kBlock;
                        copy_box(base + Layout::kA + stage * Layout::kABytes, a, depth, row, full(stage));
                        copy_box(base + Layout::kB + stage * Layout::kBBytes, b, depth, column, full(stage));
                        copy_word(base + Layout::kBScales + 16 * stage,
                                  b_scales + column / kBlock * kBlocks + block + stage, true);
                    }
#pragma unroll
                    for (uint32_t i = lane; i < kTileRows; i += 32) {
                        bool is_there = row + i < rows;
                        uint64_t at = is_there ? static_cast<uint64_t>(row + i) * kBlocks + block + stage : 0;
                        copy_word(base + Layout::kAScales + 4 * (stage * kTileRows + i), a_scales + at, is_there);
                    }
                    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(full(stage)) : "memory");
                }
            }
        }
        return;
    }

    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    const uint32_t consumer = warp / 4 - 1;
    // The first row of the lane in the first product; the second is 8 further on, products are 64 rows apart.
    const uint32_t own_row = consumer * 64 * kProducts + warp % 4 * 16 + lane / 4;
    const uint32_t piece = base + Layout::kPieces + (warp - 4) * kPieceRows * kPiecePitch;
    // Of the four 8x8 of a stmatrix the lane has the address of a row: rows 0 and 8, then columns 0 and 8.
    const uint32_t matrix_row = piece + lane % 16 * kPiecePitch + lane / 16 * 16;
    while (tiles.next(row, column)) {
        float sums[kProducts][64] = {};
        for (uint32_t block = 0; block < kBlocks; block += kStages, parity ^= 1) {
#pragma unroll
            for (uint32_t stage = 0; stage < kStages; ++stage) {
                wait(full(stage), parity);
                float scale_b = load_shared(base + Layout::kBScales + 16 * stage);
#pragma unroll
                for (uint32_t product = 0; product < kProducts; ++product) {
                    float partial[64];
                    uint32_t first = consumer * 64 * kProducts + product * 64;
                    uint64_t of_a = descriptor(base + Layout::kA + stage * Layout::kABytes + first * kBlock);
                    uint64_t of_b = descriptor(base + Layout::kB + stage * Layout::kBBytes);
                    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
                    for (uint32_t step = 0; step < kBlock / 32; ++step) {
                        multiply(partial, of_a + 2 * step, of_b + 2 * step, step > 0);
                    }
                    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
                    uint32_t scales = base + Layout::kAScales + 4 * (stage * kTileRows + own_row + 64 * product);
                    float scale[2] = {load_shared(scales) * scale_b, load_shared(scales + 32) * scale_b};
                    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#pragma unroll
                    for (float& sum : partial) {
                        // Until here the tensor cores write it, of which the compiler knows nothing.
                        asm volatile("" : "+f"(sum)::"memory");
                    }
                    if (product == kProducts - 1 && lane == 0) {
                        arrive(empty(stage));
                    }
#pragma unroll
                    for (uint32_t i = 0; i < 64; ++i) {
                        sums[product][i] = fmaf(scale[i / 2 % 2], partial[i], sums[product][i]);
                    }
                }
            }
        }
#pragma unroll
        for (uint32_t product = 0; product < kProducts; ++product) {
#pragma unroll
            for (uint32_t half = 0; half < kTileColumns / kPieceColumns; ++half) {
                // The piece before has been read.
                asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
                __syncwarp();
#pragma unroll
                for (uint32_t pair = 0; pair < kPieceColumns / 16; ++pair) {
                    const float* from = &sums[product][half * 32 + pair * 8];
                    asm volatile(
                        "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                            matrix_row + 32 * pair),
                        "r"(pack(from[0], from[1])), "r"(pack(from[2], from[3])), "r"(pack(from[4], from[5])),
                        "r"(pack(from[6], from[7]))
                        : "memory");
                }
                asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
                __syncwarp();
                uint32_t to_row = row + consumer * 64 * kProducts + product * 64 + warp % 4 * 16 + lane;
                if (lane < kPieceRows && to_row < rows) {
                    uint16_t* to = d + static_cast<uint64_t>(to_row) * kColumns + column + half * kPieceColumns;
                    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to),
                                 "r"(piece + lane * kPiecePitch), "n"(2 * kPieceColumns)
                                 : "memory");
                }
                asm volatile("cp.async.bulk.commit_group;" ::: "memory");
            }
        }
    }
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

template __global__ void gemm_fp8<COLUMNS, DEPTH, TILE_ROWS, STAGES>(const __grid_constant__ TensorMap,
                                                                     const __grid_constant__ TensorMap, const float*,
                                                                     const float*, uint16_t*, uint32_t);
