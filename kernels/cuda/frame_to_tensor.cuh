// `kernels.frame_tensor`: a rectangle of a frame, from its planes straight to what a generator takes.
#pragma once

#include "axis.cuh"

// One frame. The layout is repeated in `kernels/cuda/frame_jobs.py`; a test compares the sizes.
struct FrameToTensorJob {
    Plane luma, blue, red;
    Axis rows, columns, chroma_rows, chroma_columns;
    float to_rgb[12];  // (R, G, B) = to_rgb (Y, U, V, 1), all in 0..255
};

HD float mean_of_block(const Plane& plane, int row, int column, int rows, int columns) {
    int sum = 0;
    LOOP for (int down = 0; down < rows; ++down) {
        const int y = clamped(row * rows + down, 0, plane.height - 1);
        const unsigned char* line = plane.samples + y * plane.stride;
        LOOP for (int right = 0; right < columns; ++right)
            sum += line[clamped(column * columns + right, 0, plane.width - 1) * plane.step];
    }
    return static_cast<float>(sum) / static_cast<float>(rows * columns);
}

HD float sampled_along(const Plane& plane, const Axis& rows, const Axis& columns, int y, int x) {
    const int high = (plane.height + rows.block - 1) / rows.block;
    const int wide = (plane.width + columns.block - 1) / columns.block;
    const Taps downwards = taps_along(rows, y, high), across = taps_along(columns, x, wide);
    const int above = margin_of(rows), beside = margin_of(columns);
    float value = 0.0f;
    LOOP for (int down = above; down < 4 - above; ++down) {
        const int row = clamped(downwards.first + down, 0, high - 1);
        float line = 0.0f;
        LOOP for (int right = beside; right < 4 - beside; ++right) {
            const int column = clamped(across.first + right, 0, wide - 1);
            line += across[right] * mean_of_block(plane, row, column, rows.block, columns.block);
        }
        value += downwards[down] * line;
    }
    return value;
}

// Writes one pixel of T [3, height, width], in [-1, 1].
template <typename T>
HD void frame_to_tensor_pixel(const FrameToTensorJob& job, T* tensor, int height, int width, int y, int x) {
    const float luma = sampled_along(job.luma, job.rows, job.columns, y, x);
    const float blue = sampled_along(job.blue, job.chroma_rows, job.chroma_columns, y, x);
    const float red = sampled_along(job.red, job.chroma_rows, job.chroma_columns, y, x);
    for (int channel = 0; channel < 3; ++channel) {
        const float* row = job.to_rgb + 4 * channel;
        const float level = clamped(row[0] * luma + row[1] * blue + row[2] * red + row[3], 0.0f, 255.0f);
        // Multiplied last, and by a factor that rounds up: 255 gives 1 exactly, with fused multiply-adds too.
        store(tensor + (channel * height + y) * width + x, (level - 127.5f) * (1.0f / 127.5f));
    }
}
