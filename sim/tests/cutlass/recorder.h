// Host-side interface of the recorder: buffers with recognisable fake device
// addresses.  The recorder (recorder.cpp) takes the place of the CUDA runtime
// and of cuTensorMapEncodeTiled; each kernel launch becomes an entry of
// launch.json.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace rec {

// A buffer whose contents the caller of the program supplies as NAME.bin.
void* input(std::string const& name, std::string const& dtype, std::vector<size_t> shape);
// A buffer filled with `fill` and saved as NAME.bin after the launches.
// `guard` extra elements follow it, which the kernel must leave alone.
void* output(std::string const& name, std::string const& dtype, std::vector<size_t> shape,
             double fill = 77, size_t guard = 256);
// Memory that the program itself fills by cudaMemcpy/cudaMemset; poisoned before.
void* scratch(std::string const& name, size_t bytes);

// The next launch must have these argument sizes (checked against the PTX).
void expect_args(std::vector<size_t> sizes);

// From the command line: key=value words after the first two.
long arg(char const* key, long otherwise);
double argf(char const* key, double otherwise);
int sm_count();

// Stops the program with a message.
[[noreturn]] void fail(std::string const& what);

template <class T> T* input_as(std::string const& n, std::string const& d, std::vector<size_t> s) {
  return static_cast<T*>(input(n, d, s));
}
template <class T> T* output_as(std::string const& n, std::string const& d, std::vector<size_t> s,
                                double fill = 77, size_t guard = 256) {
  return static_cast<T*>(output(n, d, s, fill, guard));
}
template <class T> T* upload(std::string const& name, std::vector<T> const& values);

void copy_in(void* to, void const* from, size_t bytes);
template <class T> T* upload(std::string const& name, std::vector<T> const& values) {
  void* p = scratch(name, values.size() * sizeof(T));
  copy_in(p, values.data(), values.size() * sizeof(T));
  return static_cast<T*>(p);
}

}  // namespace rec

// Each wrapper defines this; main() is in the recorder.
void record();
