// Control flow and the ABI: switches, recursion, calls, function pointers, virtual functions, structs by value,
// constant and initialised global memory, local arrays, alloca.
#include <cstdint>
#include <cstdio>
#include <cassert>

extern "C" __global__ void dense_switch(const int *a, int *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int x = a[i], r;
    switch (x) {
        case 0: r = x + n; break;
        case 1: r = x * 17; break;
        case 2: r = x ^ 0x55; o[n + i] = 2; break;
        case 3: r = x << 7; break;
        case 4: r = n - x; o[n + i] = 4; break;
        case 5: r = x * x * n; break;
        case 6: r = -x; break;
        case 7: r = i / 3;   // falls through
        case 8: r = (x == 7 ? r : 0) + i; break;
        case 9: r = n % (x + 1); break;
        case 10: for (r = 0; r * r < n; r++) {} break;
        case 11: r = __popc(i * 77); break;
        default: r = -1000 - x;
    }
    o[i] = r;
}

// what a compiler makes of it differs; this is the indexed branch itself
extern "C" __global__ void brx_idx(const int *a, int *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int r;
    asm volatile("{\n .reg .u32 ix; and.b32 ix, %1, 3;\n ts: .branchtargets L0, L1, L2, L0b;\n brx.idx ix, ts;\n"
        " L0: add.s32 %0, %1, 100; bra DONE;\n L1: mul.lo.s32 %0, %1, 3; bra.uni DONE;\n L2: neg.s32 %0, %1; bra L0b;\n L0b: xor.b32 %0, %1, 0xff00;\n DONE:\n }" : "=r"(r) : "r"(a[i]));
    o[i] = r;
}

// divergent loops with break and continue
extern "C" __global__ void collatz(const unsigned *a, int *o, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        unsigned long long v = a[i];
        int steps = 0;
        while (v > 1) {
            if (steps > 400) { steps = -1; break; }
            steps++;
            if ((v & 1) == 0) { v >>= 1; continue; }
            v = v * 3 + 1;
        }
        o[i] = steps;
    }
}

__device__ __noinline__ int ackermann(int m, int n) {
    if (m == 0) return n + 1;
    if (n == 0) return ackermann(m - 1, 1);
    return ackermann(m - 1, ackermann(m, n - 1));
}
__device__ __noinline__ unsigned fib(unsigned n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
extern "C" __global__ void recursion(int *o) {
    int t = threadIdx.x;
    o[t] = fib(t % 16) * 1000 + ackermann(t % 3, t % 5);
}

typedef int (*fn_t)(int, int);
__device__ __noinline__ int f_add(int a, int b) { return a + b; }
__device__ __noinline__ int f_sub(int a, int b) { return a - b; }
__device__ __noinline__ int f_mul(int a, int b) { return a * b; }
__device__ __noinline__ int f_xor(int a, int b) { return a ^ b; }
__device__ fn_t table[4] = {f_add, f_sub, f_mul, f_xor};
extern "C" __global__ void fn_pointers(const int *sel, int *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    fn_t f = table[sel[i] & 3];                // divergent indirect call
    fn_t g = table[(sel[0] + 1) & 3];          // uniform indirect call
    o[i] = f(i * 3, 100 - i) + g(i, 7) * 1000;
}

struct Shape { __device__ virtual float area() const = 0; __device__ virtual int id() const { return -1; } float w; __device__ Shape(float w) : w(w) {} };
struct Square : Shape { __device__ Square(float w) : Shape(w) {} __device__ float area() const override { return w * w; } __device__ int id() const override { return 4; } };
struct Tri : Shape { float h; __device__ Tri(float w, float h) : Shape(w), h(h) {} __device__ float area() const override { return 0.5f * w * h; } };
extern "C" __global__ void virtuals(const float *w, float *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    Square s(w[i]); Tri t(w[i], 4.0f);
    Shape *p = (__float_as_int(w[i]) >> 20) & 1 ? (Shape *)&s : (Shape *)&t;
    o[i] = p->area(); o[n + i] = (float)p->id();
}

struct Small { int a; short b; char c; };
struct Big { double d; int v[6]; Small s; float4 f; };
__device__ __noinline__ Big transform(Big b, int k, Small s) {
    Big r = b;
    r.d = b.d * 2 + k;
    for (int i = 0; i < 6; i++) r.v[i] = b.v[5 - i] + s.a;
    r.s.a = s.a - 1; r.s.b = s.b + b.s.b; r.s.c = s.c ^ b.s.c;
    r.f = make_float4(b.f.w, b.f.z, b.f.y, b.f.x);
    return r;
}
__device__ __noinline__ float4 scale4(float4 v, float s) { return make_float4(v.x * s, v.y * s, v.z * s, v.w * s); }
__device__ __noinline__ unsigned char byte_fn(unsigned char a, bool b, short c) { return b ? a + (c & 3) : a - (c & 7); }
// the parameter is 8 + 24 + 8 + (8) + 16 = 64 bytes, alignment 16
extern "C" __global__ void structs(Big in, double *od, int *oi, float *of) {
    int t = threadIdx.x;
    Small s = {t, (short)(t * 3), (char)(t + 1)};
    Big r = transform(in, t, s);
    r = transform(r, 1, r.s);
    float4 f = scale4(r.f, 2.0f);
    od[t] = r.d;
    for (int i = 0; i < 6; i++) oi[t * 10 + i] = r.v[i];
    oi[t * 10 + 6] = r.s.a; oi[t * 10 + 7] = r.s.b; oi[t * 10 + 8] = r.s.c; oi[t * 10 + 9] = byte_fn((unsigned char)(t * 5), t & 1, (short)t);
    of[t * 4] = f.x; of[t * 4 + 1] = f.y; of[t * 4 + 2] = f.z; of[t * 4 + 3] = f.w;
}

__constant__ int c_tab[37] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4, 3, 3, 8, 3, 2, 7, 9, 5, 0, 2, 8, 8, 4};
__constant__ double c_d[3] = {0.5, -1.25, 3.0};
struct Node { int value; const Node *next; const char *name; };
__device__ int g_arr[8] = {10, 20, 30, 40};           // the rest zero
__device__ int *g_ptr = &g_arr[2];
extern __device__ const Node n1, n2;
__device__ const Node n0 = {5, &n1, "zero"};
__device__ const Node n1 = {6, &n2, "one"};
__device__ const Node n2 = {7, nullptr, "two!"};
__device__ short g_short[5] = {-1, 2, -3, 4, -5};
__device__ float g_f = 1.5f;
__device__ unsigned char g_bytes[] = "bytes\n\t\"\\end";
__device__ int g_counter;
extern "C" __global__ void globals(int *o, double *od) {
    int t = threadIdx.x;
    const Node *p = &n0;
    for (int k = 0; k < t % 3; k++) p = p->next;
    const char *s = p->name;
    int len = 0;
    while (s[len]) len++;
    int *q = o + t * 8;
    q[0] = c_tab[t % 37]; q[1] = p->value * 100 + s[len - 1]; q[2] = g_ptr[t & 1] + g_arr[4 + (t & 3)]; q[3] = g_short[t % 5];
    q[4] = g_bytes[t % sizeof(g_bytes)]; q[5] = len; q[6] = (int)(g_f * 2) + (int)sizeof(g_bytes);
    int old = atomicAdd(&g_counter, 1);
    q[7] = old >= 0 && old < (int)blockDim.x;
    od[t] = c_d[t % 3] * c_tab[(t * t) % 37];
}
// a second kernel sees what the first left in module memory
extern "C" __global__ void globals_after(int *o) { o[threadIdx.x] = g_counter + threadIdx.x; }

