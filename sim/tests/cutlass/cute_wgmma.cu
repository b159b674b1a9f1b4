// wgmma through CuTe: one warp group multiplies one tile held in each canonical
// shared-memory layout (K- or MN-major, each swizzle), with A from shared
// memory (ss) or registers (rs).  Macros: EA EB EACC, TM TN TK, and MAJORS = 1
// where MN-major operands exist (16-bit types).
#include "recorder.h"

#include <cute/tensor.hpp>
#include <cute/arch/mma_sm90.hpp>
#include <cute/atom/mma_traits_sm90_gmma.hpp>
#include <cutlass/arch/barrier.h>

#include "names.h"

using namespace cute;

template <bool RS, class SA, class SB, class Mma>
__global__ void __launch_bounds__(128)
mma_kernel(EA const* a, EB const* b, EACC* d, SA, SB, Mma mma) {
  extern __shared__ __align__(1024) uint8_t raw[];
  EA* pa = reinterpret_cast<EA*>(raw);
  EB* pb = reinterpret_cast<EB*>(raw + ((cosize_v<SA> * sizeof(EA) + 1023) / 1024 * 1024));
  Tensor sA = make_tensor(make_smem_ptr(pa), SA{});
  Tensor sB = make_tensor(make_smem_ptr(pb), SB{});
  for (int i = threadIdx.x; i < TM * TK; i += 128) sA(i / TK, i % TK) = a[i];
  for (int i = threadIdx.x; i < TN * TK; i += 128) sB(i / TK, i % TK) = b[i];
  cutlass::arch::fence_view_async_shared();
  __syncthreads();
  Tensor gD = make_tensor(make_gmem_ptr(d), make_shape(Int<TM>{}, Int<TN>{}),
                          make_stride(Int<TN>{}, _1{}));
  auto t = mma.get_slice(threadIdx.x);
  Tensor tB = t.make_fragment_B(t.partition_B(sB));
  Tensor tD = t.partition_C(gD);
  Tensor acc = t.make_fragment_C(tD);
  clear(acc);
  if constexpr (RS) {
    // The registers are filled by plain loads.
    Tensor gA = make_tensor(make_gmem_ptr(a), make_shape(Int<TM>{}, Int<TK>{}),
                            make_stride(Int<TK>{}, _1{}));
    Tensor pA = t.partition_A(gA);
    Tensor tA = t.make_fragment_A(pA);
    copy(pA, tA);
    warpgroup_fence_operand(acc);
    warpgroup_fence_operand(tA);
    warpgroup_arrive();
    gemm(mma, tA, tB, acc);
  } else {
    Tensor tA = t.make_fragment_A(t.partition_A(sA));
    warpgroup_fence_operand(acc);
    warpgroup_arrive();
    gemm(mma, tA, tB, acc);
  }
  warpgroup_commit_batch();
  warpgroup_wait<0>();
  warpgroup_fence_operand(acc);
  copy(acc, tD);
}

template <bool RS, GMMA::Major MA, GMMA::Major MB, template <class> class AtomA,
          template <class> class AtomB>
void one(std::string const& name, EA const* a, EB const* b) {
  auto la = tile_to_shape(AtomA<EA>{}, make_shape(Int<TM>{}, Int<TK>{}));
  auto lb = tile_to_shape(AtomB<EB>{}, make_shape(Int<TN>{}, Int<TK>{}));
  using Tile = Shape<Int<TM>, Int<TN>, Int<TK>>;
  auto mma = [] {
    if constexpr (RS)
      return make_tiled_mma(SM90::GMMA::rs_op_selector<EA, EB, EACC, Tile, MA, MB>());
    else
      return make_tiled_mma(SM90::GMMA::ss_op_selector<EA, EB, EACC, Tile, MA, MB>());
  }();
  EACC* d = rec::output_as<EACC>(name, dtype_name<EACC>(), {TM, TN});
  auto kernel = mma_kernel<RS, decltype(la), decltype(lb), decltype(mma)>;
  size_t smem = (cosize(la) * sizeof(EA) + 1023) / 1024 * 1024 + cosize(lb) * sizeof(EB);
  kernel<<<1, 128, smem>>>(a, b, d, la, lb, mma);
}

template <class E> using KN = GMMA::Layout_K_INTER_Atom<E>;
template <class E> using K32 = GMMA::Layout_K_SW32_Atom<E>;
template <class E> using K64 = GMMA::Layout_K_SW64_Atom<E>;
template <class E> using K128 = GMMA::Layout_K_SW128_Atom<E>;
template <class E> using MN = GMMA::Layout_MN_INTER_Atom<E>;
template <class E> using M32 = GMMA::Layout_MN_SW32_Atom<E>;
template <class E> using M64 = GMMA::Layout_MN_SW64_Atom<E>;
template <class E> using M128 = GMMA::Layout_MN_SW128_Atom<E>;

void record() {
  EA* a = rec::input_as<EA>("a", dtype_name<EA>(), {TM, TK});
  EB* b = rec::input_as<EB>("b", dtype_name<EB>(), {TN, TK});
  constexpr auto K = GMMA::Major::K;
  one<false, K, K, KN, KN>("ss_kk_none", a, b);
  one<false, K, K, K32, K32>("ss_kk_32", a, b);
  one<false, K, K, K64, K64>("ss_kk_64", a, b);
  one<false, K, K, K128, K128>("ss_kk_128", a, b);
  one<false, K, K, K64, K128>("ss_kk_64_128", a, b);
  one<true, K, K, KN, KN>("rs_k_none", a, b);
  one<true, K, K, KN, K32>("rs_k_32", a, b);
  one<true, K, K, KN, K64>("rs_k_64", a, b);
  one<true, K, K, KN, K128>("rs_k_128", a, b);
#if MAJORS
  constexpr auto M = GMMA::Major::MN;
  one<false, M, K, MN, K128>("ss_mk_none", a, b);
  one<false, M, K, M32, K128>("ss_mk_32", a, b);
  one<false, M, K, M64, K128>("ss_mk_64", a, b);
  one<false, M, K, M128, K128>("ss_mk_128", a, b);
  one<false, K, M, K128, MN>("ss_km_none", a, b);
  one<false, K, M, K128, M32>("ss_km_32", a, b);
  one<false, K, M, K128, M64>("ss_km_64", a, b);
  one<false, K, M, K128, M128>("ss_km_128", a, b);
  one<false, M, M, M128, M128>("ss_mm_128", a, b);
  one<true, K, M, KN, MN>("rs_m_none", a, b);
  one<true, K, M, KN, M64>("rs_m_64", a, b);
  one<true, K, M, KN, M128>("rs_m_128", a, b);
#endif
}
