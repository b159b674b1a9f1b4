#!/usr/bin/env python3
"""Compiles `gemm_e4m3.ptx`, the kernel of the bench `kernels`. Needs Triton 3.9; no GPU.

The launch that the bench makes follows from what this prints: boxes, swizzles and bytes of shared memory. Not
warp-specialised: for Hopper this Triton gives the whole tile to each of two warpgroups then, which doubles the work.
"""
from pathlib import Path

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget

ROWS, COLUMNS, DEPTH = 128, 128, 128


@triton.jit
def gemm_e4m3(a, b, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """C = A Bᵀ in e4m3, f32 accumulators, bf16 results: persistent, three stages of tiles in flight."""
    columns = tl.cdiv(N, BN)
    tiles = tl.cdiv(M, BM) * columns
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0)):
        m = tile // columns * BM
        n = tile % columns * BN
        sums = tl.zeros([BM, BN], tl.float32)
        for k in range(0, tl.cdiv(K, BK)):
            sums = tl.dot(a.load([m, k * BK]), b.load([n, k * BK]).T, sums)
        c.store([m, n], sums.to(tl.bfloat16))


if __name__ == "__main__":
    triton.knobs.compilation.disable_line_info = True
    source = triton.compiler.ASTSource(
        fn=gemm_e4m3,
        signature={
            "a": f"tensordesc<fp8e4nv[{ROWS},{DEPTH}]>",
            "b": f"tensordesc<fp8e4nv[{COLUMNS},{DEPTH}]>",
            "c": f"tensordesc<bf16[{ROWS},{COLUMNS}]>",
            "M": "i32", "N": "i32", "K": "i32", "BM": "constexpr", "BN": "constexpr", "BK": "constexpr",
        },
        constexprs={"BM": ROWS, "BN": COLUMNS, "BK": DEPTH},
    )
    kernel = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8, "num_stages": 3})
    Path(__file__).with_suffix(".ptx").write_text(kernel.asm["ptx"])
    print(kernel.metadata.shared, kernel.metadata.tensordesc_meta)
