// A program in C++ that is linked with libcuda.so.1: loads PTX from the file in its first argument, runs it, sees a fault.
#include "cuda.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

static void check(CUresult result, const char *what) {
    if (result != CUDA_SUCCESS) {
        const char *text = "?";
        cuGetErrorString(result, &text);
        std::fprintf(stderr, "%s: %d %s\n", what, result, text);
        std::exit(1);
    }
}

int main(int, char **arguments) {
    check(cuInit(0), "cuInit");
    CUdevice device;
    check(cuDeviceGet(&device, 0), "cuDeviceGet");
    char name[100];
    check(cuDeviceGetName(name, sizeof name, device), "cuDeviceGetName");
    std::printf("device: %s\n", name);
    CUcontext context;
    check(cuCtxCreate_v2(&context, 0, device), "cuCtxCreate");

    std::stringstream text;
    text << std::ifstream(arguments[1]).rdbuf();
    CUmodule module;
    check(cuModuleLoadData(&module, text.str().c_str()), "cuModuleLoadData");
    CUfunction scale;
    check(cuModuleGetFunction(&scale, module, "scale"), "cuModuleGetFunction");

    unsigned n = 1000;
    float factor = 2.5f;
    std::vector<float> input(n), output(n);
    for (unsigned i = 0; i < n; i++) input[i] = float(i);
    CUdeviceptr in, out;
    check(cuMemAlloc_v2(&in, n * sizeof(float)), "cuMemAlloc");
    check(cuMemAlloc_v2(&out, n * sizeof(float)), "cuMemAlloc");
    check(cuMemcpyHtoD_v2(in, input.data(), n * sizeof(float)), "cuMemcpyHtoD");
    void *parameters[] = {&out, &in, &factor, &n};
    check(cuLaunchKernel(scale, (n + 127) / 128, 1, 1, 128, 1, 1, 0, nullptr, parameters, nullptr), "cuLaunchKernel");
    check(cuCtxSynchronize(), "cuCtxSynchronize");
    check(cuMemcpyDtoH_v2(output.data(), out, n * sizeof(float)), "cuMemcpyDtoH");
    for (unsigned i = 0; i < n; i++) {
        if (output[i] != 2.5f * float(i)) {
            std::fprintf(stderr, "%u: %f\n", i, output[i]);
            return 1;
        }
    }
    std::puts("result: right");

    // One element more than there is.
    check(cuMemFree_v2(out), "cuMemFree");
    check(cuMemAlloc_v2(&out, (n - 1) * sizeof(float)), "cuMemAlloc");
    check(cuLaunchKernel(scale, 8, 1, 1, 128, 1, 1, 0, nullptr, parameters, nullptr), "cuLaunchKernel");
    CUresult fault = cuCtxSynchronize();
    const char *words;
    check(cuGetErrorString(fault, &words), "cuGetErrorString");
    std::printf("fault: %d %s\n", fault, words);
    return fault == CUDA_ERROR_ILLEGAL_ADDRESS ? 0 : 1;
}
