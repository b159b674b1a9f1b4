// TMA through CuTe: tiles of a matrix with tails are loaded into each canonical
// shared-memory layout (no swizzle, 32, 64, 128 bytes; either dimension
// contiguous), read by threads, negated, and stored or added by TMA; and the
// same load multicast in clusters.  ET is the element type.
#include "recorder.h"

#include <cute/tensor.hpp>
#include <cute/arch/cluster_sm90.hpp>
#include <cute/arch/copy_sm90_tma.hpp>
#include <cute/atom/copy_traits_sm90_tma.hpp>
#include <cute/atom/mma_traits_sm90_gmma.hpp>
#include <cutlass/arch/barrier.h>
#include <cutlass/cluster_launch.hpp>

#include "names.h"

using namespace cute;
using Barrier = cutlass::arch::ClusterTransactionBarrier;

// flat[tile][i][j] = in, zero outside; store = -in; add += -in.
template <class E, class SLayout, class Load, class Store, class Add>
__global__ void __launch_bounds__(128)
copy_kernel(CUTE_GRID_CONSTANT Load const load, CUTE_GRID_CONSTANT Store const store,
            CUTE_GRID_CONSTANT Add const add, SLayout, E* flat, int m, int n) {
  extern __shared__ __align__(1024) uint8_t raw[];
  E* s = reinterpret_cast<E*>(raw);
  __shared__ alignas(8) uint64_t bar;
  constexpr int TI = size<0>(SLayout{}), TJ = size<1>(SLayout{});
  Tensor S = make_tensor(make_smem_ptr(s), SLayout{});
  auto tile = make_shape(Int<TI>{}, Int<TJ>{});
  auto coord = make_coord(blockIdx.x, blockIdx.y);
  Tensor G = local_tile(load.get_tma_tensor(make_shape(m, n)), tile, coord);
  if (threadIdx.x == 0) {
    Barrier::ValueType* b = reinterpret_cast<Barrier::ValueType*>(&bar);
    Barrier::init(b, 1);
    cutlass::arch::fence_barrier_init();
    Barrier::arrive_and_expect_tx(b, TI * TJ * sizeof(E));
    auto t = load.get_slice(0);
    copy(load.with(bar), t.partition_S(G), t.partition_D(S));
  }
  __syncthreads();
  Barrier::wait(reinterpret_cast<Barrier::ValueType*>(&bar), 0);
  E* out = flat + size_t(blockIdx.x * gridDim.y + blockIdx.y) * (TI * TJ);
  for (int i = threadIdx.x; i < TI * TJ; i += 128) {
    out[i] = S(i / TJ, i % TJ);
    S(i / TJ, i % TJ) = E(-float(S(i / TJ, i % TJ)));
  }
  cutlass::arch::fence_view_async_shared();
  __syncthreads();
  if (threadIdx.x == 0) {
    auto t = store.get_slice(0);
    Tensor D = local_tile(store.get_tma_tensor(make_shape(m, n)), tile, coord);
    copy(store, t.partition_S(S), t.partition_D(D));
    auto u = add.get_slice(0);
    Tensor A = local_tile(add.get_tma_tensor(make_shape(m, n)), tile, coord);
    copy(add, u.partition_S(S), u.partition_D(A));
    tma_store_arrive();
    tma_store_wait<0>();
  }
}

// Each block of the cluster loads its slice for all; flat[block][i][j].
template <class E, class SLayout, class Load>
__global__ void __launch_bounds__(128)
multicast_kernel(CUTE_GRID_CONSTANT Load const load, SLayout, E* flat, int m, int n) {
  extern __shared__ __align__(1024) uint8_t raw[];
  E* s = reinterpret_cast<E*>(raw);
  __shared__ alignas(8) uint64_t bar;
  constexpr int TI = size<0>(SLayout{}), TJ = size<1>(SLayout{});
  Tensor S = make_tensor(make_smem_ptr(s), SLayout{});
  int rank = int(cute::block_rank_in_cluster());
  int cluster = int(cute::cluster_shape().x);
  Tensor G = local_tile(load.get_tma_tensor(make_shape(m, n)), make_shape(Int<TI>{}, Int<TJ>{}),
                        make_coord(int(blockIdx.x) / cluster, 0));
  Barrier::ValueType* b = reinterpret_cast<Barrier::ValueType*>(&bar);
  if (threadIdx.x == 0) {
    Barrier::init(b, 1);
    cutlass::arch::fence_barrier_init();
    Barrier::arrive_and_expect_tx(b, TI * TJ * sizeof(E));
  }
  cute::cluster_arrive();
  cute::cluster_wait();
  if (threadIdx.x == 0) {
    auto t = load.get_slice(rank);
    copy(load.with(bar, uint16_t((1 << cluster) - 1)), t.partition_S(G), t.partition_D(S));
  }
  Barrier::wait(b, 0);
  E* out = flat + size_t(blockIdx.x) * (TI * TJ);
  for (int i = threadIdx.x; i < TI * TJ; i += 128) out[i] = S(i / TJ, i % TJ);
  // No block may leave while another still writes to it.
  cute::cluster_arrive();
  cute::cluster_wait();
}

