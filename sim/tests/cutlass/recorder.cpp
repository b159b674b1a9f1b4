// A CUDA runtime that runs nothing: it hands out fake device addresses, keeps
// what the program copies to them, answers the queries CUTLASS makes as an
// H100 SXM would, and writes every kernel launch to launch.json.
//
//   PROGRAM OUTDIR MODULE.ptx [key=value ...]
//
// Linked in place of libcudart; the tensor-map encoder is handed out by
// cudaGetDriverEntryPoint and writes a numbered placeholder.
#include "recorder.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>

namespace {

// No process on this platform has host memory here, and the words are unlikely
// as data.
constexpr uint64_t kBase = 0x3ca100000000ull;
constexpr uint64_t kStep = 1ull << 32;
constexpr uint64_t kMapMagic = 0x70614d726f736e54ull;  // "TnsorMap"

struct Buffer {
  std::string name, dtype;
  std::vector<size_t> shape;
  size_t bytes = 0;
  bool input = false, output = false, poison = false;
  double fill = 0;
  std::vector<uint8_t> host;  // scratch only
};

struct Launch {
  std::string json;
};

struct State {
  std::filesystem::path dir, module;
  std::map<std::string, std::string> args;
  std::vector<Buffer> buffers;
  std::vector<CUtensorMap> encoded;      // placeholders by number
  std::vector<std::string> maps;         // their JSON
  std::map<void const*, std::string> kernels;
  std::map<std::string, std::vector<size_t>> entry_sizes;
  std::vector<std::string> launches;
  std::vector<size_t> expected;
  bool expect = false;
};

State& state() {
  static State s;
  return s;
}

size_t dtype_size(std::string const& d) {
  if (d == "u8" || d == "s8" || d == "f8e4m3" || d == "f8e5m2") return 1;
  if (d == "u16" || d == "s16" || d == "f16" || d == "bf16") return 2;
  if (d == "u32" || d == "s32" || d == "f32") return 4;
  if (d == "u64" || d == "s64" || d == "f64") return 8;
  rec::fail("unknown dtype " + d);
}

uint64_t address(size_t index) { return kBase + index * kStep; }

// The buffer and offset of a fake address, if it is one.
bool resolve(uint64_t word, size_t& index, uint64_t& offset) {
  if (word < kBase) return false;
  uint64_t at = (word - kBase) / kStep;
  if (at >= state().buffers.size()) return false;
  index = at;
  offset = (word - kBase) % kStep;
  return offset <= state().buffers[at].bytes;
}

void* add(Buffer b) {
  for (auto const& o : state().buffers)
    if (o.name == b.name) rec::fail("two buffers named " + b.name);
  state().buffers.push_back(std::move(b));
  return reinterpret_cast<void*>(address(state().buffers.size() - 1));
}

std::string hex(uint8_t const* p, size_t n) {
  static char const digits[] = "0123456789abcdef";
  std::string s;
  for (size_t i = 0; i < n; ++i) {
    s += digits[p[i] >> 4];
    s += digits[p[i] & 15];
  }
  return s;
}

std::string pointer_json(uint64_t word) {
  size_t index;
  uint64_t offset;
  if (!resolve(word, index, offset)) rec::fail("not a fake address");
  std::ostringstream o;
  o << "\"buffer\": \"" << state().buffers[index].name << "\", \"offset\": " << offset;
  return o.str();
}

// --- Tensor maps -----------------------------------------------------------

CUresult encode_tiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* base,
                      cuuint64_t const* dims, cuuint64_t const* strides, cuuint32_t const* box,
                      cuuint32_t const* element, CUtensorMapInterleave interleave,
                      CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                      CUtensorMapFloatOOBfill oob) {
  static char const* const types[] = {"u8",  "u16", "u32", "s32",  "u64",     "s64",  "f16",
                                      "f32", "f64", "bf16", "f32_ftz", "tf32", "tf32_ftz"};
  static unsigned const map_element_bytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
  static char const* const swizzles[] = {"none", "32B", "64B", "128B"};
  static char const* const promotions[] = {"none", "64B", "128B", "256B"};
  static char const* const interleaves[] = {"none", "16B", "32B"};
  if (unsigned(type) >= 13 || unsigned(swizzle) >= 4 || unsigned(promotion) >= 4 ||
      unsigned(interleave) >= 3 || rank < 1 || rank > 5)
    rec::fail("cuTensorMapEncodeTiled: an argument the recorder does not know");
  auto list = [&](auto const* v, size_t n) {
    std::ostringstream o;
    o << "[";
    for (size_t i = 0; i < n; ++i) o << (i ? ", " : "") << v[i];
    o << "]";
    return o.str();
  };
  uint64_t end = dims[0] * map_element_bytes[type];
  for (unsigned i = 1; i < rank; ++i) end += (dims[i] - 1) * strides[i - 1];
  std::ostringstream o;
  o << "{";
  size_t index;
  uint64_t offset;
  if (resolve(reinterpret_cast<uint64_t>(base), index, offset) &&
      offset + end <= state().buffers[index].bytes) {
    o << pointer_json(reinterpret_cast<uint64_t>(base));
  } else {
    // Grouped kernels set the address on the device; the one that the library
    // gives here is null, a small number, or of something else.  Launch files
    // want memory behind each map: some that must not be read.
    Buffer b;
    b.name = "behind_map" + std::to_string(state().maps.size());
    b.bytes = end, b.shape = {end}, b.poison = true;
    std::fprintf(stderr, "note: tensor map of address %p\n", base);
    o << pointer_json(reinterpret_cast<uint64_t>(add(b)));
  }
  o << ", \"dtype\": \"" << types[type] << "\", \"dims\": " << list(dims, rank)
    << ", \"strides\": " << list(strides, rank - 1) << ", \"box\": " << list(box, rank)
    << ", \"element_strides\": " << list(element, rank) << ", \"interleave\": \""
    << interleaves[interleave] << "\", \"swizzle\": \"" << swizzles[swizzle]
    << "\", \"l2_promotion\": \"" << promotions[promotion] << "\", \"oob_fill\": \""
    << (oob == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE ? "zero" : "nan") << "\"}";
  std::memset(map, 0, sizeof *map);
  map->opaque[0] = kMapMagic;
  map->opaque[1] = state().maps.size();
  for (int i = 2; i < 16; ++i) map->opaque[i] = kMapMagic + i;
  state().encoded.push_back(*map);
  state().maps.push_back(o.str());
  return CUDA_SUCCESS;
}

