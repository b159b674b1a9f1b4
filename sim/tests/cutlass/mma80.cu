// A CUTLASS 2.x GEMM: cp.async, ldmatrix, mma.sync.  Macros as in gemm.cu, with
// WM WN WK warp tile, IM IN IK instruction, STG stages, SERIAL split-K allowed.
#include "recorder.h"

#include "cutlass/cutlass.h"
#include "cutlass/epilogue/thread/linear_combination.h"
#include "cutlass/epilogue/thread/linear_combination_clamp.h"
#include "cutlass/gemm/device/gemm.h"

#include "names.h"

#ifndef ALIGNMENT
#define ALIGNMENT (128 / cutlass::sizeof_bits<EA>::value)
#endif
#ifndef MATHOP
#define MATHOP cutlass::arch::OpMultiplyAdd
#endif

using LayoutA = cutlass::layout::LA;
using LayoutB = cutlass::layout::LB;
using LayoutD = cutlass::layout::LD;
using Output = cutlass::epilogue::thread::LinearCombination<
    ED, 128 / cutlass::sizeof_bits<ED>::value, EACC, float>;
using Gemm = cutlass::gemm::device::Gemm<
    EA, LayoutA, EB, LayoutB, ED, LayoutD, EACC, cutlass::arch::OpClassTensorOp,
    cutlass::arch::Sm80, cutlass::gemm::GemmShape<TM, TN, TK>, cutlass::gemm::GemmShape<WM, WN, WK>,
    cutlass::gemm::GemmShape<IM, IN, IK>, Output,
    cutlass::gemm::threadblock::GemmIdentityThreadblockSwizzle<>, STG, ALIGNMENT, ALIGNMENT,
    bool(SERIAL), MATHOP>;

void record() {
  int m = int(rec::arg("m", TM)), n = int(rec::arg("n", TN)), k = int(rec::arg("k", TK));
  size_t M = m, N = n, K = k;
  auto* a = rec::input_as<EA>("a", dtype_name<EA>(), {1, M, K});
  auto* b = rec::input_as<EB>("b", dtype_name<EB>(), {1, N, K});
  auto* d = rec::output_as<ED>("d", dtype_name<ED>(), {1, M, N});
  auto* c = rec::input_as<ED>("c", dtype_name<ED>(), {1, M, N});
  typename Gemm::Arguments args{
      {m, n, k},
      {a, LayoutA::packed({m, k})},
      {b, LayoutB::packed({k, n})},
      {c, LayoutD::packed({m, n})},
      {d, LayoutD::packed({m, n})},
      {float(rec::argf("alpha", 1)), float(rec::argf("beta", 0))},
      int(rec::arg("splits", 1))};
  if (Gemm::can_implement(args) != cutlass::Status::kSuccess) rec::fail("cannot implement");
  size_t bytes = Gemm::get_workspace_size(args);
  void* workspace = bytes ? rec::scratch("workspace", bytes) : nullptr;
  Gemm gemm;
  if (gemm.initialize(args, workspace) != cutlass::Status::kSuccess) rec::fail("initialize failed");
  if (gemm.run() != cutlass::Status::kSuccess) rec::fail("run failed");
}
