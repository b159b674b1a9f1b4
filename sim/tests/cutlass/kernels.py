"""The table of kernels: how each is compiled, and the problems it is run on."""

from dataclasses import dataclass, field

ELEMENT = {
    "bf16": "cutlass::bfloat16_t",
    "f16": "cutlass::half_t",
    "f32": "float",
    "tf32": "cutlass::tfloat32_t",
    "f8e4m3": "cutlass::float_e4m3_t",
    "f8e5m2": "cutlass::float_e5m2_t",
    "s4": "cutlass::int4b_t",
    "s8": "int8_t",
    "u8": "uint8_t",
    "s32": "int32_t",
    "void": "void",
}
SCHEDULE = {
    "ws": ("KernelTmaWarpSpecialized", "TmaWarpSpecialized"),
    "pp": ("KernelTmaWarpSpecializedPingpong", "TmaWarpSpecialized"),
    "coop": ("KernelTmaWarpSpecializedCooperative", "TmaWarpSpecializedCooperative"),
    "tma": ("KernelTma", "NoSmemWarpSpecialized"),
    "cpws": ("KernelCpAsyncWarpSpecialized", "NoSmemWarpSpecialized"),
    "cppp": ("KernelCpAsyncWarpSpecializedPingpong", "NoSmemWarpSpecialized"),
    "cpcoop": ("KernelCpAsyncWarpSpecializedCooperative", "NoSmemWarpSpecialized"),
}


@dataclass
class Kernel:
    name: str
    source: str
    kind: str
    schedule: str
    defines: dict
    cases: list
    cluster: str = "1x1"
    spec: dict = field(default_factory=dict)


def dense(
    name,
    cases,
    a="bf16",
    b=None,
    c="void",
    d="bf16",
    acc="f32",
    layout="TN",
    ld="RowMajor",
    tile=(128, 128, 64),
    cluster=(1, 1),
    sched="coop",
    suffix="",
    fusion=0,
    streamk=0,
    nosmem=False,
    extra=None,
    kind="gemm",
    source="gemm.cu",
    ptr_array=False,
):
    """A dense GEMM.  `layout`: BLAS letters; T for A and N for B are K-major."""
    b = b or a
    mainloop, epilogue = SCHEDULE[sched]
    if nosmem:
        epilogue = "NoSmemWarpSpecialized"
    if ptr_array:
        mainloop = mainloop.replace("KernelTma", "KernelPtrArrayTma")
        epilogue = "PtrArray" + epilogue + ("Pingpong" if sched == "pp" else "")
    defines = {
        "EA": ELEMENT[a],
        "EB": ELEMENT[b],
        "EC": ELEMENT[c],
        "ED": ELEMENT[d],
        "EACC": ELEMENT[acc],
        "LA": "RowMajor" if layout[0] == "T" else "ColumnMajor",
        "LB": "ColumnMajor" if layout[1] == "N" else "RowMajor",
        "LD": ld,
        "TM": tile[0],
        "TN": tile[1],
        "TK": tile[2],
        "CM": cluster[0],
        "CN": cluster[1],
        "KSCHED": mainloop + suffix,
        "ESCHED": epilogue,
        "FUSION": fusion,
        "STREAMK": streamk,
    }
    if streamk:
        defines["TSCHED"] = "cutlass::gemm::StreamKScheduler"
    if acc == "s32":
        defines["ESCALAR"] = "float"
    defines.update(extra or {})
    schedule = sched + {"FP8FastAccum": " fast", "FP8Blockwise": " blockwise"}.get(suffix, "")
    if streamk:
        schedule += {1: " stream-K", 2: " split-K"}[streamk]
    return Kernel(
        name,
        source,
        kind,
        schedule,
        defines,
        cases,
        f"{cluster[0]}x{cluster[1]}",
        dict(a=a, b=b, c=c, d=d, acc=acc, layout=layout, ld=ld, fusion=fusion, fast=suffix == "FP8FastAccum"),
    )


def mnk(m, n, k, **more):
    return dict(m=m, n=n, k=k, **more)


TAIL = mnk(200, 264, 320)
SMALL = mnk(128, 128, 128)
FP8 = dict(a="f8e4m3", tile=(128, 128, 128))

