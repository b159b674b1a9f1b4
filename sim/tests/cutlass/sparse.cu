// 2:4 sparse GEMM (wgmma.mma_async.sp).  Two launches: the library's compressor
// turns the dense, already pruned A into values and metadata, then the GEMM.
// Macros as in gemm.cu.
#include "recorder.h"

#include "cutlass/cutlass.h"
#include "cutlass/epilogue/collective/collective_builder.hpp"
#include "cutlass/gemm/collective/collective_builder.hpp"
#include "cutlass/gemm/device/gemm_universal_adapter.h"
#include "cutlass/gemm/kernel/gemm_universal.hpp"
#include "cutlass/transform/device/transform_universal_adapter.hpp"
#include "cutlass/transform/kernel/sparse_gemm_compressor.hpp"
#include "cutlass/util/packed_stride.hpp"

#include "names.h"

using namespace cute;
using LayoutA = cutlass::layout::LA;
using LayoutB = cutlass::layout::LB;
using LayoutD = cutlass::layout::LD;
using TileMNK = Shape<Int<TM>, Int<TN>, Int<TK>>;
using ClusterMNK = Shape<Int<CM>, Int<CN>, _1>;
using Problem = Shape<int, int, int, int>;
using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
    cutlass::arch::Sm90, cutlass::arch::OpClassSparseTensorOp, TileMNK, ClusterMNK,
    cutlass::epilogue::collective::EpilogueTileAuto, EACC, float, EC, LayoutD,
    128 / cutlass::sizeof_bits<ED>::value, ED, LayoutD, 128 / cutlass::sizeof_bits<ED>::value,
    cutlass::epilogue::ESCHED>::CollectiveOp;
using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
    cutlass::arch::Sm90, cutlass::arch::OpClassSparseTensorOp, EA, LayoutA,
    128 / cutlass::sizeof_bits<EA>::value, EB, LayoutB, 128 / cutlass::sizeof_bits<EB>::value, EACC,
    TileMNK, ClusterMNK,
    cutlass::gemm::collective::StageCountAutoCarveout<int(sizeof(typename Epilogue::SharedStorage))>,
    cutlass::gemm::KSCHED>::CollectiveOp;
using Kernel = cutlass::gemm::kernel::GemmUniversal<Problem, Mainloop, Epilogue>;
using Gemm = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;
using Config = typename Mainloop::SparseConfig;
using Utility = cutlass::transform::kernel::StructuredSparseCompressorUtility<Problem, EA, LayoutA, Config>;
using Compressor = cutlass::transform::device::TransformUniversalAdapter<
    cutlass::transform::kernel::StructuredSparseCompressor<Problem, EA, LayoutA, Config,
                                                           cutlass::arch::Sm90>>;

void record() {
  int m = int(rec::arg("m", TM)), n = int(rec::arg("n", TN)), k = int(rec::arg("k", TK));
  size_t M = m, N = n, K = k;
  Problem problem{m, n, k, 1};
  auto* a = rec::input_as<EA>("a", dtype_name<EA>(), {1, M, K});
  auto* b = rec::input_as<EB>("b", dtype_name<EB>(), {1, N, K});
  auto* d = rec::output_as<ED>("d", dtype_name<ED>(), {1, M, N});
  using StrideA = cutlass::gemm::TagToStrideA_t<LayoutA>;
  auto da = cutlass::make_cute_packed_stride(StrideA{}, {m, k, 1});
  Utility utility(problem, da);
  size_t values = size_t(utility.get_tensorA_m_physical()) * utility.get_tensorA_k_physical();
  size_t meta = size_t(utility.get_metadata_m_physical()) * utility.get_metadata_k_physical();
  auto* ac = static_cast<EA*>(rec::scratch("values", values * sizeof(EA)));
  auto* e = static_cast<typename Mainloop::ElementE*>(rec::scratch("metadata", meta));
  cutlass::KernelHardwareInfo hw;
  hw.device_id = 0;
  hw.sm_count = rec::sm_count();
  typename Compressor::Arguments cargs{problem, {a, da, ac, e}, {hw}};
  Compressor compressor;
  if (compressor.can_implement(cargs) != cutlass::Status::kSuccess) rec::fail("cannot compress");
  if (compressor.initialize(cargs, nullptr) != cutlass::Status::kSuccess) rec::fail("initialize failed");
  if (compressor.run() != cutlass::Status::kSuccess) rec::fail("compressor failed");

  typename Gemm::Arguments args{
      cutlass::gemm::GemmUniversalMode::kGemm,
      problem,
      {ac, Config::fill_layoutA(problem), b,
       cutlass::make_cute_packed_stride(typename Kernel::StrideB{}, {n, k, 1}), e,
       Config::fill_layoutE(problem)},
      {{float(rec::argf("alpha", 1)), 0.f},
       nullptr, cutlass::make_cute_packed_stride(typename Kernel::StrideC{}, {m, n, 1}), d,
       cutlass::make_cute_packed_stride(typename Kernel::StrideD{}, {m, n, 1})}};
  args.hw_info = hw;
  if (Gemm::can_implement(args) != cutlass::Status::kSuccess) rec::fail("cannot implement");
  size_t bytes = Gemm::get_workspace_size(args);
  void* workspace = bytes ? rec::scratch("workspace", bytes) : nullptr;
  rec::expect_args({sizeof(typename Gemm::Params)});
  Gemm gemm;
  if (gemm.run(args, workspace) != cutlass::Status::kSuccess) rec::fail("run failed");
}
