// Three phases with barriers of the whole grid between them. cooperative.ptx is what nvcc 13.0 makes of it:
// nvcc -arch=compute_80 -ptx cooperative.cu
#include <cooperative_groups.h>

extern "C" __global__ void phases(unsigned* data, unsigned* out) {
    cooperative_groups::grid_group grid = cooperative_groups::this_grid();
    unsigned i = grid.thread_rank();
    unsigned n = grid.size();
    data[i] = i + 1;
    grid.sync();
    unsigned other = data[n - 1 - i];
    grid.sync();
    data[i] = other;
    grid.sync();
    out[i] = data[(i + 7) % n];
}
