// Every face of every session in two launches, grid.z the face: one thread a column, then one thread a pixel.
#include "mouth_job.cuh"
#include "close_mouth.cuh"

extern "C" __global__ void __launch_bounds__(256, 3) read_mouths(
    const MouthJob* jobs, MouthColumn* columns, int size
) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x, face = blockIdx.z;
    if (x < size) columns[face * size + x] = read_column(jobs[face], size, x);
}

template <typename T>
__device__ __forceinline__ void close_mouths(
    const MouthColumn* columns, const T* const* wholes, T* const* inputs, int size
) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= size || y >= size) return;
    const int face = blockIdx.z;
    close_mouth_pixel<T>(columns + face * size, wholes[face], inputs[face], size, x, y);
}

extern "C" __global__ void __launch_bounds__(256, 3) close_mouths_half(
    const MouthColumn* columns, const Half* const* wholes, Half* const* inputs, int size
) {
    close_mouths<Half>(columns, wholes, inputs, size);
}

extern "C" __global__ void __launch_bounds__(256, 3) close_mouths_float(
    const MouthColumn* columns, const float* const* wholes, float* const* inputs, int size
) {
    close_mouths<float>(columns, wholes, inputs, size);
}