KERNELS = [
    # bf16
    dense("bf16_tn_ws", [SMALL, TAIL], sched="ws", tile=(64, 128, 64)),
    dense("bf16_tn_coop", [TAIL, mnk(200, 264, 320, alpha=0.5, beta=2)], c="bf16"),
    dense("bf16_tn_pp", [TAIL], sched="pp", tile=(64, 128, 64)),
    dense("bf16_nt_coop_2x1", [TAIL], layout="NT", cluster=(2, 1)),
    dense("bf16_nn_pp_1x2", [TAIL], layout="NN", sched="pp", cluster=(1, 2), tile=(64, 128, 64)),
    dense("bf16_tt_coop_1x2", [TAIL], layout="TT", cluster=(1, 2), tile=(128, 256, 64), ld="ColumnMajor"),
    dense("bf16_nosmem", [mnk(200, 264, 320), mnk(136, 72, 40)], nosmem=True, tile=(128, 64, 64), d="f32"),
    dense("bf16_batch_2x2", [mnk(136, 200, 136, l=3, beta=1)], c="f32", d="f32", cluster=(2, 2), tile=(128, 64, 64)),
    dense("f16_pp_256", [mnk(264, 200, 192)], a="f16", d="f16", sched="pp", tile=(64, 256, 64)),
    dense("f16_acc16", [mnk(136, 200, 192)], a="f16", d="f16", acc="f16", extra={"ESCALAR": "float"}),
    # griddepcontrol compiled in
    dense("bf16_gdc", [TAIL], extra={"CUTLASS_ENABLE_GDC_FOR_SM90": 1}),
    # epilogues
    dense("bf16_bias_relu", [TAIL], fusion=1),
    dense("bf16_bias_gelu_2x1", [TAIL], fusion=2, sched="pp", tile=(64, 128, 64), cluster=(2, 1)),
    dense("bf16_colbias_silu", [TAIL], fusion=4, d="f32"),
    # stream-K and split-K; few SMs so that tiles are shared
    dense("bf16_streamk", [mnk(200, 264, 1024, sms=4), mnk(200, 264, 1024, sms=4, nondet=1)], streamk=1),
    dense("bf16_splitk_2x1", [mnk(200, 264, 1024, splits=3)], streamk=2, cluster=(2, 1)),
    # fp8
    dense("fp8_coop", [TAIL], **FP8),
    dense("fp8_coop_2x1", [TAIL, mnk(256, 256, 1024)], cluster=(2, 1), **FP8),
    dense("fp8_coop_fast_2x1", [TAIL], cluster=(2, 1), suffix="FP8FastAccum", **FP8),
    dense("fp8_pp_1x2", [TAIL], a="f8e4m3", sched="pp", tile=(64, 128, 128), cluster=(1, 2)),
    dense("fp8_pp_fast", [TAIL], a="f8e4m3", sched="pp", tile=(64, 128, 128), suffix="FP8FastAccum"),
    dense("fp8_e5m2_e4m3", [TAIL], a="f8e5m2", b="f8e4m3", sched="pp", tile=(64, 64, 128), d="f32"),
    dense("fp8_out_amax", [mnk(208, 272, 320, scale_a=0.5, scale_b=0.25, scale_d=2, scale_aux=4)], fusion=3,
          c="bf16", a="f8e4m3", d="f8e4m3", tile=(128, 128, 128)),
    dense("fp8_large", [mnk(128, 4096, 7168)], cluster=(1, 1), suffix="FP8FastAccum", **FP8),
    # integers, tf32
    dense("s8_coop", [mnk(208, 272, 320)], a="s8", d="s32", acc="s32", tile=(128, 128, 128)),
    dense("s8_out8_pp", [mnk(208, 272, 320, alpha=0.0009765625)], a="s8", d="s8", acc="s32", sched="pp",
          tile=(64, 128, 128)),
    dense("tf32_tn_coop", [mnk(200, 264, 160)], a="tf32", d="f32", tile=(128, 128, 32)),
    dense("tf32_nt_rs", [mnk(200, 264, 160)], a="tf32", d="f32", layout="NT", tile=(128, 128, 32), sched="coop"),
    # other mainloops
    dense("mixed_e4m3_bf16", [TAIL], a="f8e4m3", b="bf16"),
    # The narrow operand is always the first of wgmma; here the library swaps by itself, without a TMA epilogue.
    dense("mixed_bf16_s8_pp", [TAIL], a="bf16", b="s8", sched="pp", tile=(64, 128, 64), extra={"TRANSPOSED": 1}),
    dense("mixed_s8_scale_2x1", [TAIL], a="s8", b="bf16", d="f32", source="mixed.cu", kind="mixed", cluster=(2, 1),
          sched="pp", tile=(64, 128, 64), extra={"SCALEGROUP": 128, "WITHZERO": 0}),
    dense("mixed_s4_scale_zero", [TAIL], a="s4", b="bf16", d="f32", source="mixed.cu", kind="mixed",
          extra={"SCALEGROUP": 64, "WITHZERO": 1}),
    dense("bf16_cpasync_ws", [mnk(200, 262, 316)], sched="cpws", tile=(64, 128, 64), d="f32",
          extra={"AALIGN": 4, "BALIGN": 4, "DALIGN": 1}),
    dense("bf16_cpasync_coop", [TAIL], sched="cpcoop", d="f32"),
    dense("bf16_tma_basic", [TAIL], sched="tma", tile=(128, 128, 64), d="f32"),
]


