// `kernels.frame_tensor`: a generated picture back into the planes of a frame, in place.
#pragma once

#include "axis.cuh"

// As `Plane`, to be written.
struct WritablePlane {
    unsigned char* samples;
    int stride, step, width, height;
};

// One frame. The layout is repeated in `kernels/cuda/frame_jobs.py`; a test compares the sizes.
struct TensorToFrameJob {
    WritablePlane luma, blue, red;
    Axis rows, columns;  // from pixels of the picture to the tensor's; their blocks are 1 unless the picture is smaller
    int top, left, bottom, right;  // the pixels that change, inside the picture
    float to_yuv[12];              // (Y, U, V) = to_yuv (R, G, B, 1), all in 0..255
    float strength;
    int unused;
};

struct Rgb {
    float red, green, blue;
};

// To [0, 1]; what is no number counts as 0.
HD float unit_of(float value) {
    const float unit = 0.5f * value + 0.5f;
    return unit > 0.0f ? (unit < 1.0f ? unit : 1.0f) : 0.0f;
}

// The mean of a block of one channel, borders repeated.
template <typename T>
HD float unit_mean(const T* channel, int height, int width, int row, int column, int rows, int columns) {
    if (rows == 1 && columns == 1) return unit_of(float_of(channel[row * width + column]));
    float sum = 0.0f;
    LOOP for (int down = 0; down < rows; ++down) {
        const T* line = channel + clamped(row * rows + down, 0, height - 1) * width;
        LOOP for (int right = 0; right < columns; ++right)
            sum += unit_of(float_of(line[clamped(column * columns + right, 0, width - 1)]));
    }
    return sum / static_cast<float>(rows * columns);
}

// What T [3, height, width] says of a pixel of the picture, in 0..255.
template <typename T>
HD Rgb generated(const TensorToFrameJob& job, const T* tensor, int height, int width, int y, int x) {
    const int down_by = job.rows.block, right_by = job.columns.block;
    const int high = (height + down_by - 1) / down_by, wide = (width + right_by - 1) / right_by;
    const Taps downwards = taps_along(job.rows, y, high), across = taps_along(job.columns, x, wide);
    const int above = margin_of(job.rows), beside = margin_of(job.columns), plane = height * width;
    Rgb sum = {0.0f, 0.0f, 0.0f};
    LOOP for (int down = above; down < 4 - above; ++down) {
        const int row = clamped(downwards.first + down, 0, high - 1);
        LOOP for (int right = beside; right < 4 - beside; ++right) {
            const int column = clamped(across.first + right, 0, wide - 1);
            const float weight = 255.0f * downwards[down] * across[right];
            sum.red += weight * unit_mean(tensor, height, width, row, column, down_by, right_by);
            sum.green += weight * unit_mean(tensor + plane, height, width, row, column, down_by, right_by);
            sum.blue += weight * unit_mean(tensor + 2 * plane, height, width, row, column, down_by, right_by);
        }
    }
    return {clamped(sum.red, 0.0f, 255.0f), clamped(sum.green, 0.0f, 255.0f), clamped(sum.blue, 0.0f, 255.0f)};
}

// Moves a sample towards row (R, G, B, 1); at strength 0 it keeps its value.
HD void blend(const WritablePlane& plane, int y, int x, const float* row, const Rgb& rgb, float strength) {
    unsigned char* at = plane.samples + y * plane.stride + x * plane.step;
    const float old = *at;
    const float made = row[0] * rgb.red + row[1] * rgb.green + row[2] * rgb.blue + row[3];
    *at = static_cast<unsigned char>(clamped(old + strength * (made - old) + 0.5f, 0.0f, 255.0f));
}

// Up to four pixels and their chroma samples, which change only where all pixels of theirs do.
template <typename T>
HD void tensor_to_frame_quad(const TensorToFrameJob& job, const T* tensor, int height, int width, int down, int right) {
    const int bottom = clamped(2 * down + 2, 0, job.luma.height), end = clamped(2 * right + 2, 0, job.luma.width);
    Rgb sum = {0.0f, 0.0f, 0.0f};
    int changed = 0, all = 0;
    LOOP for (int y = 2 * down; y < bottom; ++y) {
        LOOP for (int x = 2 * right; x < end; ++x) {
            ++all;
            if (y < job.top || y >= job.bottom || x < job.left || x >= job.right) continue;
            ++changed;
            const Rgb rgb = generated<T>(job, tensor, height, width, y, x);
            blend(job.luma, y, x, job.to_yuv, rgb, job.strength);
            sum = {sum.red + rgb.red, sum.green + rgb.green, sum.blue + rgb.blue};
        }
    }
    if (changed < all) return;
    const float share = 1.0f / static_cast<float>(all);
    const Rgb mean = {share * sum.red, share * sum.green, share * sum.blue};
    blend(job.blue, down, right, job.to_yuv + 4, mean, job.strength);
    blend(job.red, down, right, job.to_yuv + 8, mean, job.strength);
}
