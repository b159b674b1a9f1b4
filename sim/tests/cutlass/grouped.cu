// A grouped GEMM: arrays of pointers and strides, tensor maps that the kernel
// rewrites in global memory.  The macros are those of gemm.cu (no fusion).
#include "recorder.h"

#include "cutlass/cutlass.h"
#include "cutlass/epilogue/collective/collective_builder.hpp"
#include "cutlass/gemm/collective/collective_builder.hpp"
#include "cutlass/gemm/device/gemm_universal_adapter.h"
#include "cutlass/gemm/group_array_problem_shape.hpp"
#include "cutlass/gemm/kernel/gemm_universal.hpp"
#include "cutlass/util/packed_stride.hpp"

#include "names.h"

using namespace cute;

#ifndef BLOCKWISE
#define BLOCKWISE 0
#endif

using LayoutA = cutlass::layout::LA;
using LayoutB = cutlass::layout::LB;
using LayoutD = cutlass::layout::LD;
using TileMNK = Shape<Int<TM>, Int<TN>, Int<TK>>;
using ClusterMNK = Shape<Int<CM>, Int<CN>, _1>;
using Problem = cutlass::gemm::GroupProblemShape<Shape<int, int, int>>;

using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
    cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, TileMNK, ClusterMNK,
    cutlass::epilogue::collective::EpilogueTileAuto, EACC, float, EC, LayoutD*,
    128 / cutlass::sizeof_bits<ED>::value, ED, LayoutD*, 128 / cutlass::sizeof_bits<ED>::value,
    cutlass::epilogue::ESCHED,
    cutlass::epilogue::fusion::LinearCombination<ED, float, EC, float>>::CollectiveOp;

#if BLOCKWISE
using Scale = cutlass::detail::Sm90BlockwiseScaleConfig<SGM, SGN, 128>;
using LayoutSFA = decltype(Scale::deduce_layoutSFA());
using LayoutSFB = decltype(Scale::deduce_layoutSFB());
using TagA = cute::tuple<LayoutA*, LayoutSFA*>;
using TagB = cute::tuple<LayoutB*, LayoutSFB*>;
#else
using TagA = LayoutA*;
using TagB = LayoutB*;
#endif

using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
    cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, EA, TagA,
    128 / cutlass::sizeof_bits<EA>::value, EB, TagB, 128 / cutlass::sizeof_bits<EB>::value, EACC,
    TileMNK, ClusterMNK,
    cutlass::gemm::collective::StageCountAutoCarveout<int(sizeof(typename Epilogue::SharedStorage))>,
    cutlass::gemm::KSCHED>::CollectiveOp;

using Kernel = cutlass::gemm::kernel::GemmUniversal<Problem, Mainloop, Epilogue>;
using Gemm = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;

