// FP8 GEMM whose operands carry float scales per block: SGM x 128 of A and
// SGN x 128 of B, applied between the promotions of the accumulators.
#include "recorder.h"

#include "cutlass/cutlass.h"
#include "cutlass/detail/blockwise_scale_layout.hpp"
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
using Scale = cutlass::detail::Sm90BlockwiseScaleConfig<SGM, SGN, 128>;
using LayoutSFA = decltype(Scale::deduce_layoutSFA());
using LayoutSFB = decltype(Scale::deduce_layoutSFB());

using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
    cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, TileMNK, ClusterMNK,
    cutlass::epilogue::collective::EpilogueTileAuto, EACC, float, EC, LayoutD,
    128 / cutlass::sizeof_bits<ED>::value, ED, LayoutD, 128 / cutlass::sizeof_bits<ED>::value,
    cutlass::epilogue::ESCHED,
    cutlass::epilogue::fusion::LinearCombination<ED, float, EC, float>>::CollectiveOp;
using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
    cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, EA, cute::tuple<LayoutA, LayoutSFA>, 16, EB,
    cute::tuple<LayoutB, LayoutSFB>, 16, EACC, TileMNK, ClusterMNK,
    cutlass::gemm::collective::StageCountAutoCarveout<int(sizeof(typename Epilogue::SharedStorage))>,
    cutlass::gemm::KSCHED>::CollectiveOp;
using Kernel = cutlass::gemm::kernel::GemmUniversal<Shape<int, int, int, int>, Mainloop, Epilogue>;
using Gemm = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;

void record() {
  int m = int(rec::arg("m", TM)), n = int(rec::arg("n", TN)), k = int(rec::arg("k", TK));
  size_t M = m, N = n, K = k;
  auto* a = rec::input_as<EA>("a", dtype_name<EA>(), {1, M, K});
  auto* b = rec::input_as<EB>("b", dtype_name<EB>(), {1, N, K});
  size_t KB = (K + 127) / 128;
  auto* sa = rec::input_as<float>("sa", "f32", {KB, (M + SGM - 1) / SGM});
  auto* sb = rec::input_as<float>("sb", "f32", {KB, (N + SGN - 1) / SGN});
  auto* d = rec::output_as<ED>("d", dtype_name<ED>(), {1, M, N});

  typename Gemm::Arguments args;
  args.mode = cutlass::gemm::GemmUniversalMode::kGemm;
  args.problem_shape = {m, n, k, 1};
  args.mainloop.ptr_A = a;
  args.mainloop.ptr_B = b;
  args.mainloop.dA = cutlass::make_cute_packed_stride(typename Kernel::StrideA{}, {m, k, 1});
  args.mainloop.dB = cutlass::make_cute_packed_stride(typename Kernel::StrideB{}, {n, k, 1});
  args.mainloop.ptr_SFA = sa;
  args.mainloop.ptr_SFB = sb;
  args.mainloop.layout_SFA = Scale::tile_atom_to_shape_SFA(make_shape(m, n, k, 1));
  args.mainloop.layout_SFB = Scale::tile_atom_to_shape_SFB(make_shape(m, n, k, 1));
  // reference.py counts on scales with the row (column) running fastest.
  if (m > SGM && get<0, 1>(args.mainloop.layout_SFA.stride()) != 1) rec::fail("scales of A by K first");
  if (n > SGN && get<0, 1>(args.mainloop.layout_SFB.stride()) != 1) rec::fail("scales of B by K first");
  if (size(filter_zeros(args.mainloop.layout_SFA)) != KB * ((M + SGM - 1) / SGM)) rec::fail("count of A's scales");
  if (size(filter_zeros(args.mainloop.layout_SFB)) != KB * ((N + SGN - 1) / SGN)) rec::fail("count of B's scales");
  args.epilogue.ptr_D = d;
  args.epilogue.dD = cutlass::make_cute_packed_stride(typename Kernel::StrideD{}, {m, n, 1});
  args.epilogue.thread.alpha = float(rec::argf("alpha", 1));
  args.epilogue.thread.beta = 0;
  args.hw_info.device_id = 0;
  args.hw_info.sm_count = rec::sm_count();

  if (Gemm::can_implement(args) != cutlass::Status::kSuccess) rec::fail("cannot implement");
  size_t bytes = Gemm::get_workspace_size(args);
  void* workspace = bytes ? rec::scratch("workspace", bytes) : nullptr;
  rec::expect_args({sizeof(typename Gemm::Params)});
  Gemm gemm;
  if (gemm.run(args, workspace) != cutlass::Status::kSuccess) rec::fail("run failed");
}
