// One dense Hopper GEMM, D = act(alpha A B + beta C + bias), built by the
// library's collective builders from the macros run.py passes:
//   EA EB EC ED EACC      element types (EC may be void)
//   LA LB LD              layouts of A, B and C/D
//   TM TN TK CM CN        tile and cluster
//   KSCHED ESCHED TSCHED  mainloop, epilogue and tile schedule
//   FUSION                0 none, 1 per-row bias + ReLU, 2 per-row bias + GELU (tanh form),
//                         3 scales, per-row bias, amax (fp8 output), 4 per-column bias + SiLU
//   TRANSPOSED            with the epilogue that the library wants if it swaps A and B by itself
//   AALIGN BALIGN DALIGN  alignments in elements, otherwise 16 bytes
//   STREAMK               0 none, 1 stream-K, 2 split-K by the stream-K scheduler
#include "recorder.h"

#include "cutlass/cutlass.h"
#include "cutlass/epilogue/collective/collective_builder.hpp"
#include "cutlass/epilogue/thread/activation.h"
#include "cutlass/gemm/collective/collective_builder.hpp"
#include "cutlass/gemm/device/gemm_universal_adapter.h"
#include "cutlass/gemm/kernel/gemm_universal.hpp"
#include "cutlass/gemm/kernel/tile_scheduler.hpp"
#include "cutlass/util/packed_stride.hpp"

#include "names.h"

using namespace cute;

#ifndef OPCLASS
#define OPCLASS cutlass::arch::OpClassTensorOp
#endif
#ifndef FUSION
#define FUSION 0
#endif
#ifndef STREAMK
#define STREAMK 0
#endif
#ifndef TSCHED
#define TSCHED void
#endif
#ifndef ESCALAR
#define ESCALAR float
#endif
#ifndef STAGES
#define STAGES                                              \
  cutlass::gemm::collective::StageCountAutoCarveout<int(    \
      sizeof(typename Epilogue::SharedStorage))>
#endif

using LayoutA = cutlass::layout::LA;
using LayoutB = cutlass::layout::LB;
using LayoutD = cutlass::layout::LD;
using TileMNK = Shape<Int<TM>, Int<TN>, Int<TK>>;
using ClusterMNK = Shape<Int<CM>, Int<CN>, _1>;
#ifndef AALIGN
#define AALIGN (128 / cutlass::sizeof_bits<EA>::value)
#endif
#ifndef BALIGN
#define BALIGN (128 / cutlass::sizeof_bits<EB>::value)
#endif
#ifndef DALIGN
#define DALIGN (128 / cutlass::sizeof_bits<ED>::value)
#endif
constexpr int AlignA = AALIGN;
constexpr int AlignB = BALIGN;
constexpr int AlignD = DALIGN;

#if FUSION == 1
using Fusion = cutlass::epilogue::fusion::LinCombPerRowBiasEltAct<cutlass::epilogue::thread::ReLu,
                                                                  ED, float, float, EC, float>;
#elif FUSION == 2
using Fusion =
    cutlass::epilogue::fusion::LinCombPerRowBiasEltAct<cutlass::epilogue::thread::GELU_taylor, ED,
                                                       float, float, EC, float>;
#elif FUSION == 3
using Fusion = cutlass::epilogue::fusion::ScaledLinCombPerRowBiasEltActAmaxAux<
    LayoutD, cutlass::epilogue::thread::ReLu, ED, float, ED, float, float, EC, float>;
#elif FUSION == 4
using Fusion = cutlass::epilogue::fusion::LinCombPerColBiasEltAct<cutlass::epilogue::thread::SiLu,
                                                                  ED, float, float, EC, float>;
#else
using Fusion = cutlass::epilogue::fusion::LinearCombination<ED, ESCALAR, EC, ESCALAR>;
#endif

#ifdef TRANSPOSED
using EpilogueSchedule = cutlass::gemm::EpilogueTransposed;
#else
using EpilogueSchedule = cutlass::epilogue::ESCHED;
#endif

using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
    cutlass::arch::Sm90, OPCLASS, TileMNK, ClusterMNK,
    cutlass::epilogue::collective::EpilogueTileAuto, EACC, ESCALAR, EC, LayoutD, AlignD, ED,
    LayoutD, AlignD, EpilogueSchedule, Fusion>::CollectiveOp;

using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
    cutlass::arch::Sm90, OPCLASS, EA, LayoutA, AlignA, EB, LayoutB, AlignB, EACC, TileMNK, ClusterMNK,
    STAGES, cutlass::gemm::KSCHED>::CollectiveOp;

