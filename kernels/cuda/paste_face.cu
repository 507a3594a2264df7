// Every face of every session in each launch: grid.z is the face. The order of the launches, and their grids, are in
// `kernels/cuda/paste_jobs.py`. A face whose region is empty leaves its threads nothing to do.
#include "paste_face.cuh"
#include "paste_job.cuh"

template <typename T>
__device__ __forceinline__ void paste_rim(const PasteJob* jobs, int size) {
    const int side = size / read_scale(size);
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = mask_row(size) / read_scale(size) + blockIdx.y * blockDim.y + threadIdx.y;
    const PasteJob& job = jobs[blockIdx.z];
    if (x < side && y < side && !is_empty(job)) rim_pixel<T>(job, size, x, y);
}

extern "C" __global__ void __launch_bounds__(256, 3) paste_rim_half(const PasteJob* jobs, int size) {
    paste_rim<Half>(jobs, size);
}

extern "C" __global__ void __launch_bounds__(256, 3) paste_rim_float(const PasteJob* jobs, int size) {
    paste_rim<float>(jobs, size);
}

extern "C" __global__ void __launch_bounds__(256, 3) paste_gather(
    const PasteJob* jobs, const float* weights, int size, int soft_radius
) {
    const int point = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = mask_row(size) / read_scale(size) + blockIdx.y * blockDim.y + threadIdx.y;
    const PasteJob& job = jobs[blockIdx.z];
    if (point > GRID || y >= size / read_scale(size) || is_empty(job)) return;
    gather_row(job, table_of(weights, size, soft_radius), size, point, y);
}

extern "C" __global__ void __launch_bounds__(256, 3) paste_light(
    const PasteJob* jobs, const float* weights, int size, int soft_radius
) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    const PasteJob& job = jobs[blockIdx.z];
    if (column >= GRID || row >= GRID || is_empty(job)) return;
    light_point(job, table_of(weights, size, soft_radius), size, column, row);
}

template <typename T>
__device__ __forceinline__ void paste_lit(const PasteJob* jobs, const float* weights, int size, int soft_radius) {
    const PasteJob& job = jobs[blockIdx.z];
    const int x = 2 * (blockIdx.x * blockDim.x + threadIdx.x);
    const int y = job.first_lit + 2 * (blockIdx.y * blockDim.y + threadIdx.y);
    if (x < size && y < size && !is_empty(job)) lit_quad<T>(job, table_of(weights, size, soft_radius), size, x, y);
}

extern "C" __global__ void __launch_bounds__(256, 3) paste_lit_half(
    const PasteJob* jobs, const float* weights, int size, int soft_radius
) {
    paste_lit<Half>(jobs, weights, size, soft_radius);
}

extern "C" __global__ void __launch_bounds__(256, 3) paste_lit_float(
    const PasteJob* jobs, const float* weights, int size, int soft_radius
) {
    paste_lit<float>(jobs, weights, size, soft_radius);
}

extern "C" __global__ void __launch_bounds__(256, 3) paste_blur(
    const PasteJob* jobs, const float* weights, int size, int soft_radius, int near_radius, int pass
) {
    const int side = size / read_scale(size);
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = first_blurred(size, soft_radius, near_radius, pass) + blockIdx.y * blockDim.y + threadIdx.y;
    const PasteJob& job = jobs[blockIdx.z];
    if (x >= side || y >= side || is_empty(job) || !job.resting) return;
    blur_pixel(job, table_of(weights, size, soft_radius), size, soft_radius, near_radius, pass, x, y);
}

extern "C" __global__ void __launch_bounds__(256, 3) paste_sheets(const PasteJob* jobs, int size) {
    const PasteJob& job = jobs[blockIdx.z];
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = job.first_sheet + blockIdx.y * blockDim.y + threadIdx.y;
    if (x < size && y < size && !is_empty(job)) sheet_pixel(job, size, x, y);
}

// As many blocks as one likes: each thread goes on with the quad that lies all threads further.
extern "C" __global__ void __launch_bounds__(256, 3) paste_blend(const PasteJob* jobs, int size, int wave) {
    const PasteJob& job = jobs[blockIdx.z];
    if (is_empty(job) || job.wave != wave) return;
    const int columns = (job.right - job.left + 1) / 2, rows = (job.bottom - job.top + 1) / 2;
    const int threads = gridDim.x * blockDim.x;
    for (int quad = blockIdx.x * blockDim.x + threadIdx.x; quad < columns * rows; quad += threads)
        blend_quad(job, size, quad % columns, quad / columns);
}
