// Every face of every session in one launch: grid.z is the face, one thread a pixel. Blocks have 256 threads at most;
// without the 3 of them that are to share a multiprocessor, ptxas saves registers by spilling.
#include "crop_face.cuh"

template <typename T>
__device__ __forceinline__ void crop_faces(
    const CropJob* jobs, const T* const* identities, T* const* inputs, T* const* wholes, int size
) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= size || y >= size) return;
    const int face = blockIdx.z;
    crop_face_pixel<T>(jobs[face], identities[face], inputs[face], wholes[face], size, x, y);
}

extern "C" __global__ void __launch_bounds__(256, 3) crop_faces_half(
    const CropJob* jobs, const Half* const* identities, Half* const* inputs, Half* const* wholes, int size
) {
    crop_faces<Half>(jobs, identities, inputs, wholes, size);
}

extern "C" __global__ void __launch_bounds__(256, 3) crop_faces_float(
    const CropJob* jobs, const float* const* identities, float* const* inputs, float* const* wholes, int size
) {
    crop_faces<float>(jobs, identities, inputs, wholes, size);
}