CUresult memset_d32_async(CUdeviceptr to, unsigned value, size_t count, CUstream) {
  std::vector<unsigned> v(count, value);
  rec::copy_in(reinterpret_cast<void*>(to), v.data(), count * 4);
  return CUDA_SUCCESS;
}

CUresult memset_d16_async(CUdeviceptr to, unsigned short value, size_t count, CUstream) {
  std::vector<unsigned short> v(count, value);
  rec::copy_in(reinterpret_cast<void*>(to), v.data(), count * 2);
  return CUDA_SUCCESS;
}

CUresult memset_d8_async(CUdeviceptr to, unsigned char value, size_t count, CUstream) {
  std::vector<unsigned char> v(count, value);
  rec::copy_in(reinterpret_cast<void*>(to), v.data(), count);
  return CUDA_SUCCESS;
}

void* driver_entry(char const* name) {
  std::string n = name;
  if (n == "cuTensorMapEncodeTiled") return reinterpret_cast<void*>(&encode_tiled);
  if (n == "cuMemsetD32Async") return reinterpret_cast<void*>(&memset_d32_async);
  if (n == "cuMemsetD16Async") return reinterpret_cast<void*>(&memset_d16_async);
  if (n == "cuMemsetD8Async") return reinterpret_cast<void*>(&memset_d8_async);
  std::fprintf(stderr, "note: driver entry point %s asked for\n", name);
  return nullptr;
}

// --- Arguments -------------------------------------------------------------

