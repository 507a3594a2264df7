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

HD Yuv light_at(const Four* levels, const Table& table, int size, int x, int y) {
    Yuv light = {0.0f, 0.0f, 0.0f};
    LOOP for (int row = 0; row < GRID; ++row) {
        Four along = {};
        for (int column = 0; column < GRID; ++column)
            add(along, table.spread[column * size + x], levels[row * GRID + column]);
        const float weight = table.spread[row * size + y];
        light.luma += weight * along.at[0];
        light.blue += weight * along.at[1];
        light.red += weight * along.at[2];
    }
    return light;
}

// The pixels of the crop behind one pixel that light is read off at, and how they differ from the original.
template <typename T>
HD void lit_pixel(const PasteJob& job, const Table& table, int size, int x, int y) {
    const int scale = read_scale(size);
    const Scratch scratch = scratch_of(job, size);
    float change = 0.0f;
    LOOP for (int at = 0; at < scale * scale; ++at) {
        const int column = x * scale + at % scale, row = y * scale + at / scale;
        const Yuv light = light_at(scratch.levels, table, size, column, row);
        const Yuv drawn = yuv_at<T>(job, job.generated, size, column, row);
        const float luma = clamped(drawn.luma + light.luma, 0.0f, 255.0f);
        const float blue = clamped(drawn.blue + light.blue, 0.0f, 255.0f);
        const float red = clamped(drawn.red + light.red, 0.0f, 255.0f);
        scratch.lit[row * size + column] = {{rounded_half(luma), rounded_half(blue), rounded_half(red), {0}}};
        change += luma - yuv_at<T>(job, job.original, size, column, row).luma;
    }
    scratch.change[y * (size / scale) + x] = change / static_cast<float>(scale * scale);
}