void record() {
  int groups = int(rec::arg("groups", 1));
  using Sizes = typename Problem::UnderlyingProblemShape;
  std::vector<Sizes> sizes;
  std::vector<EA const*> pa;
  std::vector<EB const*> pb;
  std::vector<ED*> pd;
  std::vector<ED const*> pc;
  std::vector<typename Kernel::InternalStrideA> da;
  std::vector<typename Kernel::InternalStrideB> db;
  std::vector<typename Kernel::InternalStrideC> dc;
  std::vector<typename Kernel::InternalStrideD> dd;
#if BLOCKWISE
  std::vector<float const*> psa, psb;
  std::vector<LayoutSFA> lsa;
  std::vector<LayoutSFB> lsb;
#endif
  for (int g = 0; g < groups; ++g) {
    std::string s = std::to_string(g);
    int m = int(rec::arg(("m" + s).c_str(), 0)), n = int(rec::arg(("n" + s).c_str(), 0)),
        k = int(rec::arg(("k" + s).c_str(), 0));
    sizes.push_back({m, n, k});
    // A group of no rows has no memory; its pointers are never followed.
    size_t M = m ? m : 1, N = n ? n : 1, K = k ? k : 16;
    pa.push_back(rec::input_as<EA>("a" + s, dtype_name<EA>(), {M, K}));
    pb.push_back(rec::input_as<EB>("b" + s, dtype_name<EB>(), {N, K}));
    pd.push_back(rec::output_as<ED>("d" + s, dtype_name<ED>(), {size_t(m), size_t(n)}));
    if constexpr (!cute::is_void_v<EC>)
      pc.push_back(rec::input_as<ED>("c" + s, dtype_name<ED>(), {M, N}));
    da.push_back(cutlass::make_cute_packed_stride(typename Kernel::InternalStrideA{}, {m, k, 1}));
    db.push_back(cutlass::make_cute_packed_stride(typename Kernel::InternalStrideB{}, {n, k, 1}));
    dc.push_back(cutlass::make_cute_packed_stride(typename Kernel::InternalStrideC{}, {m, n, 1}));
    dd.push_back(cutlass::make_cute_packed_stride(typename Kernel::InternalStrideD{}, {m, n, 1}));
#if BLOCKWISE
    size_t KB = (K + 127) / 128;
    psa.push_back(rec::input_as<float>("sa" + s, "f32", {KB, (M + SGM - 1) / SGM}));
    psb.push_back(rec::input_as<float>("sb" + s, "f32", {KB, (N + SGN - 1) / SGN}));
    lsa.push_back(Scale::tile_atom_to_shape_SFA(make_shape(m, n, k, 1)));
    lsb.push_back(Scale::tile_atom_to_shape_SFB(make_shape(m, n, k, 1)));
#endif
  }

  typename Gemm::Arguments args;
  args.mode = cutlass::gemm::GemmUniversalMode::kGrouped;
  auto* device_sizes = rec::upload("sizes", sizes);
  args.problem_shape = {groups, device_sizes, rec::arg("hostshapes", 0) ? sizes.data() : nullptr};
  args.mainloop.ptr_A = reinterpret_cast<decltype(args.mainloop.ptr_A)>(rec::upload("ptr_a", pa));
  args.mainloop.ptr_B = reinterpret_cast<decltype(args.mainloop.ptr_B)>(rec::upload("ptr_b", pb));
  args.mainloop.dA = rec::upload("stride_a", da);
  args.mainloop.dB = rec::upload("stride_b", db);
#if BLOCKWISE
  args.mainloop.ptr_SFA = reinterpret_cast<decltype(args.mainloop.ptr_SFA)>(rec::upload("ptr_sa", psa));
  args.mainloop.ptr_SFB = reinterpret_cast<decltype(args.mainloop.ptr_SFB)>(rec::upload("ptr_sb", psb));
  args.mainloop.layout_SFA = rec::upload("layout_sa", lsa);
  args.mainloop.layout_SFB = rec::upload("layout_sb", lsb);
#endif
  if constexpr (!cute::is_void_v<EC>) {
    args.epilogue.ptr_C = reinterpret_cast<decltype(args.epilogue.ptr_C)>(rec::upload("ptr_c", pc));
    args.epilogue.dC = rec::upload("stride_c", dc);
  }
  args.epilogue.ptr_D = reinterpret_cast<decltype(args.epilogue.ptr_D)>(rec::upload("ptr_d", pd));
  args.epilogue.dD = rec::upload("stride_d", dd);
  args.epilogue.thread.alpha = float(rec::argf("alpha", 1));
  args.epilogue.thread.beta = float(rec::argf("beta", 0));
  args.epilogue.thread.dAlpha = {cute::_0{}, cute::_0{}, 0};
  args.epilogue.thread.dBeta = {cute::_0{}, cute::_0{}, 0};
  args.hw_info.device_id = 0;
  args.hw_info.sm_count = rec::sm_count();

  if (Gemm::can_implement(args) != cutlass::Status::kSuccess) rec::fail("cannot implement");
  size_t bytes = Gemm::get_workspace_size(args);
  void* workspace = bytes ? rec::scratch("workspace", bytes) : nullptr;
  rec::expect_args({sizeof(typename Gemm::Params)});
  Gemm gemm;
  if (gemm.run(args, workspace) != cutlass::Status::kSuccess) rec::fail("run failed");
}
