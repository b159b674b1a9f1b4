// A GEMM with a narrow A that the kernel expands to the type of B, scales and shifts:
//   D = alpha sum over K of (A scale + zero) B,
// a scale and a zero for each row and SCALEGROUP elements of K, both of the type of B.
// Macros as in gemm.cu, with SCALEGROUP, and WITHZERO: 0 scales alone, 1 scales and zeros.
#include "recorder.h"

#include "cutlass/cutlass.h"
#include "cutlass/epilogue/collective/collective_builder.hpp"
#include "cutlass/gemm/collective/collective_builder.hpp"
#include "cutlass/gemm/device/gemm_universal_adapter.h"
#include "cutlass/gemm/kernel/gemm_universal.hpp"
#include "cutlass/util/packed_stride.hpp"

#include "names.h"

using namespace cute;
using LayoutA = cutlass::layout::LA;
using LayoutB = cutlass::layout::LB;
using LayoutD = cutlass::layout::LD;
using TileMNK = Shape<Int<TM>, Int<TN>, Int<TK>>;
using ClusterMNK = Shape<Int<CM>, Int<CN>, _1>;
using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
    cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, TileMNK, ClusterMNK,
    cutlass::epilogue::collective::EpilogueTileAuto, EACC, float, EC, LayoutD,
    128 / cutlass::sizeof_bits<ED>::value, ED, LayoutD, 128 / cutlass::sizeof_bits<ED>::value,
    cutlass::epilogue::ESCHED>::CollectiveOp;
#if WITHZERO
using ScaledA = cute::tuple<EA, EB, EB>;
#else
using ScaledA = cute::tuple<EA, EB>;
#endif
using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
    cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, ScaledA, LayoutA,
    128 / cutlass::sizeof_bits<EA>::value, EB, LayoutB, 128 / cutlass::sizeof_bits<EB>::value, EACC,
    TileMNK, ClusterMNK,
    cutlass::gemm::collective::StageCountAutoCarveout<int(sizeof(typename Epilogue::SharedStorage))>,
    cutlass::gemm::KSCHED>::CollectiveOp;
using Problem = Shape<int, int, int, int>;
using Kernel = cutlass::gemm::kernel::GemmUniversal<Problem, Mainloop, Epilogue>;
using Gemm = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;

void record() {
  int m = int(rec::arg("m", TM)), n = int(rec::arg("n", TN)), k = int(rec::arg("k", TK));
  size_t M = m, N = n, K = k, groups = (K + SCALEGROUP - 1) / SCALEGROUP;
  // Elements below a byte are packed along K, the first in the low bits.
  auto* a = static_cast<EA*>(
      rec::input("a", "u8", {1, M, K * cutlass::sizeof_bits<EA>::value / 8}));
  auto* b = rec::input_as<EB>("b", dtype_name<EB>(), {1, N, K});
  auto* scale = rec::input_as<EB>("scale", dtype_name<EB>(), {groups, M});
  auto* d = rec::output_as<ED>("d", dtype_name<ED>(), {1, M, N});

  typename Gemm::Arguments args;
  args.mode = cutlass::gemm::GemmUniversalMode::kGemm;
  args.problem_shape = {m, n, k, 1};
  args.mainloop.ptr_A = a;
  args.mainloop.dA = cutlass::make_cute_packed_stride(typename Kernel::StrideA{}, {m, k, 1});
  args.mainloop.ptr_B = b;
  args.mainloop.dB = cutlass::make_cute_packed_stride(typename Kernel::StrideB{}, {n, k, 1});
  args.mainloop.ptr_S = scale;
  args.mainloop.dS =
      cutlass::make_cute_packed_stride(typename Mainloop::StrideScale{}, {m, int(groups), 1});
  args.mainloop.group_size = SCALEGROUP;
#if WITHZERO
  args.mainloop.ptr_Z = rec::input_as<EB>("zero", dtype_name<EB>(), {groups, M});
#endif
  args.epilogue.ptr_D = d;
  args.epilogue.dD = cutlass::make_cute_packed_stride(typename Kernel::StrideD{}, {m, n, 1});
  args.epilogue.thread.alpha = float(rec::argf("alpha", 1));
  args.hw_info.device_id = 0;
  args.hw_info.sm_count = rec::sm_count();

  if (Gemm::can_implement(args) != cutlass::Status::kSuccess) rec::fail("cannot implement");
  size_t bytes = Gemm::get_workspace_size(args);
  void* workspace = bytes ? rec::scratch("workspace", bytes) : nullptr;
  rec::expect_args({sizeof(typename Gemm::Params)});
  Gemm gemm;
  if (gemm.run(args, workspace) != cutlass::Status::kSuccess) rec::fail("run failed");
}
