// Forward attention from the library's example 88 (its headers, unmodified):
// two chained wgmma (the second with A in registers), online softmax with
// ex2.approx, TMA loads.  Macros: HD head size, TQ TK tile, FSCHED schedule,
// FMASK DefaultFusion, ResidualFusion or CausalFusion.
#include "recorder.h"

#include "cute/tensor.hpp"
#include "cutlass/cutlass.h"

#include "88_hopper_fmha/collective/fmha_fusion.hpp"
#include "88_hopper_fmha/device/device_universal.hpp"
#include "88_hopper_fmha/kernel/fmha_kernel_builder.hpp"

#include "names.h"

using namespace cute;
using namespace cutlass::fmha::collective;
using namespace cutlass::fmha::kernel;
using cutlass::gemm::KernelTma;
using KernelCooperative = cutlass::gemm::KernelTmaWarpSpecializedCooperative;
using KernelPingpong = cutlass::gemm::KernelTmaWarpSpecializedPingpong;

using Element = cutlass::half_t;
using StrideQ = cute::tuple<int, _1, cute::tuple<int, int>>;
using StrideLSE = cute::tuple<_1, cute::tuple<int, int>>;
using Operation = cutlass::device::Universal<
    typename FmhaBuilder<Element, float, float, Shape<Int<TQ>, Int<TK>, Int<HD>>, StrideQ, StrideQ,
                         StrideQ, FMASK, FSCHED>::Kernel>;

void record() {
  int b = int(rec::arg("b", 1)), h = int(rec::arg("h", 1)), q = int(rec::arg("q", TQ)),
      k = int(rec::arg("k", TK)), d = int(rec::arg("d", HD));
  size_t B = b, H = h, Q = q, K = k, D = d;
  auto* pq = rec::input_as<Element>("q", "f16", {B, H, Q, D});
  auto* pk = rec::input_as<Element>("k", "f16", {B, H, K, D});
  auto* pv = rec::input_as<Element>("v", "f16", {B, H, K, D});
  auto* po = rec::output_as<Element>("o", "f16", {B, H, Q, D});
  auto* pl = rec::output_as<float>("lse", "f32", {B, H, Q});
  StrideQ sq{d, _1{}, {h * q * d, q * d}}, sk{d, _1{}, {h * k * d, k * d}};
  StrideLSE sl{_1{}, {h * q, q}};
  cutlass::KernelHardwareInfo hw;
  hw.device_id = 0;
  hw.sm_count = rec::sm_count();
  typename Operation::Arguments args{
      {b, h, q, k, d}, {pq, sq, pk, sk, pv, sk}, {po, sq, pl, sl}, hw};
  Operation op;
  if (op.can_implement(args) != cutlass::Status::kSuccess) rec::fail("cannot implement");
  size_t bytes = Operation::get_workspace_size(args);
  void* workspace = bytes ? rec::scratch("workspace", bytes) : nullptr;
  if (op.initialize(args, workspace) != cutlass::Status::kSuccess) rec::fail("initialize failed");
  rec::expect_args({sizeof(typename Operation::Params)});
  if (op.run() != cutlass::Status::kSuccess) rec::fail("run failed");
}
