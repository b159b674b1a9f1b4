"""Runs kernels written for Numba, and checks them against numpy.

    python sim/driver/clients/numba_ptx.py

Numba compiles Python to PTX with NVVM and then has it assembled, which nothing here could run. One method is therefore
replaced, so that the PTX itself reaches the driver; all else is Numba's own way to a GPU. CONTRIBUTING.md has the commands
that put the simulator in the driver's place.
"""

import math

import numpy as np
from cuda.core import ObjectCode
from numba import cuda, float32
from numba.cuda.codegen import CUDACodeLibrary

TILE = 16


def hand_over_ptx(self, cc=None):
    """The PTX of a kernel in place of its machine code."""
    (text,) = self.get_asm_strs(cc=cc)
    return ObjectCode.from_ptx(text.encode(), name=self.name)


CUDACodeLibrary.get_cubin = hand_over_ptx


@cuda.jit
def product(a, b, c):
    """c = a b, by tiles in shared memory."""
    rows = cuda.shared.array((TILE, TILE), float32)
    columns = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.grid(2)
    i, j = cuda.threadIdx.x, cuda.threadIdx.y
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        rows[i, j] = a[x, start + j] if x < a.shape[0] and start + j < a.shape[1] else 0
        columns[i, j] = b[start + i, y] if y < b.shape[1] and start + i < b.shape[0] else 0
        cuda.syncthreads()
        for k in range(TILE):
            total += rows[i, k] * columns[k, j]
        cuda.syncthreads()
    if x < c.shape[0] and y < c.shape[1]:
        c[x, y] = total


@cuda.jit
def histogram(values, counts):
    """How often each value is there, by atomics."""
    i = cuda.grid(1)
    if i < values.size:
        cuda.atomic.add(counts, values[i], 1)


@cuda.jit
def logistic(x, y):
    """1 / (1 + e^-x) in f64, which libdevice computes."""
    i = cuda.grid(1)
    if i < x.size:
        y[i] = 1 / (1 + math.exp(-x[i]))


def main():
    """Runs all three; an error ends the program."""
    random = np.random.default_rng(1)
    a, b = random.standard_normal((37, 50), np.float32), random.standard_normal((50, 41), np.float32)
    c = np.zeros((37, 41), np.float32)
    product[(3, 3), (TILE, TILE)](a, b, c)
    exact, bound = a.astype(float) @ b.astype(float), np.abs(a).astype(float) @ np.abs(b).astype(float)
    assert (np.abs(c - exact) <= 50 * 2.0**-24 * bound).all()

    values, counts = random.integers(0, 10, 1000), np.zeros(10, np.int64)
    histogram[8, 128](values, counts)
    assert (counts == np.bincount(values, minlength=10)).all()

    x = random.standard_normal(300)
    stream, start, end = cuda.stream(), cuda.event(), cuda.event()
    x_device, y_device = cuda.to_device(x, stream), cuda.device_array(300, stream=stream)
    start.record(stream)
    logistic[3, 128, stream](x_device, y_device)
    end.record(stream)
    end.synchronize()
    exact = 1 / (1 + np.exp(-x))
    assert (np.abs(y_device.copy_to_host(stream=stream) - exact) <= 4 * 2.0**-53 * exact).all()
    assert cuda.event_elapsed_time(start, end) > 0
    print(f"{cuda.get_current_device().name}: product, histogram and logistic are right")


if __name__ == "__main__":
    main()
