"""A program in Python that opens libcuda.so.1 with ctypes: loads PTX from the file in its first argument, runs it, sees a fault."""

import ctypes
import sys

cuda = ctypes.CDLL("libcuda.so.1")
for name in ("cuMemAlloc_v2", "cuMemcpyHtoD_v2", "cuMemcpyDtoH_v2"):
    getattr(cuda, name).restype = ctypes.c_int


def check(result):
    if result:
        sys.exit(f"{result}: {words(result)}")


def words(result):
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(result, ctypes.byref(text))
    return text.value.decode()


check(cuda.cuInit(0))
device = ctypes.c_int()
check(cuda.cuDeviceGet(ctypes.byref(device), 0))
name = ctypes.create_string_buffer(100)
check(cuda.cuDeviceGetName(name, len(name), device))
print("device:", name.value.decode())
context = ctypes.c_void_p()
check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
check(cuda.cuCtxSetCurrent(context))

module, scale = ctypes.c_void_p(), ctypes.c_void_p()
with open(sys.argv[1], "rb") as file:
    check(cuda.cuModuleLoadData(ctypes.byref(module), file.read()))
check(cuda.cuModuleGetFunction(ctypes.byref(scale), module, b"scale"))

n = 1000
values = (ctypes.c_float * n)(*range(n))


def allocate(count):
    pointer = ctypes.c_uint64()
    check(cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(4 * count)))
    return pointer


def launch(out):
    parameters = [out, source, ctypes.c_float(2.5), ctypes.c_uint32(n)]
    addresses = (ctypes.c_void_p * 4)(*(ctypes.addressof(parameter) for parameter in parameters))
    check(cuda.cuLaunchKernel(scale, 8, 1, 1, 128, 1, 1, 0, None, addresses, None))
    return cuda.cuCtxSynchronize()


source, out = allocate(n), allocate(n)
check(cuda.cuMemcpyHtoD_v2(source, values, ctypes.c_size_t(4 * n)))
check(launch(out))
result = (ctypes.c_float * n)()
check(cuda.cuMemcpyDtoH_v2(result, out, ctypes.c_size_t(4 * n)))
assert list(result) == [2.5 * i for i in range(n)]
print("result: right")

# One element more than there is.
fault = launch(allocate(n - 1))
print("fault:", fault, words(fault))
sys.exit(fault != 700)