// The parameter sizes of each entry, read from the PTX.
void read_entries() {
  std::ifstream f(state().module);
  if (!f) rec::fail("cannot read " + state().module.string());
  std::stringstream ss;
  ss << f.rdbuf();
  std::string const text = ss.str();
  std::regex const param(
      R"(\.param\s+(?:\.align\s+\d+\s+)?\.([busf])(\d+)\s+(?:\.ptr[^,\[]*?\s)?([\w$]+)(?:\[(\d+)\])?\s*$)");
  size_t at = 0;
  while ((at = text.find(".entry ", at)) != std::string::npos) {
    at += 7;
    size_t open = text.find('(', at);
    size_t brace = text.find_first_of("{", at);
    std::string name = text.substr(at, open - at);
    while (!name.empty() && isspace(name.back())) name.pop_back();
    std::vector<size_t> sizes;
    if (open < brace) {
      size_t close = text.find(')', open);
      std::stringstream list(text.substr(open + 1, close - open - 1));
      std::string item;
      while (std::getline(list, item, ',')) {
        std::smatch m;
        while (!item.empty() && isspace(item.back())) item.pop_back();
        if (item.find(".param") == std::string::npos) continue;
        if (!std::regex_search(item, m, param)) rec::fail("cannot read parameter: " + item);
        size_t n = std::stoul(m[2]) / 8;
        if (m[4].matched) n *= std::stoul(m[4]);
        sizes.push_back(n);
      }
    }
    state().entry_sizes[name] = sizes;
  }
}

std::string argument(uint8_t const* p, size_t size) {
  if (size == 8) {
    uint64_t w;
    std::memcpy(&w, p, 8);
    size_t i;
    uint64_t o;
    if (resolve(w, i, o)) return "{" + pointer_json(w) + "}";
  }
  if (size <= 16 && size != 0) return "{\"bytes\": \"" + hex(p, size) + "\"}";
  std::vector<std::string> fields;
  size_t raw = 0, at = 0;
  auto flush = [&](size_t to) {
    if (to > raw) {
      std::ostringstream o;
      o << "{\"offset\": " << raw << ", \"bytes\": \"" << hex(p + raw, to - raw) << "\"}";
      fields.push_back(o.str());
    }
  };
  bool whole_map = false;
  while (at < size) {
    if (at + 128 <= size) {
      CUtensorMap m;
      std::memcpy(&m, p + at, 128);
      uint64_t n = m.opaque[1];
      if (m.opaque[0] == kMapMagic && n < state().maps.size() &&
          std::memcmp(&m, &state().encoded[n], 128) == 0) {
        if (at % 64) rec::fail("a tensor map off its 64-byte grid");
        flush(at);
        std::ostringstream o;
        o << "{\"offset\": " << at << ", \"tensor_map\": " << state().maps[n] << "}";
        fields.push_back(o.str());
        if (size == 128) whole_map = true;
        at += 128;
        raw = at;
        if (whole_map) return "{\"tensor_map\": " + state().maps[n] + "}";
        continue;
      }
    }
    if (at + 8 <= size) {
      uint64_t w;
      std::memcpy(&w, p + at, 8);
      size_t i;
      uint64_t o;
      if (w == kMapMagic) rec::fail("a torn tensor map in the arguments");
      if (resolve(w, i, o)) {
        flush(at);
        std::ostringstream s;
        // Here "offset" is the place in the struct, so the offset in the
        // buffer goes under "buffer_offset".
        s << "{\"offset\": " << at << ", \"buffer\": \"" << state().buffers[i].name << "\"";
        if (o) s << ", \"buffer_offset\": " << o;
        s << "}";
        fields.push_back(s.str());
        at += 8;
        raw = at;
        continue;
      }
    }
    at += 8;
  }
  flush(size);
  std::ostringstream o;
  o << "{\"struct\": {\"size\": " << size << ", \"fields\": [";
  for (size_t i = 0; i < fields.size(); ++i) o << (i ? ",\n        " : "\n        ") << fields[i];
  o << "]}}";
  return o.str();
}