using Kernel = cutlass::gemm::kernel::GemmUniversal<Shape<int, int, int, int>, Mainloop, Epilogue,
                                                    TSCHED>;
using Gemm = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;

void record() {
  int m = int(rec::arg("m", TM)), n = int(rec::arg("n", TN)), k = int(rec::arg("k", TK));
  int l = int(rec::arg("l", 1));
  size_t M = m, N = n, K = k, L = l;
  auto* a = rec::input_as<EA>("a", dtype_name<EA>(), {L, M, K});
  auto* b = rec::input_as<EB>("b", dtype_name<EB>(), {L, N, K});
  auto* d = rec::output_as<ED>("d", dtype_name<ED>(), {L, M, N});

  typename Gemm::Arguments args;
  args.mode = cutlass::gemm::GemmUniversalMode::kGemm;
  args.problem_shape = {m, n, k, l};
  args.mainloop.ptr_A = a;
  args.mainloop.ptr_B = b;
  args.mainloop.dA = cutlass::make_cute_packed_stride(typename Kernel::StrideA{}, {m, k, l});
  args.mainloop.dB = cutlass::make_cute_packed_stride(typename Kernel::StrideB{}, {n, k, l});
  args.epilogue.ptr_D = d;
  args.epilogue.dD = cutlass::make_cute_packed_stride(typename Kernel::StrideD{}, {m, n, l});
  if constexpr (!cute::is_void_v<EC>) {
    args.epilogue.ptr_C = rec::input_as<typename Kernel::ElementC>(
        "c", dtype_name<typename Kernel::ElementC>(), {L, M, N});
    args.epilogue.dC = cutlass::make_cute_packed_stride(typename Kernel::StrideC{}, {m, n, l});
  }
  args.epilogue.thread.alpha = ESCALAR(float(rec::argf("alpha", 1)));
  args.epilogue.thread.beta = ESCALAR(float(rec::argf("beta", 0)));
#if FUSION == 1 || FUSION == 2
  args.epilogue.thread.bias_ptr = rec::input_as<float>("bias", "f32", {M});
#elif FUSION == 4
  args.epilogue.thread.bias_ptr = rec::input_as<float>("bias", "f32", {N});
#elif FUSION == 3
  args.epilogue.thread.bias_ptr = rec::input_as<float>("bias", "f32", {M});
  args.epilogue.thread.scale_a = float(rec::argf("scale_a", 1));
  args.epilogue.thread.scale_b = float(rec::argf("scale_b", 1));
  args.epilogue.thread.scale_c = float(rec::argf("scale_c", 1));
  args.epilogue.thread.scale_d = float(rec::argf("scale_d", 1));
  args.epilogue.thread.scale_aux = float(rec::argf("scale_aux", 1));
  args.epilogue.thread.amax_D_ptr = rec::output_as<float>("amax_d", "f32", {1}, 0, 0);
  args.epilogue.thread.amax_aux_ptr = rec::output_as<float>("amax_aux", "f32", {1}, 0, 0);
  args.epilogue.thread.aux_ptr = rec::output_as<ED>("aux", dtype_name<ED>(), {L, M, N});
  args.epilogue.thread.dAux =
      cutlass::make_cute_packed_stride(typename Kernel::StrideD{}, {m, n, l});
#endif
  args.hw_info.device_id = 0;
  args.hw_info.sm_count = rec::sm_count();
#if STREAMK
  using Sk = cutlass::gemm::kernel::detail::PersistentTileSchedulerSm90StreamKParams;
  args.scheduler.splits = int(rec::arg("splits", 1));
  args.scheduler.decomposition_mode =
      STREAMK == 1 ? Sk::DecompositionMode::StreamK : Sk::DecompositionMode::SplitK;
  args.scheduler.reduction_mode = rec::arg("nondet", 0) ? Sk::ReductionMode::Nondeterministic
                                                        : Sk::ReductionMode::Deterministic;
#endif
  if constexpr (requires { args.scheduler.max_swizzle_size; })
    args.scheduler.max_swizzle_size = int(rec::arg("swizzle", 1));

  if (Gemm::can_implement(args) != cutlass::Status::kSuccess) rec::fail("cannot implement");
  size_t bytes = Gemm::get_workspace_size(args);
  void* workspace = bytes ? rec::scratch("workspace", bytes) : nullptr;
  rec::expect_args({sizeof(typename Gemm::Params)});
  Gemm gemm;
  if (gemm.run(args, workspace) != cutlass::Status::kSuccess) rec::fail("run failed");
}