def groups(*sizes, **more):
    case = {"groups": len(sizes)}
    for i, (m, n, k) in enumerate(sizes):
        case |= {f"m{i}": m, f"n{i}": n, f"k{i}": k}
    return case | more


# Few multiprocessors, so that a block works on several groups and rewrites its tensor maps.
THREE = groups((136, 264, 320), (0, 128, 256), (200, 72, 128), sms=4, label="3groups")
GROUPED = dict(source="grouped.cu", kind="grouped", ptr_array=True)
BLOCKWISE = {"SGM": 128, "SGN": 128}

KERNELS += [
    dense("grouped_bf16_coop", [THREE], **GROUPED),
    dense("grouped_bf16_pp_2x1", [THREE | {"beta": 1, "hostshapes": 1, "label": "3groups_beta"}], sched="pp", tile=(64, 128, 64), cluster=(2, 1),
          c="bf16", **GROUPED),
    dense("grouped_fp8_pp_1x2", [THREE], a="f8e4m3", b="f8e5m2", d="f16", sched="pp", tile=(64, 128, 128), cluster=(1, 2),
          suffix="FP8FastAccum", ld="ColumnMajor", **GROUPED),
    dense("blockwise_fp8_coop", [mnk(200, 264, 384)], source="blockwise.cu", kind="blockwise", suffix="FP8Blockwise",
          extra=BLOCKWISE, **FP8),
    dense("blockwise_fp8_pp_rows_1x2", [mnk(200, 264, 384)], source="blockwise.cu", kind="blockwise",
          suffix="FP8Blockwise", a="f8e4m3", sched="pp", tile=(64, 128, 128), cluster=(1, 2), d="f32",
          extra={"SGM": 1, "SGN": 128}),
    dense("grouped_blockwise_fp8", [groups((136, 256, 384), (200, 128, 256), sms=4, label="2groups")], suffix="FP8Blockwise",
          extra={"SGM": 1, "SGN": 128, "BLOCKWISE": 1}, **FP8, **GROUPED),
    dense("sparse_bf16_coop", [mnk(200, 264, 384)], source="sparse.cu", kind="gemm", d="f32", tile=(128, 128, 128)),
    dense("sparse_fp8_pp", [mnk(200, 264, 512)], source="sparse.cu", kind="gemm", a="f8e4m3", d="f32", sched="pp",
          tile=(64, 128, 256)),
    dense("sparse_f16_nt_2x1", [mnk(200, 264, 384)], source="sparse.cu", kind="gemm", a="f16", d="f32", layout="NT",
          tile=(128, 128, 128), cluster=(2, 1)),
    dense("sparse_s8_coop", [mnk(208, 272, 512)], source="sparse.cu", kind="gemm", a="s8", d="s32", acc="s32",
          tile=(128, 128, 256)),
    dense("sparse_tf32_ws", [mnk(200, 264, 192)], source="sparse.cu", kind="gemm", a="tf32", d="f32", sched="ws",
          tile=(64, 128, 64)),
]


def attention(name, cases, head, tile, schedule, mask):
    return Kernel(
        name, "fmha.cu", "attention", schedule.removeprefix("Kernel"),
        {"HD": head, "TQ": tile[0], "TK": tile[1], "FSCHED": schedule, "FMASK": mask}, cases, "1x1",
        dict(a="f16", d="f16", causal=mask == "CausalFusion"),
    )