void launch(void const* function, dim3 grid, dim3 block, dim3 cluster, size_t smem, void** args) {
  auto k = state().kernels.find(function);
  if (k == state().kernels.end()) rec::fail("launch of a function that was not registered");
  auto e = state().entry_sizes.find(k->second);
  if (e == state().entry_sizes.end()) rec::fail("no entry " + k->second + " in the PTX");
  if (state().expect && state().expected != e->second) {
    std::string what = "argument sizes differ from the PTX of " + k->second + ": host";
    for (size_t n : state().expected) what += " " + std::to_string(n);
    what += ", PTX";
    for (size_t n : e->second) what += " " + std::to_string(n);
    rec::fail(what);
  }
  state().expect = false;
  std::ostringstream o;
  auto dims = [](dim3 d) {
    return "[" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + "]";
  };
  std::error_code ignored;
  auto module = std::filesystem::relative(state().module, state().dir, ignored);
  o << "    {\"device\": 0, \"module\": \"" << module.generic_string() << "\", \"kernel\": \""
    << k->second << "\",\n     \"grid\": " << dims(grid) << ", \"block\": " << dims(block)
    << ", \"cluster\": " << dims(cluster) << ", \"dynamic_smem\": " << smem << ",\n     \"args\": [";
  for (size_t i = 0; i < e->second.size(); ++i) {
    o << (i ? ",\n      " : "\n      ")
      << argument(static_cast<uint8_t const*>(args[i]), e->second[i]);
  }
  o << "]}";
  state().launches.push_back(o.str());
}

void write_json() {
  auto& s = state();
  std::ofstream f(s.dir / "launch.json");
  f << "{ \"devices\": 1,\n  \"buffers\": {";
  bool first = true;
  for (auto const& b : s.buffers) {
    f << (first ? "\n    " : ",\n    ") << "\"" << b.name << "\": ";
    first = false;
    auto shape = [&](std::vector<size_t> const& v) {
      std::ostringstream o;
      for (size_t i = 0; i < v.size(); ++i) o << (i ? ", " : "") << v[i];
      return o.str();
    };
    if (b.input || b.output) {
      f << "{\"dtype\": \"" << b.dtype << "\", \"shape\": [" << shape(b.shape) << "], ";
      if (b.input)
        f << "\"file\": \"" << b.name << ".bin\"";
      else
        f << "\"fill\": " << b.fill << ", \"save\": \"" << b.name << ".out.bin\"";
      f << ", \"device\": 0}";
      continue;
    }
    if (b.poison) {
      f << "{\"dtype\": \"u8\", \"shape\": [" << b.bytes << "], \"fill\": \"poison\", \"device\": 0}";
      continue;
    }
    // Scratch: pointers, one byte throughout, or a file.
    size_t words = b.bytes / 8, pointers = 0, nulls = 0;
    for (size_t i = 0; i < words; ++i) {
      uint64_t w, o;
      size_t at;
      std::memcpy(&w, b.host.data() + 8 * i, 8);
      if (resolve(w, at, o)) ++pointers;
      if (w == 0) ++nulls;
    }
    if (pointers && pointers == words && b.bytes % 8 == 0) {
      f << "{\"pointers\": [";
      for (size_t i = 0; i < words; ++i) {
        uint64_t w;
        std::memcpy(&w, b.host.data() + 8 * i, 8);
        f << (i ? ", " : "") << "{" << pointer_json(w) << "}";
      }
      f << "]}";
      continue;
    }
    if (pointers) rec::fail("buffer " + b.name + " mixes addresses and data");
    bool same = true;
    for (uint8_t c : b.host) same = same && c == b.host[0];
    f << "{\"dtype\": \"u8\", \"shape\": [" << b.bytes << "], ";
    if (same) {
      f << "\"fill\": " << unsigned(b.host[0]);
    } else {
      f << "\"file\": \"" << b.name << ".bin\"";
      std::ofstream d(s.dir / (b.name + ".bin"), std::ios::binary);
      d.write(reinterpret_cast<char const*>(b.host.data()), long(b.host.size()));
    }
    f << ", \"device\": 0}";
  }
  f << "\n  },\n  \"launches\": [\n";
  for (size_t i = 0; i < s.launches.size(); ++i) f << (i ? ",\n" : "") << s.launches[i];
  f << "\n  ] }\n";
  if (!f) rec::fail("cannot write launch.json");
}

}  // namespace

