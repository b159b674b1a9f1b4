// Block-scale exponents: only newer architectures convert them.
extern "C" __global__ void ue8m0(const float *a, unsigned short *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned short r;
    asm("cvt.rp.satfinite.ue8m0x2.f32 %0,%1,%2;" : "=h"(r) : "f"(a[i]), "f"(a[n - 1 - i])); o[i] = r;
    asm("cvt.rz.satfinite.ue8m0x2.f32 %0,%1,%2;" : "=h"(r) : "f"(a[i]), "f"(a[n - 1 - i])); o[n + i] = r;
}
extern "C" __global__ void ue8m0_decode(const unsigned short *a, unsigned *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned r;
    asm("cvt.rn.bf16x2.ue8m0x2 %0,%1;" : "=r"(r) : "h"(a[i])); o[i] = r;
}
