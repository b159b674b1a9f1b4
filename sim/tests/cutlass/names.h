// The contract's name of each element type.
#pragma once
#include "cutlass/numeric_types.h"

template <class T> constexpr char const* dtype_name();
template <> constexpr char const* dtype_name<cutlass::bfloat16_t>() { return "bf16"; }
template <> constexpr char const* dtype_name<cutlass::half_t>() { return "f16"; }
template <> constexpr char const* dtype_name<float>() { return "f32"; }
template <> constexpr char const* dtype_name<cutlass::tfloat32_t>() { return "f32"; }
template <> constexpr char const* dtype_name<cutlass::float_e4m3_t>() { return "f8e4m3"; }
template <> constexpr char const* dtype_name<cutlass::float_e5m2_t>() { return "f8e5m2"; }
template <> constexpr char const* dtype_name<int8_t>() { return "s8"; }
template <> constexpr char const* dtype_name<uint8_t>() { return "u8"; }
template <> constexpr char const* dtype_name<int32_t>() { return "s32"; }