namespace rec {

void fail(std::string const& what) {
  std::fprintf(stderr, "error: %s\n", what.c_str());
  std::exit(1);
}

void* input(std::string const& name, std::string const& dtype, std::vector<size_t> shape) {
  Buffer b;
  b.name = name, b.dtype = dtype, b.shape = shape, b.input = true;
  b.bytes = dtype_size(dtype);
  for (size_t n : shape) b.bytes *= n;
  return add(b);
}

void* output(std::string const& name, std::string const& dtype, std::vector<size_t> shape,
             double fill, size_t guard) {
  Buffer b;
  size_t n = 1;
  for (size_t d : shape) n *= d;
  b.name = name, b.dtype = dtype, b.shape = {n + guard}, b.output = true, b.fill = fill;
  b.bytes = dtype_size(dtype) * (n + guard);
  return add(b);
}

void* scratch(std::string const& name, size_t bytes) {
  Buffer b;
  b.name = name, b.dtype = "u8", b.bytes = bytes, b.shape = {bytes};
  b.host.assign(bytes, 0xcd);
  return add(b);
}

void copy_in(void* to, void const* from, size_t bytes) {
  if (bytes == 0) return;
  size_t index;
  uint64_t offset;
  if (!resolve(reinterpret_cast<uint64_t>(to), index, offset)) fail("copy to no buffer");
  Buffer& b = state().buffers[index];
  if (offset + bytes > b.bytes) fail("copy past the end of " + b.name);
  if (!state().launches.empty()) fail("copy to " + b.name + " after a launch");
  if (b.output && b.fill == 0) {
    // The library clears some outputs itself; they start as zeros anyway.
    for (size_t i = 0; i < bytes; ++i)
      if (static_cast<char const*>(from)[i]) fail("copy to " + b.name + ", which is an output");
    return;
  }
  if (b.input || b.output || b.poison) fail("copy to " + b.name + ", which is not scratch");
  std::memcpy(b.host.data() + offset, from, bytes);
}

void expect_args(std::vector<size_t> sizes) {
  state().expected = std::move(sizes);
  state().expect = true;
}

long arg(char const* key, long otherwise) {
  auto i = state().args.find(key);
  return i == state().args.end() ? otherwise : std::stol(i->second);
}

double argf(char const* key, double otherwise) {
  auto i = state().args.find(key);
  return i == state().args.end() ? otherwise : std::stod(i->second);
}

int sm_count() { return int(arg("sms", 132)); }

}  // namespace rec

int main(int argc, char** argv) {
  if (argc < 3) rec::fail("usage: PROGRAM OUTDIR MODULE.ptx [key=value ...]");
  auto& s = state();
  s.dir = argv[1], s.module = argv[2];
  for (int i = 3; i < argc; ++i) {
    std::string w = argv[i];
    auto eq = w.find('=');
    if (eq == std::string::npos) rec::fail("not key=value: " + w);
    s.args[w.substr(0, eq)] = w.substr(eq + 1);
  }
  std::filesystem::create_directories(s.dir);
  read_entries();
  record();
  if (s.launches.empty()) rec::fail("nothing was launched");
  write_json();
}

// --- The runtime -----------------------------------------------------------

