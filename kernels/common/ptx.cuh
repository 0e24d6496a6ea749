// One inline function per PTX instruction. No other file than those below holds asm.
//
// Shared-memory addresses are 32-bit addresses of the shared state space (see `shared_address`). Functions that touch
// memory clobber "memory": the compiler then keeps them in order with barriers and with each other.
#pragma once

#include "common/ptx/arithmetic.cuh"
#include "common/ptx/async_copy.cuh"
#include "common/ptx/global_memory.cuh"
#include "common/ptx/integer.cuh"
#include "common/ptx/order.cuh"
#include "common/ptx/register.cuh"
#include "common/ptx/shared_memory.cuh"
#include "common/ptx/tensor_core.cuh"
