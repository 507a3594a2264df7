// `kernels.light`: the generated picture takes on the original's light, as read off on the mask's rim.
#pragma once

#include "paste_job.cuh"

constexpr float ROBUST_LEVELS = 24.0f, PRIOR = 0.01f;

// One pixel, read off at half size or not: how much it counts, and that much of its differences.
template <typename T>
HD void rim_pixel(const PasteJob& job, int size, int x, int y) {
    const int scale = read_scale(size);
    float share = 0.0f;
    LOOP for (int at = 0; at < scale * scale; ++at)
        share += mask_at(job, size, x * scale + at % scale, y * scale + at / scale);
    share *= 1.0f / static_cast<float>(scale * scale);
    Four result = {{share - share * share, 0.0f, 0.0f, 0.0f}};
    if (result.at[0] > 0.0f) {
        LOOP for (int at = 0; at < scale * scale; ++at) {
            const int column = x * scale + at % scale, row = y * scale + at / scale;
            const Yuv drawn = yuv_at<T>(job, job.generated, size, column, row);
            const Yuv before = yuv_at<T>(job, job.original, size, column, row);
            result.at[1] += before.luma - drawn.luma;
            result.at[2] += before.blue - drawn.blue;
            result.at[3] += before.red - drawn.red;
        }
        for (int channel = 1; channel < 4; ++channel) result.at[channel] /= static_cast<float>(scale * scale);
        const float off = result.at[1] * (1.0f / ROBUST_LEVELS);
        result.at[0] /= 1.0f + off * off;
        for (int channel = 1; channel < 4; ++channel) result.at[channel] *= result.at[0];
    }
    scratch_of(job, size).rim[y * (size / scale) + x] = result;
}

HD void add(Four& sum, float weight, const Four& what) {
    for (int channel = 0; channel < 4; ++channel) sum.at[channel] += weight * what.at[channel];
}

// A row of the rim around one support point's column; the last point is the whole row.
HD void gather_row(const PasteJob& job, const Table& table, int size, int point, int y) {
    const int side = size / read_scale(size);
    const Scratch scratch = scratch_of(job, size);
    const Four* row = scratch.rim + y * side;
    const float* weights = table.gather + point * side;
    Four sum = {};
    for (int x = 0; x < side; ++x) add(sum, weights[x], row[x]);
    scratch.gathered[y * (GRID + 1) + point] = sum;
}

// The light at one support point: the rim around it, and a little of all of it.
HD void light_point(const PasteJob& job, const Table& table, int size, int column, int row) {
    const int side = size / read_scale(size);
    const Scratch scratch = scratch_of(job, size);
    const float* weights = table.gather + row * side;
    Four near = {}, whole = {};
    for (int y = mask_row(size) / read_scale(size); y < side; ++y) {
        const Four* gathered = scratch.gathered + y * (GRID + 1);
        add(near, weights[y], gathered[column]);
        add(whole, 1.0f, gathered[GRID]);
    }
    add(near, PRIOR, whole);
    Four levels = {};
    if (whole.at[0] > 0.0f)
        for (int channel = 0; channel < 3; ++channel) levels.at[channel] = near.at[1 + channel] / near.at[0];
    scratch.levels[row * GRID + column] = levels;
}

// What light adds to two by two pixels.
HD void light_at(const Four* levels, const Table& table, int size, int x, int y, float (&light)[4][3]) {
    // An odd crop's last ones count twice, and are not written.
    const int right = clamped(x + 1, 0, size - 1), below = clamped(y + 1, 0, size - 1);
    for (int at = 0; at < 12; ++at) light[at / 3][at % 3] = 0.0f;
    LOOP for (int row = 0; row < GRID; ++row) {
        float near[3] = {}, next[3] = {};
        for (int column = 0; column < GRID; ++column) {
            const Four level = levels[row * GRID + column];
            const float* spread = table.spread + column * size;
            for (int channel = 0; channel < 3; ++channel) {
                near[channel] += spread[x] * level.at[channel];
                next[channel] += spread[right] * level.at[channel];
            }
        }
        add_row<3>(table.spread[row * size + y], table.spread[row * size + below], near, next, light);
    }
}

// Lights one pixel; returns by how much its luma differs from the original's then.
template <typename T>
HD float lit_pixel(const PasteJob& job, int size, int x, int y, const float (&light)[3]) {
    const Yuv drawn = yuv_at<T>(job, job.generated, size, x, y);
    const float luma = clamped(drawn.luma + light[0], 0.0f, 255.0f);
    const float blue = clamped(drawn.blue + light[1], 0.0f, 255.0f);
    const float red = clamped(drawn.red + light[2], 0.0f, 255.0f);
    scratch_of(job, size).lit[y * size + x] = {{rounded_half(luma), rounded_half(blue), rounded_half(red), {0}}};
    return luma - yuv_at<T>(job, job.original, size, x, y).luma;
}

// Two by two pixels of the crop, from (x, y) on, and their change: each one's, or the mean where it is read at half
// size.
template <typename T>
HD void lit_quad(const PasteJob& job, const Table& table, int size, int x, int y) {
    const bool halves = read_scale(size) == 2;
    const Scratch scratch = scratch_of(job, size);
    float light[4][3], sum = 0.0f;
    light_at(scratch.levels, table, size, x, y, light);
    for (int at = 0; at < 4; ++at) {
        const int column = x + (at & 1), row = y + (at >> 1);
        if (column >= size || row >= size) continue;
        const float change = lit_pixel<T>(job, size, column, row, light[at]);
        sum += change;
        if (!halves) scratch.change[row * size + column] = change;
    }
    if (halves) scratch.change[y / 2 * (size / 2) + x / 2] = 0.25f * sum;
}
