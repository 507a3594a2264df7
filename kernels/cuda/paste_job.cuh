// One face to paste, and what is kept between the launches that do it.
#pragma once

#include "sheet.cuh"

// uint8 samples that are written. step is 1, or 2 for the interleaved chroma of NV12.
struct Target {
    unsigned char* samples;
    int stride, step, width, height;
};

// The layout is repeated in `kernels/cuda/paste_jobs.py`; a test compares the sizes.
struct PasteJob {
    Target luma, blue, red;
    const void *generated, *original;  // T [3, S, S], R, G, B in [0, 1]
    const float *mask, *resting;       // [S, S]; resting null: nothing of the frame's fine structure stays
    unsigned char* scratch;            // `Scratch`, on a multiple of 16 bytes
    Sampling of_luma, of_chroma;       // from pixels of the region to the sheets, which may be doubled
    float to_yuv[12];                  // (Y, U, V) = to_yuv (R, G, B, 1), RGB in 0..1, YUV in 0..255
    int left, top, right, bottom;      // the region, on even pixels; right <= left: nothing is done
    float alpha;                       // share of the paste that is seen
    int luma_doubled, chroma_doubled;  // the sheet has 2 S pixels a side
    int clear;                         // width of the crop's border where the mask counts as 0
    int first_lit, first_sheet;        // rows of the crop before these are not needed; both even
    int wave, unused;                  // the blend that it takes part in
};

constexpr int GRID = 8;

struct alignas(16) Four {
    float at[4];
};

// The mask is 0 before this row.
HD int mask_row(int size) { return size / 2; }

// Light and detail are read off at half size where a crop has enough pixels (`kernels.light.read_at_half_size`).
HD int read_scale(int size) { return size >= 128 && size % 2 == 0 ? 2 : 1; }

// n is the side at which light and detail are read off.
struct Scratch {
    Four* rim;          // [n, n] how much a pixel of the rim counts, and that much of its differences
    Four* gathered;     // [n, 9] the same around each support point's column, and over the whole row
    Four* levels;       // [8, 8] luma, blue and red that light adds at each support point
    Halves<4>* lit;     // [S, S] luma, blue, red of the generated picture in the original's light
    Halves<4>* luma;    // [2 S, 2 S] or [S, S] luma, how much it replaces, how far it moves
    Halves<2>* chroma;  // [2 S, 2 S] or [S, S] blue, red
    // In the rim's place, once it is gathered.
    float* change;   // [n, n] generated less original; blurred in place
    float* between;  // [n, n] blurred along rows
    float* kept;     // [n, n] share of the original's fine structure that may stay
};

HD Scratch scratch_of(const PasteJob& job, int size) {
    const int side = size / read_scale(size), pixels = side * side;
    Scratch result;
    result.rim = reinterpret_cast<Four*>(job.scratch);
    result.gathered = result.rim + pixels;
    result.levels = result.gathered + side * (GRID + 1);
    result.lit = reinterpret_cast<Halves<4>*>(result.levels + GRID * GRID);
    result.luma = result.lit + size * size;
    result.chroma = reinterpret_cast<Halves<2>*>(result.luma + 4 * size * size);
    result.change = reinterpret_cast<float*>(result.rim);
    result.between = result.change + pixels;
    result.kept = result.between + pixels;
    return result;
}

// What depends on the size alone, as `paste_table` of `paste_jobs.py` makes it.
struct Table {
    const float* gather;  // [9, n] from pixels to support points, and to their sum
    const float* spread;  // [8, S] from support points to pixels
    const float *soft, *near;
};

HD Table table_of(const float* weights, int size, int soft_radius) {
    const float* spread = weights + (GRID + 1) * (size / read_scale(size));
    const float* soft = spread + GRID * size;
    return {weights, spread, soft, soft + 2 * soft_radius + 1};
}

HD bool is_empty(const PasteJob& job) { return job.right <= job.left || job.bottom <= job.top; }

// The mask, 0 on the crop's border, so that repeating the border goes on with 0.
HD float mask_at(const PasteJob& job, int size, int x, int y) {
    const int last = size - job.clear;
    if (x < job.clear || x >= last || y < job.clear || y >= last || y < mask_row(size)) return 0.0f;
    return job.mask[y * size + x];
}

struct Yuv {
    float luma, blue, red;
};

// A pixel of a picture [3, S, S]; what is not in [0, 1] is cut off, and what is no number is 0.
template <typename T>
HD Yuv yuv_at(const PasteJob& job, const void* picture, int size, int x, int y) {
    const T* at = static_cast<const T*>(picture) + y * size + x;
    const float* to_yuv = job.to_yuv;
    float rgb[3];
    for (int channel = 0; channel < 3; ++channel)
        rgb[channel] = fminf(fmaxf(float_of(at[channel * size * size]), 0.0f), 1.0f);
    return {
        to_yuv[0] * rgb[0] + to_yuv[1] * rgb[1] + to_yuv[2] * rgb[2] + to_yuv[3],
        to_yuv[4] * rgb[0] + to_yuv[5] * rgb[1] + to_yuv[6] * rgb[2] + to_yuv[7],
        to_yuv[8] * rgb[0] + to_yuv[9] * rgb[1] + to_yuv[10] * rgb[2] + to_yuv[11],
    };
}