template <class E, class Atom, int TI, int TJ, bool Rows>
void copies(std::string const& name, E const* in, int m, int n) {
  auto layout = tile_to_shape(Atom{}, make_shape(Int<TI>{}, Int<TJ>{}));
  // In either case dimension 0 is m and dimension 1 is n; Rows: n contiguous.
  size_t gi = (m + TI - 1) / TI, gj = (n + TJ - 1) / TJ;
  E* flat = rec::output_as<E>(name + "_flat", dtype_name<E>(), {gi * gj * TI * TJ});
  E* st = rec::output_as<E>(name + "_store", dtype_name<E>(), {size_t(m), size_t(n)});
  E* ad = rec::output_as<E>(name + "_add", dtype_name<E>(), {size_t(m), size_t(n)}, 2);
  auto gl = [&] {
    if constexpr (Rows)
      return make_layout(make_shape(m, n), make_stride(n, _1{}));
    else
      return make_layout(make_shape(m, n), make_stride(_1{}, m));
  }();
  auto load = make_tma_copy(SM90_TMA_LOAD{}, make_tensor(make_gmem_ptr(in), gl), layout);
  auto store = make_tma_copy(SM90_TMA_STORE{}, make_tensor(make_gmem_ptr(st), gl), layout);
  auto launch = [&](auto const& add) {
    auto kernel = copy_kernel<E, decltype(layout), decltype(load), decltype(store),
                              std::decay_t<decltype(add)>>;
    kernel<<<dim3(gi, gj), 128, TI * TJ * sizeof(E)>>>(load, store, add, layout, flat, m, n);
  };
  if constexpr (sizeof(E) > 1)
    launch(make_tma_copy(SM90_TMA_REDUCE_ADD{}, make_tensor(make_gmem_ptr(ad), gl), layout));
  else  // there is no addition of bytes as numbers: stored again
    launch(make_tma_copy(SM90_TMA_STORE{}, make_tensor(make_gmem_ptr(ad), gl), layout));
}

template <class E, class Atom, int TI, int TJ, int C>
void multicast(std::string const& name, E const* in, int m, int n) {
  auto layout = tile_to_shape(Atom{}, make_shape(Int<TI>{}, Int<TJ>{}));
  size_t gi = (m + TI - 1) / TI;
  E* flat = rec::output_as<E>(name, dtype_name<E>(), {gi * C * TI * TJ});
  auto gl = make_layout(make_shape(m, n), make_stride(n, _1{}));
  auto load = make_tma_copy(SM90_TMA_LOAD_MULTICAST{}, make_tensor(make_gmem_ptr(in), gl), layout,
                            make_shape(Int<TI>{}, Int<TJ>{}), Int<C>{});
  void const* kernel = (void const*)multicast_kernel<E, decltype(layout), decltype(load)>;
  cutlass::ClusterLaunchParams p;
  p.grid_dims = dim3(gi * C, 1, 1);
  p.block_dims = dim3(128, 1, 1);
  p.cluster_dims = dim3(C, 1, 1);
  p.smem_size_in_bytes = TI * TJ * sizeof(E);
  cutlass::launch_kernel_on_cluster(p, kernel, load, layout, flat, m, n);
}

void record() {
  int m = int(rec::arg("m", 100)), n = int(rec::arg("n", 104));
  // The same bytes, read with rows of n or columns of m contiguous.
  ET* in = rec::input_as<ET>("in", dtype_name<ET>(), {size_t(m), size_t(n)});
  constexpr int W = 16 / sizeof(ET);
  using namespace GMMA;
  copies<ET, Layout_K_INTER_Atom<ET>, 64, W, true>("k_none", in, m, n);
  copies<ET, Layout_K_SW32_Atom<ET>, 64, 2 * W, true>("k_32", in, m, n);
  copies<ET, Layout_K_SW64_Atom<ET>, 32, 4 * W, true>("k_64", in, m, n);
  copies<ET, Layout_K_SW128_Atom<ET>, 64, 8 * W, true>("k_128", in, m, n);
  copies<ET, Layout_K_SW128_Atom<ET>, 16, 16 * W, true>("k_128w", in, m, n);
  copies<ET, Layout_MN_INTER_Atom<ET>, W, 32, false>("mn_none", in, m, n);
  copies<ET, Layout_MN_SW32_Atom<ET>, 2 * W, 32, false>("mn_32", in, m, n);
  copies<ET, Layout_MN_SW64_Atom<ET>, 4 * W, 16, false>("mn_64", in, m, n);
  copies<ET, Layout_MN_SW128_Atom<ET>, 8 * W, 32, false>("mn_128", in, m, n);
  multicast<ET, Layout_K_SW128_Atom<ET>, 64, 8 * W, 2>("multicast2", in, m, n);
  multicast<ET, Layout_K_SW64_Atom<ET>, 64, 4 * W, 4>("multicast4", in, m, n);
}
