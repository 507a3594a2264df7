// Every frame of every session in one launch: grid.z is the frame, one thread a pixel of its tensor.
#include "frame_to_tensor.cuh"

template <typename T>
__device__ __forceinline__ void frames_to_tensors(
    const FrameToTensorJob* jobs, T* const* tensors, int height, int width
) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    frame_to_tensor_pixel<T>(jobs[blockIdx.z], tensors[blockIdx.z], height, width, y, x);
}

extern "C" __global__ void __launch_bounds__(256, 3) frames_to_tensors_half(
    const FrameToTensorJob* jobs, Half* const* tensors, int height, int width
) {
    frames_to_tensors<Half>(jobs, tensors, height, width);
}

extern "C" __global__ void __launch_bounds__(256, 3) frames_to_tensors_float(
    const FrameToTensorJob* jobs, float* const* tensors, int height, int width
) {
    frames_to_tensors<float>(jobs, tensors, height, width);
}
