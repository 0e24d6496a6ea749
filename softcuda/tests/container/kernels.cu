// Two kernels whose resources differ, for the tests of the readers of fatbins and cubins.
extern "C" __global__ void plain(float* x, int n) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) x[i] = x[i] * 2.0f + 1.0f; }
__constant__ float coefficients[16];
extern "C" __global__ void __launch_bounds__(128) heavy(const float* a, float* out, int n) {
  __shared__ float tile[16][17];
  float local[10];
  float acc[16];
  int lane = threadIdx.x & 15;
  #pragma unroll
  for (int i = 0; i < 16; ++i) acc[i] = a[i * n + lane];
  #pragma unroll 1
  for (int k = 0; k < n; ++k) {
    tile[lane][k & 15] = a[k];
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < 16; ++i) acc[i] += tile[i][lane] * coefficients[(i + k) & 15];
    asm volatile("bar.sync 3, 128;");
    local[(k * lane) % 10] = acc[0];
  }
  float sum = local[lane % 10];
  #pragma unroll
  for (int i = 0; i < 16; ++i) sum += acc[i];
  out[threadIdx.x] = sum;
}