extern "C" {

void** __cudaRegisterFatBinary(void*) {
  static void* handle;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterVar(void**, char*, char*, char const*, int, size_t, int, int) {}
void __cudaRegisterFunction(void**, char const* host, char*, char const* name, int, uint3*, uint3*,
                            dim3*, dim3*, int*) {
  state().kernels[host] = name;
}
char __cudaInitModule(void**) { return 0; }

struct Configuration {
  dim3 grid, block;
  size_t smem;
  cudaStream_t stream;
};
static std::vector<Configuration> configurations;

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t smem, cudaStream_t stream) {
  configurations.push_back({grid, block, smem, stream});
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* smem, void* stream) {
  auto c = configurations.back();
  configurations.pop_back();
  *grid = c.grid, *block = c.block, *smem = c.smem;
  *static_cast<cudaStream_t*>(stream) = c.stream;
  return cudaSuccess;
}

cudaError_t cudaLaunchKernel(void const* f, dim3 grid, dim3 block, void** args, size_t smem,
                             cudaStream_t) {
  launch(f, grid, block, dim3(1, 1, 1), smem, args);
  return cudaSuccess;
}
cudaError_t cudaLaunchKernelExC(cudaLaunchConfig_t const* c, void const* f, void** args) {
  dim3 cluster(1, 1, 1);
  for (unsigned i = 0; i < c->numAttrs; ++i) {
    auto const& a = c->attrs[i];
    if (a.id == cudaLaunchAttributeClusterDimension)
      cluster = dim3(a.val.clusterDim.x, a.val.clusterDim.y, a.val.clusterDim.z);
  }
  launch(f, c->gridDim, c->blockDim, cluster, c->dynamicSmemBytes, args);
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* out, void const* f) {
  *out = reinterpret_cast<cudaKernel_t>(const_cast<void*>(f));
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t k, dim3 grid, dim3 block, void** args, size_t smem,
                               cudaStream_t s) {
  return cudaLaunchKernel(reinterpret_cast<void const*>(k), grid, block, args, smem, s);
}

cudaError_t cudaMalloc(void** out, size_t bytes) {
  *out = rec::scratch("malloc" + std::to_string(state().buffers.size()), bytes);
  return cudaSuccess;
}
cudaError_t cudaFree(void*) { return cudaSuccess; }
cudaError_t cudaMemcpy(void* to, void const* from, size_t n, cudaMemcpyKind kind) {
  if (kind != cudaMemcpyHostToDevice) rec::fail("cudaMemcpy of another kind than to the device");
  rec::copy_in(to, from, n);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, void const* from, size_t n, cudaMemcpyKind kind, cudaStream_t) {
  return cudaMemcpy(to, from, n, kind);
}
cudaError_t cudaMemset(void* to, int value, size_t n) {
  std::vector<uint8_t> v(n, uint8_t(value));
  rec::copy_in(to, v.data(), n);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t n, cudaStream_t) {
  return cudaMemset(to, value, n);
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
char const* cudaGetErrorString(cudaError_t) { return "no error"; }
char const* cudaGetErrorName(cudaError_t) { return "cudaSuccess"; }
cudaError_t cudaGetDevice(int* d) {
  *d = 0;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* n) {
  *n = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int* v, cudaDeviceAttr a, int) {
  switch (a) {
    case cudaDevAttrMultiProcessorCount: *v = rec::sm_count(); break;
    case cudaDevAttrComputeCapabilityMajor: *v = 9; break;
    case cudaDevAttrComputeCapabilityMinor: *v = 0; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *v = 232448; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *v = 233472; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *v = 49152; break;
    case cudaDevAttrMaxGridDimX: *v = 2147483647; break;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ: *v = 65535; break;
    default: rec::fail("device attribute " + std::to_string(int(a)) + " asked for");
  }
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(void const*, cudaFuncAttribute, int) { return cudaSuccess; }
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* a, void const*) {
  std::memset(a, 0, sizeof *a);
  a->maxThreadsPerBlock = 1024;
  a->numRegs = 168;
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* n, void const*, int, size_t) {
  *n = 1;
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* n, void const*, int, size_t,
                                                                   unsigned) {
  *n = 1;
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveClusters(int* n, void const*, cudaLaunchConfig_t const* c) {
  unsigned size = 1;
  for (unsigned i = 0; i < c->numAttrs; ++i)
    if (c->attrs[i].id == cudaLaunchAttributeClusterDimension)
      size = c->attrs[i].val.clusterDim.x * c->attrs[i].val.clusterDim.y *
             c->attrs[i].val.clusterDim.z;
  *n = rec::sm_count() / int(size);
  return cudaSuccess;
}
#undef cuMemsetD32Async
#undef cuMemsetD16Async
CUresult CUDAAPI cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t n, CUstream s) {
  return memset_d32_async(to, value, n, s);
}
CUresult CUDAAPI cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t n, CUstream s) {
  return memset_d16_async(to, value, n, s);
}
CUresult CUDAAPI cuGetErrorString(CUresult, char const** text) {
  *text = "no error";
  return CUDA_SUCCESS;
}
cudaError_t cudaDriverGetVersion(int* v) {
  *v = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDriverEntryPointByVersion(char const* name, void** out, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* r) {
  *out = driver_entry(name);
  *r = *out ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
cudaError_t cudaGetDriverEntryPoint(char const* name, void** out, unsigned long long f,
                                    cudaDriverEntryPointQueryResult* r) {
  return cudaGetDriverEntryPointByVersion(name, out, 13000, f, r);
}

}  // extern "C"
