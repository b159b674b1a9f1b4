// mma.sync through CuTe, with ldmatrix (plain and transposed) from swizzled
// shared memory filled by cp.async, and stmatrix of the result.
#include "recorder.h"

#include <cute/tensor.hpp>
#include <cute/arch/copy_sm75.hpp>
#include <cute/arch/copy_sm80.hpp>
#include <cute/arch/copy_sm90.hpp>
#include <cute/arch/mma_sm80.hpp>
#include <cute/atom/copy_traits_sm75.hpp>
#include <cute/atom/copy_traits_sm80.hpp>
#include <cute/atom/copy_traits_sm90.hpp>
#include <cute/atom/mma_traits_sm80.hpp>

#include "names.h"

using namespace cute;
using bf = cutlass::bfloat16_t;
constexpr int M = 64, N = 64, K = 64;

// A and B are given as M x K and N x K with either dimension contiguous.
template <class LdA, class LdB, class St, class SA, class SB, class SD, class GA, class GB, class GD>
__global__ void __launch_bounds__(128)
ldsm_kernel(bf const* a, bf const* b, bf* d, SA, SB, SD, GA ga, GB gb, GD gd) {
  extern __shared__ __align__(1024) uint8_t raw[];
  bf* s = reinterpret_cast<bf*>(raw);
  Tensor sA = make_tensor(make_smem_ptr(s), SA{});
  Tensor sB = make_tensor(make_smem_ptr(s + M * K), SB{});
  Tensor sD = make_tensor(make_smem_ptr(s + M * K + N * K), SD{});
  // 16-byte pieces along the contiguous dimension.
  auto fill = [&](auto g, auto t) {
    auto load = [&](auto threads, auto values) {
      auto c = make_tiled_copy(Copy_Atom<SM80_CP_ASYNC_CACHEGLOBAL<uint128_t>, bf>{}, threads, values);
      auto th = c.get_slice(threadIdx.x);
      copy(c, th.partition_S(g), th.partition_D(t));
    };
    if constexpr (is_constant<1, decltype(get<1>(g.stride()))>::value)
      load(Layout<Shape<_16, _8>, Stride<_8, _1>>{}, Layout<Shape<_1, _8>>{});
    else
      load(Layout<Shape<_8, _16>>{}, Layout<Shape<_8, _1>>{});
  };
  fill(make_tensor(make_gmem_ptr(a), ga), sA);
  fill(make_tensor(make_gmem_ptr(b), gb), sB);
  cp_async_fence();
  cp_async_wait<0>();
  __syncthreads();

  auto mma = make_tiled_mma(MMA_Atom<SM80_16x8x16_F32BF16BF16F32_TN>{}, Layout<Shape<_2, _2, _1>>{},
                            Tile<_32, _32, _16>{});
  auto t = mma.get_slice(threadIdx.x);
  Tensor rA = t.partition_fragment_A(sA);
  Tensor rB = t.partition_fragment_B(sB);
  Tensor acc = partition_fragment_C(mma, Shape<Int<M>, Int<N>>{});
  clear(acc);
  auto ca = make_tiled_copy_A(Copy_Atom<LdA, bf>{}, mma).get_slice(threadIdx.x);
  auto cb = make_tiled_copy_B(Copy_Atom<LdB, bf>{}, mma).get_slice(threadIdx.x);
  copy(Copy_Atom<LdA, bf>{}, ca.partition_S(sA), ca.retile_D(rA));
  copy(Copy_Atom<LdB, bf>{}, cb.partition_S(sB), cb.retile_D(rB));
  gemm(mma, acc, rA, rB, acc);

  Tensor out = make_tensor<bf>(acc.layout());
  for (int i = 0; i < size(acc); ++i) out(i) = bf(acc(i));
  auto cd = make_tiled_copy_C(Copy_Atom<St, bf>{}, mma).get_slice(threadIdx.x);
  copy(Copy_Atom<St, bf>{}, cd.retile_S(out), cd.partition_D(sD));
  __syncthreads();
  Tensor gD = make_tensor(make_gmem_ptr(d), gd);
  for (int i = threadIdx.x; i < M * N; i += 128) gD(i / N, i % N) = sD(i / N, i % N);
}

template <class LdA, class LdB, class St, bool RowA, bool RowB, bool RowD>
void one(std::string const& name, bf const* a, bf const* b) {
  auto rows = composition(Swizzle<3, 3, 3>{}, Layout<Shape<_8, _64>, Stride<_64, _1>>{});
  auto columns = composition(Swizzle<3, 3, 3>{}, Layout<Shape<_64, _8>, Stride<_1, _64>>{});
  auto pick = [&](auto row) {
    if constexpr (decltype(row)::value)
      return tile_to_shape(rows, Shape<_64, _64>{});
    else
      return tile_to_shape(columns, Shape<_64, _64>{});
  };
  auto global = [&](auto row) {
    if constexpr (decltype(row)::value)
      return Layout<Shape<_64, _64>, Stride<_64, _1>>{};
    else
      return Layout<Shape<_64, _64>, Stride<_1, _64>>{};
  };
  auto sa = pick(bool_constant<RowA>{});
  auto sb = pick(bool_constant<RowB>{});
  auto sd = pick(bool_constant<RowD>{});
  auto ga = global(bool_constant<RowA>{});
  auto gb = global(bool_constant<RowB>{});
  auto gd = global(bool_constant<RowD>{});
  bf* d = rec::output_as<bf>(name, "bf16", {M, N});
  auto kernel = ldsm_kernel<LdA, LdB, St, decltype(sa), decltype(sb), decltype(sd), decltype(ga),
                            decltype(gb), decltype(gd)>;
  kernel<<<1, 128, 3 * 64 * 64 * sizeof(bf)>>>(a, b, d, sa, sb, sd, ga, gb, gd);
}

void record() {
  bf* a = rec::input_as<bf>("a", "bf16", {M, K});
  bf* b = rec::input_as<bf>("b", "bf16", {N, K});
  one<SM75_U32x4_LDSM_N, SM75_U32x4_LDSM_N, SM90_U32x4_STSM_N, true, true, true>("kk", a, b);
  one<SM75_U32x2_LDSM_N, SM75_U32x2_LDSM_N, SM90_U32x2_STSM_N, true, true, true>("kk2", a, b);
  one<SM75_U32x1_LDSM_N, SM75_U32x1_LDSM_N, SM90_U32x1_STSM_N, true, true, true>("kk1", a, b);
  one<SM75_U16x8_LDSM_T, SM75_U32x4_LDSM_N, SM90_U32x4_STSM_N, false, true, true>("mk", a, b);
  one<SM75_U32x4_LDSM_N, SM75_U16x8_LDSM_T, SM90_U16x8_STSM_T, true, false, false>("km", a, b);
  one<SM75_U16x4_LDSM_T, SM75_U16x4_LDSM_T, SM90_U16x4_STSM_T, false, false, false>("mm", a, b);
}
