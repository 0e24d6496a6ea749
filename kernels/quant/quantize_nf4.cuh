// The code of NF4 nearest to a number: what a weight over its block's largest magnitude becomes.
#pragma once

namespace llm_kernels {

// Halfway between neighbours of NF4's values.
__device__ __forceinline__ int nf4_code(float x) {
  constexpr float kValues[16] = {-1.0f,         -0.6961928f,   -0.52507305f, -0.3949175f, -0.28444138f, -0.18477343f,
                                 -0.091050036f, 0.0f,          0.0795803f,   0.1609302f,  0.2461123f,   0.33791524f,
                                 0.44070983f,   0.562617f,     0.72295684f,  1.0f};
  int code = 0;
#pragma unroll
  for (int i = 0; i < 15; ++i) code += x > (kValues[i] + kValues[i + 1]) * 0.5f;
  return code;
}

}  // namespace llm_kernels