extern "C" __global__ void local_array(const int *idx, int *o, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int buf[24]; short sh[10]; long long w[4];
    for (int k = 0; k < 24; k++) buf[k] = k * k + i;
    for (int k = 0; k < 10; k++) sh[k] = (short)(k * -7);
    for (int k = 0; k < 4; k++) w[k] = (1LL << (k * 12 + 3)) + i;
    int j = idx[i];
    buf[(j * 5) % 24] += 1000; sh[(j * 3) % 10] ^= 0x55; w[j & 3] *= 3;
    int s = 0;
    for (int k = 0; k < 4; k++) { int m = (j + k * 7) % 24; s = s * 3 + buf[m] + sh[m % 10] + (int)(w[m & 3] >> 9); }
    o[i] = s;
}
extern "C" __global__ void alloca_rev(const int *a, int *o, int n) {
    int m = 4 + threadIdx.x % 5;
    int *p = (int *)__builtin_alloca(m * sizeof(int));
    for (int k = 0; k < m; k++) p[k] = a[(threadIdx.x + k) % n];
    int s = 0;
    for (int k = 0; k < m; k++) s = s * 7 + p[m - 1 - k];
    o[threadIdx.x] = s;
}

extern "C" __global__ void print_it(const int *a) {
    int t = threadIdx.x;
    if (t == 0) {
        printf("plain\n");
        printf("%d %i %u %x %X %o %c %s %%|\n", -5, 7, 3000000000u, 0xbeef, 0xBEEF, 8, 'q', "str");
        printf("%5d|%-5d|%05d|%+d|% d|%#x|%.3d\n", 42, 42, 42, 42, 42, 42, 7);
        printf("%f %.2f %e %g %10.3f|%-10.1f|%+.0f\n", 3.25, 2.0 / 3, 12345.678, 0.0001, -1.5, 9.75, 2.0);
        printf("%lld %llu %llx %ld\n", -1234567890123LL, 12345678901234567890ULL, 0x123456789abcdefULL, 77L);
        printf("%*d|%.3f|%10s|%-6s|%.2s\n", 6, 12, 1.0 / 3, "right", "left", "cut");
        printf("%hd %lu %a\n", (short)-3, 4000000000UL, 1.0);
        int r = printf("no args returns %d\n", 1);
        printf("ret %d\n", r);
    }
    __syncthreads();
    for (int k = 0; k < 3; k++) {
        __syncthreads();
        if (t == 31 - k) printf("thread %d a=%d\n", t, a[t]);
    }
    assert(a[t] > -1000 && "input in range");
    if (a[t] == 123456) asm volatile("trap;");
    if (a[t] == 123457) __brkpt();
    if (a[t] == 123458) asm volatile("exit;");
}
