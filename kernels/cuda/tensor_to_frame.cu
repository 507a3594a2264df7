// Every frame of every session in one launch: grid.z is the frame, one thread four pixels that share a chroma sample.
// The grid covers the largest of the rectangles; threads beyond their own frame's have nothing to do.
#include "tensor_to_frame.cuh"

template <typename T>
__device__ __forceinline__ void tensors_to_frames(
    const TensorToFrameJob* jobs, const T* const* tensors, int height, int width
) {
    const TensorToFrameJob& job = jobs[blockIdx.z];
    const int right = job.left / 2 + blockIdx.x * blockDim.x + threadIdx.x;
    const int down = job.top / 2 + blockIdx.y * blockDim.y + threadIdx.y;
    if (2 * right >= job.right || 2 * down >= job.bottom || job.strength == 0.0f) return;
    tensor_to_frame_quad<T>(job, tensors[blockIdx.z], height, width, down, right);
}

extern "C" __global__ void __launch_bounds__(256, 3) tensors_to_frames_half(
    const TensorToFrameJob* jobs, const Half* const* tensors, int height, int width
) {
    tensors_to_frames<Half>(jobs, tensors, height, width);
}

extern "C" __global__ void __launch_bounds__(256, 3) tensors_to_frames_float(
    const TensorToFrameJob* jobs, const float* const* tensors, int height, int width
) {
    tensors_to_frames<float>(jobs, tensors, height, width);
}