KERNELS += [
    attention("fmha_64_coop_residual", [dict(b=1, h=2, q=200, k=136, d=64)], 64, (128, 64), "KernelCooperative",
              "ResidualFusion"),
    attention("fmha_128_pp_causal", [dict(b=1, h=1, q=256, k=256, d=128)], 128, (128, 128), "KernelPingpong",
              "CausalFusion"),
    attention("fmha_64_tma", [dict(b=2, h=1, q=128, k=256, d=64)], 64, (64, 128), "KernelTma", "DefaultFusion"),
]


def mma80(name, cases, a, d, acc, tile, warp, instruction, stages=3, serial=0, layout="TN", extra=None):
    k = dense(name, cases, a=a, c=d, d=d, acc=acc, layout=layout, tile=tile, source="mma80.cu")
    k.defines |= {"WM": warp[0], "WN": warp[1], "WK": warp[2], "IM": instruction[0], "IN": instruction[1],
                  "IK": instruction[2], "STG": stages, "SERIAL": serial} | (extra or {})
    k.schedule = "mma.sync" + (" split-K" if serial else "")
    return k


KERNELS += [
    mma80("sm80_bf16_tn", [mnk(200, 264, 320, beta=1)], "bf16", "bf16", "f32", (128, 128, 32), (64, 64, 32), (16, 8, 16)),
    mma80("sm80_f16_nt", [mnk(200, 264, 320)], "f16", "f16", "f32", (128, 64, 32), (64, 32, 32), (16, 8, 16),
          layout="NT"),
    mma80("sm80_bf16_splitk", [mnk(136, 136, 512, splits=3)], "bf16", "f32", "f32", (64, 64, 32), (32, 32, 32),
          (16, 8, 16), serial=1),
    mma80("sm80_s8", [mnk(200, 264, 320)], "s8", "s32", "s32", (128, 128, 64), (64, 64, 64), (16, 8, 32),
          extra={"MATHOP": "cutlass::arch::OpMultiplyAddSaturate"}),
    mma80("sm80_tf32", [mnk(200, 264, 160)], "tf32", "f32", "f32", (64, 64, 16), (32, 32, 16), (16, 8, 8)),
]

SS = ["ss_kk_none", "ss_kk_32", "ss_kk_64", "ss_kk_128", "ss_kk_64_128", "rs_k_none", "rs_k_32", "rs_k_64", "rs_k_128"]
MAJOR = ["ss_mk_none", "ss_mk_32", "ss_mk_64", "ss_mk_128", "ss_km_none", "ss_km_32", "ss_km_64", "ss_km_128",
         "ss_mm_128", "rs_m_none", "rs_m_64", "rs_m_128"]


def cute_wgmma(name, a, b, acc, tile):
    major = a in ("bf16", "f16")
    return Kernel(
        name, "cute_wgmma.cu", "cute_mma", "wgmma",
        {"EA": ELEMENT[a], "EB": ELEMENT[b], "EACC": ELEMENT[acc], "TM": tile[0], "TN": tile[1], "TK": tile[2],
         "MAJORS": int(major)},
        [{}], "1x1",
        dict(a=a, b=b, acc=acc, d=acc, tile=tile, outputs=SS + (MAJOR if major else []), memory_major=False),
    )


def cute_tma(t):
    return Kernel(f"cute_tma_{t}", "cute_tma.cu", "cute_tma", "TMA", {"ET": ELEMENT[t]}, [dict(m=96, n=112)], "1-4x1",
                  dict(t=t))


KERNELS += [
    cute_tma("bf16"),
    cute_tma("f32"),
    cute_tma("f8e4m3"),
    cute_wgmma("cute_wgmma_bf16", "bf16", "bf16", "f32", (64, 64, 64)),
    cute_wgmma("cute_wgmma_f16", "f16", "f16", "f16", (64, 128, 64)),
    cute_wgmma("cute_wgmma_fp8", "f8e4m3", "f8e5m2", "f32", (64, 96, 128)),
    cute_wgmma("cute_wgmma_s8", "s8", "s8", "s32", (64, 32, 128)),
    cute_wgmma("cute_wgmma_tf32", "tf32", "tf32", "f32", (64, 8, 32)),
    Kernel("cute_ldsm", "cute_ldsm.cu", "cute_mma", "ldmatrix", {}, [{}], "1x1",
           dict(a="bf16", b="bf16", acc="f32", d="bf16", tile=(64, 64, 64), outputs=["kk", "kk2", "kk1", "mk", "km", "mm"],
                memory_major=True)),
]
