"""Runs three kernels that `rorqual emit` wrote, through NVIDIA's `cuda-core`, and checks them against numpy.

    python sim/driver/clients/cuda_core.py KERNELS

KERNELS is the folder that `rorqual emit --target sm_80 --out KERNELS` filled. `cuda-core` opens `libcuda.so.1`: on a machine
with a GPU that is the driver, and without one the simulator is put in its place by LD_LIBRARY_PATH (CONTRIBUTING.md has the
commands). Nothing here knows which of them it is.

Each kernel gets what its JSON says a launch needs: grid, threads, shared memory and the order of arguments. It is
launched in a stream between two events, and then from a graph that was captured; the second result must be the same bytes.
"""

import json
import sys
from pathlib import Path

import numpy as np
from cuda.core import Device, EventOptions, LaunchConfig, LegacyPinnedMemoryResource, ObjectCode, launch


def to_bf16(values):
    """Nearest bf16 of f32 values, ties to even, as 16-bit patterns."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    """The f32 values of bf16 patterns."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Kernel:
    """A kernel as `rorqual emit` wrote it, loaded on the current device."""

    def __init__(self, folder, name):
        self.contract = json.loads((folder / f"{name}.json").read_text())["contract"]
        code = ObjectCode.from_ptx((folder / f"{name}.ptx").read_bytes(), name=name)
        self.kernel = code.get_kernel(self.contract["kernel"])

    def extent(self, expression, arguments):
        """An extent of the grid, which is an expression over the arguments."""
        ((operation, operand),) = expression.items()
        if operation == "constant":
            return operand
        if operation == "argument":
            return int(arguments[operand])
        if operation == "ceil_divide":
            value, divisor = operand
            return -(-self.extent(value, arguments) // divisor)
        raise ValueError(f"a grid by {operation}")

    def prepare(self, arguments):
        """Launch configuration, and the arguments in the order of the kernel's parameters; what is not used is null."""
        grid = [self.extent(expression, arguments) for expression in self.contract["grid"]]
        configuration = LaunchConfig(
            grid=tuple(grid), block=self.contract["threads"], shmem_size=self.contract["shared_bytes"]
        )
        scalars = {"u32": np.uint32, "u64": np.uint64, "f32": np.float32}
        ordered = []
        for parameter in self.contract["parameters"]:
            value = arguments.get(parameter["name"], 0)
            kind = parameter["kind"]
            ordered.append(scalars[kind](value) if isinstance(kind, str) else value)
        return configuration, ordered


class Session:
    """A device with a stream, and memory on both sides of the copies."""

    def __init__(self):
        self.device = Device(0)
        self.device.set_current()
        self.stream = self.device.create_stream()
        self.pinned = LegacyPinnedMemoryResource()

    def upload(self, array):
        """A copy of an array on the device, by way of pinned memory."""
        host = self.pinned.allocate(array.nbytes)
        np.from_dlpack(host).view(np.uint8)[:] = np.ascontiguousarray(array).view(np.uint8).ravel()
        buffer = self.device.allocate(array.nbytes, stream=self.stream)
        buffer.copy_from(host, stream=self.stream)
        self.stream.sync()
        return buffer

    def download(self, buffer, dtype):
        """What a buffer on the device holds."""
        host = self.pinned.allocate(buffer.size)
        buffer.copy_to(host, stream=self.stream)
        self.stream.sync()
        return np.from_dlpack(host).view(np.uint8).copy().view(dtype)

    def run(self, kernel, arguments, out):
        """Result of a launch in the stream, which a graph must repeat; and the milliseconds of the launch."""
        configuration, ordered = kernel.prepare(arguments)
        start, end = (self.device.create_event(EventOptions(timing_enabled=True)) for _ in range(2))
        self.stream.record(start)
        launch(self.stream, configuration, kernel.kernel, *ordered)
        self.stream.record(end)
        end.sync()
        first = self.download(out, np.uint8)

        out.copy_from(self.upload(np.zeros(out.size, np.uint8)), stream=self.stream)
        builder = self.device.create_graph_builder().begin_building()
        launch(builder, configuration, kernel.kernel, *ordered)
        graph = builder.end_building().complete()
        graph.launch(self.stream)
        if not np.array_equal(first, self.download(out, np.uint8)):
            raise AssertionError("a graph of the launch gives another result")
        return first, end - start


def rms_norm(session, folder, random):
    """y = x / sqrt(mean(x^2) + epsilon) * weight, rounded to bf16."""
    tokens, hidden, epsilon = 37, 128, 1e-6
    x = to_bf16(random.standard_normal((tokens, hidden)))
    weight = random.uniform(0.5, 1.5, hidden).astype(np.float32)
    y = session.upload(np.zeros((tokens, hidden), np.uint16))
    arguments = {"x": session.upload(x), "weight": session.upload(weight), "y": y}
    arguments |= {"tokens": tokens, "epsilon": epsilon}
    got, time = session.run(Kernel(folder, "rms_norm_h128_bf16_sm80"), arguments, y)
    exact = from_bf16(x).astype(np.float64)
    exact = exact / np.sqrt((exact**2).mean(1, keepdims=True) + epsilon) * weight
    # Half a unit of a significand of 8 bits, and the few f32 roundings before.
    check(from_bf16(got.view(np.uint16)).reshape(exact.shape), exact, np.abs(exact) * (2**-8 + 2**-20))
    return time


def gemm(session, folder, random):
    """d = a b^T of bf16 values, summed and stored in f32."""
    rows, n, k = 70, 64, 128
    a, b = (to_bf16(random.standard_normal(shape)) for shape in ((rows, k), (n, k)))
    d = session.upload(np.zeros((rows, n), np.float32))
    error = session.upload(np.zeros(1, np.uint32))
    arguments = {"a": session.upload(a), "b": session.upload(b), "d_f32": d, "error": error, "rows": rows}
    got, time = session.run(Kernel(folder, "gemm_bf16_n64_k128_f32_sm80"), arguments, d)
    a, b = (from_bf16(values).astype(np.float64) for values in (a, b))
    # Products of bf16 are exact in f32; k sums, each within half a unit of a partial sum. Tensor cores truncate: a unit.
    check(got.view(np.float32).reshape(rows, n), a @ b.T, k * 2**-23 * (np.abs(a) @ np.abs(b).T))
    check(session.download(error, np.uint32), np.zeros(1), np.zeros(1))
    return time


def argmax(session, folder, random):
    """The index of each row's largest value, the lowest where several are."""
    tokens, vocabulary = 53, 64
    logits = random.integers(-8, 8, (tokens, vocabulary)).astype(np.float32)
    out = session.upload(np.zeros(tokens, np.uint32))
    error = session.upload(np.zeros(1, np.uint32))
    arguments = {"logits": session.upload(logits), "out": out, "error": error, "tokens": tokens}
    got, time = session.run(Kernel(folder, "argmax_v64_sm80"), arguments, out)
    check(got.view(np.uint32), logits.argmax(1), np.zeros(tokens))
    check(session.download(error, np.uint32), np.zeros(1), np.zeros(1))
    return time


def check(got, expected, tolerance):
    """That every value is within its tolerance; NaN never is."""
    error = np.abs(got.astype(np.float64) - expected)
    wrong = ~(error <= tolerance)
    if wrong.any():
        where = tuple(np.argwhere(wrong)[0])
        raise AssertionError(f"{wrong.sum()} wrong, the first at {where}: {got[where]}, expected {expected[where]}")


def main():
    """Runs all three; an error ends the program."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    session = Session()
    print(f"device: {session.device.name}")
    for case in (rms_norm, gemm, argmax):
        time = case(session, Path(sys.argv[1]), np.random.default_rng(5))
        print(f"{case.__name__}: right, {time:.4f} ms between events")


if __name__ == "__main__":
    main()
