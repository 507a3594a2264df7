// The kernels for the host: the .cu files themselves, through the shim.
#include "shim.h"

#include "crop_face.cu"

extern "C" {
unsigned long size_of_crop_job() { return sizeof(CropJob); }

void half_of_floats(const float* from, Half* to, int count) {
    for (int index = 0; index < count; ++index) to[index] = half_of(from[index]);
}

void launch_crop_faces_float(
    Dim3 grid, Dim3 block, const CropJob* jobs, const float* const* identities, float* const* inputs,
    float* const* wholes, int size
) {
    launch(grid, block, crop_faces_float, jobs, identities, inputs, wholes, size);
}

void launch_crop_faces_half(
    Dim3 grid, Dim3 block, const CropJob* jobs, const Half* const* identities, Half* const* inputs,
    Half* const* wholes, int size
) {
    launch(grid, block, crop_faces_half, jobs, identities, inputs, wholes, size);
}
}
