// `kernels.crop`: a face out of a frame, straight to what a generator takes.
#pragma once

#include "warp.cuh"

// One face. The layout is repeated in `kernels/cuda/jobs.py`; a test compares the sizes.
struct CropJob {
    Plane luma, blue, red;
    Sampling of_luma, of_chroma;
    float to_rgb[12];  // (R, G, B) = to_rgb (Y, U, V, 1), all in 0..255
    int mask_row;      // rows of the target from here on are hidden
    int unused;
};

// Writes what belongs to one pixel of one face, in [0, 1].
//   identity  T [3, size, size], what the generator is shown of the person; copied. Null: the crop itself.
//   input     T [6, size, size], identity's R, G, B, then the crop's with the hidden rows 0.
//   whole     T [3, size, size], the crop with nothing hidden. Null: not wanted.
template <typename T>
HD void crop_face_pixel(const CropJob& job, const T* identity, T* input, T* whole, int size, int x, int y) {
    const float luma = sampled(job.luma, job.of_luma, x, y);
    const float blue = sampled(job.blue, job.of_chroma, x, y);
    const float red = sampled(job.red, job.of_chroma, x, y);
    const int at = y * size + x, plane = size * size;
    for (int channel = 0; channel < 3; ++channel) {
        const float* row = job.to_rgb + 4 * channel;
        const float level = clamped(row[0] * luma + row[1] * blue + row[2] * red + row[3], 0.0f, 255.0f);
        const float unit = level * (1.0f / 255.0f);
        if (whole) store(whole + channel * plane + at, unit);
        if (identity)
            input[channel * plane + at] = identity[channel * plane + at];
        else
            store(input + channel * plane + at, unit);
        store(input + (3 + channel) * plane + at, y < job.mask_row ? unit : 0.0f);
    }
}
