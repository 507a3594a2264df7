// Every face of every session in three launches, grid.z the face: a thread for each thing that is looked for on each line
// (grid.y: `Traced`), then twice one thread a pixel.
#include "mouth_job.cuh"
#include "draw_masks.cuh"

// sums: those of the fade's blur, then those of the reach's.
__device__ __forceinline__ Blurs blurs_of(const float* sums, int fade_px, int reach_px) {
    return {fade_px, reach_px, sums, sums + 2 * fade_px + 2};
}

extern "C" __global__ void __launch_bounds__(256, 3) trace_lines(
    const MouthJob* jobs, MaskLine* lines, int size, int fade_px, int reach_px
) {
    const int line = blockIdx.x * blockDim.x + threadIdx.x, count = size * COVERAGE_LINES;
    if (line >= count) return;
    const int face = blockIdx.z, what = blockIdx.y;
    trace_line(jobs[face], lines[face * count + line], what, line, size, fade_px, reach_px);
}

extern "C" __global__ void __launch_bounds__(256, 3) blur_lines(
    const MaskLine* lines, float* rows, const float* sums, int size, int fade_px, int reach_px
) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= size || y >= size) return;
    const int face = blockIdx.z;
    const MaskLine* of_face = lines + face * size * COVERAGE_LINES;
    blur_along(of_face, rows + face * 2 * size * size, size, blurs_of(sums, fade_px, reach_px), x, y);
}

extern "C" __global__ void __launch_bounds__(256, 3) draw_masks(
    const float* rows, float* masks, float* restings, const float* sums, int size, int fade_px, int reach_px
) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= size || y >= size) return;
    const int face = blockIdx.z, plane = size * size;
    const Blurs blurs = blurs_of(sums, fade_px, reach_px);
    draw_masks_pixel(rows + face * 2 * plane, masks + face * plane, restings + face * plane, size, blurs, x, y);
}
