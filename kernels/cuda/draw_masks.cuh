// `kernels.paste`: where the generated picture replaces the frame's, and where the frame's fine structure may stay. Shapes
// are cut into lines, a blur along the lines is exact, and one down the columns follows.
#pragma once

#include "mouth_job.cuh"

// Points are fetched four at a time; all at once, a thread has twice the registers and the binary twice the code.
#ifdef __CUDACC__
#define FOUR_AT_ONCE _Pragma("unroll 4")
#else
#define FOUR_AT_ONCE
#endif

// Lines down a pixel on which it is measured how much a shape covers.
constexpr int COVERAGE_LINES = 8;
constexpr int MOST_CROSSINGS = OUTLINE_COUNT - 1;
// The lips' ellipses are polygons of 16 corners, twice as wide as high.
constexpr int CORNERS = 16;
// More steps than the hull of the lips' ellipses has corners to one side.
constexpr int MOST_STEPS = LIPS_COUNT + CORNERS;
constexpr float STRAIGHT_PX = 1e-4f;
// Shapes are drawn this much larger, as OpenCV draws them.
constexpr float DRAWN_BEYOND_PX = 0.67f;

// What lies on one line across a crop: the jaw's outline, inside between the crossings 0 and 1, 2 and 3 and so on, and
// the lips with what is next to them.
struct MaskLine {
    int count;
    float crossings[MOST_CROSSINGS];
    float lips_left, lips_right;
};
static_assert(sizeof(MaskLine) == 84, "21 numbers");

// How wide the two blurs are, and their weights summed up: 2 radius + 2 sums each, from 0 to 1.
struct Blurs {
    int fade_px, reach_px;
    const float* fade;
    const float* reach;
};

HD Point near_crop(Point point, int size) {
    const float side = static_cast<float>(size);
    return {within(point.x, -side, 2.0f * side), within(point.y, -side, 2.0f * side)};
}

// Corner `index` of the outline: cut straight between the cheeks, and a fade's width lower where it lies below the lips.
HD Point outline_corner(const MouthJob& job, int index, int size, int fade_px) {
    const Point upper = job.points[UPPER_INNER + MIDDLE_OF_LIP], lower = job.points[LOWER_INNER + MIDDLE_OF_LIP];
    Point corner = job.points[OUTLINE + index];
    if (index == 0 || index == OUTLINE_COUNT - 1) corner.y = fminf(corner.y, size * 0.5f);
    const float right = corner.x - (upper.x + lower.x) * 0.5f, down = corner.y - (upper.y + lower.y) * 0.5f;
    corner.y += fade_px * fmaxf(down / fmaxf(sqrtf(right * right + down * down), 1e-6f), 0.0f);
    return near_crop(corner, size);
}

HD int first_row(const MouthJob& job, int size) {
    const float nose = fmaxf(job.points[NOSE].y, job.points[NOSE + 1].y);
    return static_cast<int>(ceilf(within(nose, static_cast<float>(size / 2), static_cast<float>(size))));
}

HD Point direction(Point from, Point to) {
    const float right = to.x - from.x, down = to.y - from.y;
    const float scale = 1.0f / fmaxf(sqrtf(right * right + down * down), 1e-6f);
    return {right * scale, down * scale};
}

// A corner moved outwards, which is to the right of the way, so that both its edges lie DRAWN_BEYOND_PX further out.
HD Point grown(Point corner, Point along_before, Point along) {
    const float right = -along_before.y - along.y, down = along_before.x + along.x;
    const float scale = DRAWN_BEYOND_PX / fmaxf((right * right + down * down) * 0.5f, 0.5f);
    return {corner.x + right * scale, corner.y + down * scale};
}

HD void add_crossing(MaskLine& line, float x) {
    int at = line.count++;
    LOOP for (; at > 0 && line.crossings[at - 1] > x; --at) line.crossings[at] = line.crossings[at - 1];
    line.crossings[at] = x;
}

HD void trace_outline(const MouthJob& job, MaskLine& line, float y, int size, int fade_px) {
    Point before = {0.0f, 0.0f}, along_before = before, from = before;
    // The first two steps fill what is looked back on, the third gives the last corner, and the last one gives it
    // again, from the same instructions: the crossings are even in number.
    LOOP for (int step = 0; step < OUTLINE_COUNT + 3; ++step) {
        const Point next = outline_corner(job, (step + OUTLINE_COUNT - 2) % OUTLINE_COUNT, size, fade_px);
        const Point along = direction(before, next), to = grown(before, along_before, along);
        if (step > 2 && (from.y <= y) != (to.y <= y))
            add_crossing(line, from.x + (y - from.y) * ((to.x - from.x) / (to.y - from.y)));
        before = next;
        along_before = along;
        from = to;
    }
}

// cos(turn / 16 of a circle), for every turn.
HD float corner_cos(int turn) {
    const int half = turn & 15, folded = half > 8 ? 16 - half : half, quarter = folded > 4 ? 8 - folded : folded;
    const float cosine = quarter == 0   ? 1.0f
                         : quarter == 1 ? 0.92387953f
                         : quarter == 2 ? 0.70710678f
                         : quarter == 3 ? 0.38268343f
                                        : 0.0f;
    return folded > 4 ? -cosine : cosine;
}

// The point around the lips that lies furthest to the right of a line of that slope (dx / dy). side -1 mirrors.
HD Point furthest_right(const MouthJob& job, float side, float slope, int size, int reach_px) {
    const float wide = 2.0f * reach_px + DRAWN_BEYOND_PX, high = reach_px + DRAWN_BEYOND_PX;
    Point best = {0.0f, 0.0f};
    FOUR_AT_ONCE for (int index = 0; index < LIPS_COUNT; ++index) {
        Point lip = near_crop(job.points[OUTER_LIPS + index], size);
        lip.x *= side;
        if (index == 0 || (lip.x - best.x) - slope * (lip.y - best.y) > 0.0f) best = lip;
    }
    // Of all corners (wide cos t, high sin t) the one nearest to where the line leads furthest.
    const float turn = atan2f(-slope * high, wide) * (CORNERS / 6.283185307f);
    const int corner = static_cast<int>(rintf(within(turn, -4.0f, 4.0f)));
    return {best.x + wide * corner_cos(corner), best.y + high * corner_cos(corner - CORNERS / 4)};
}

// The highest point around the lips, or with down = 1 the lowest; of several the one furthest to the right.
HD Point extreme(const MouthJob& job, float side, float down, int size, int reach_px) {
    Point best = {0.0f, 0.0f};
    FOUR_AT_ONCE for (int index = 0; index < LIPS_COUNT; ++index) {
        Point lip = near_crop(job.points[OUTER_LIPS + index], size);
        lip.x *= side;
        const float further = down * (lip.y - best.y);
        if (index == 0 || further > 0.0f || (further == 0.0f && lip.x > best.x)) best = lip;
    }
    return {best.x, best.y + down * (reach_px + DRAWN_BEYOND_PX)};
}

// Where the convex hull of the lips' ellipses ends on a line, to the right (side 1) or mirrored to the left (side -1).
// No hull is built: a chord across the line moves out to its furthest point until nothing lies outside.
HD float hull_end(const MouthJob& job, float side, Point above, Point below, float y, int size, int reach_px) {
    LOOP for (int step = 0; step < MOST_STEPS; ++step) {
        const float slope = (below.x - above.x) / (below.y - above.y);
        const Point found = furthest_right(job, side, slope, size, reach_px);
        if (!((found.x - above.x) - slope * (found.y - above.y) > STRAIGHT_PX)) break;
        if (found.y <= y)
            above = found;
        else
            below = found;
    }
    return above.x + (below.x - above.x) * within((y - above.y) / (below.y - above.y), 0.0f, 1.0f);
}

// side -1 gives the left end of what the lips' hull covers of a line, 1 the right one; both are 0 where it covers nothing.
HD float lips_end(const MouthJob& job, float side, float y, int size, int reach_px) {
    const Point above = extreme(job, side, -1.0f, size, reach_px), below = extreme(job, side, 1.0f, size, reach_px);
    if (!(above.y <= y && y < below.y)) return 0.0f;
    return side * hull_end(job, side, above, below, y, size, reach_px);
}

// What a thread looks for on a line. A thread for each: what one takes is mostly waiting, and lines are few.
enum Traced { OUTLINE_CROSSINGS, LIPS_LEFT, LIPS_RIGHT, TRACED };

HD void trace_line(const MouthJob& job, MaskLine& line, int what, int index, int size, int fade_px, int reach_px) {
    const float y = (index + 0.5f) / COVERAGE_LINES - 0.5f;
    if (what == LIPS_LEFT) line.lips_left = lips_end(job, -1.0f, y, size, reach_px);
    if (what == LIPS_RIGHT) line.lips_right = lips_end(job, 1.0f, y, size, reach_px);
    if (what != OUTLINE_CROSSINGS) return;
    line.count = 0;
    if (index / COVERAGE_LINES >= first_row(job, size)) trace_outline(job, line, y, size, fade_px);
}

// What a blur makes at pixel x of a line that is covered to the left of `end`.
HD float covered_until(float end, int x, const float* sums, int radius) {
    const float at = within(end - x + radius + 0.5f, 0.0f, 2.0f * radius + 1.0f);
    const int whole = clamped(static_cast<int>(at), 0, 2 * radius);
    return sums[whole] + (at - whole) * (sums[whole + 1] - sums[whole]);
}

HD float covered_between(float left, float right, int x, const float* sums, int radius) {
    if (!(left < right)) return 0.0f;
    return covered_until(right, x, sums, radius) - covered_until(left, x, sums, radius);
}

// The jaw's outline, blurred along a line at pixel x; beyond the crop there is nothing.
HD float outline_along(const MaskLine& line, int x, int size, const Blurs& blurs) {
    float sum = 0.0f;
    LOOP for (int pair = 0; pair + 1 < line.count; pair += 2) {
        const float left = within(line.crossings[pair], -0.5f, size - 0.5f);
        const float right = within(line.crossings[pair + 1], -0.5f, size - 0.5f);
        sum += covered_between(left, right, x, blurs.fade, blurs.fade_px);
    }
    return sum;
}

// The lips, blurred along a line at pixel x; beyond the crop its pixels come again, mirrored about the last one.
HD float lips_along(const MaskLine& line, int x, int size, const Blurs& blurs) {
    const float low = -0.5f, high = size - 0.5f;
    const float left = within(line.lips_left, low, high), right = within(line.lips_right, low, high);
    if (!(left < right)) return 0.0f;
    float sum = covered_between(left, right, x, blurs.reach, blurs.reach_px);
    if (x < blurs.reach_px) sum += covered_between(-right, fminf(-left, low), x, blurs.reach, blurs.reach_px);
    if (x >= size - blurs.reach_px) {
        const float across = 2.0f * (size - 1);
        sum += covered_between(fmaxf(across - right, high), across - left, x, blurs.reach, blurs.reach_px);
    }
    return sum;
}

// One pixel of a face's lines, blurred along them: rows [2, size, size] take the outline's and the lips' share.
HD void blur_along(const MaskLine* lines, float* rows, int size, const Blurs& blurs, int x, int y) {
    float outline = 0.0f, lips = 0.0f;
    LOOP for (int line = 0; line < COVERAGE_LINES; ++line) {
        outline += outline_along(lines[y * COVERAGE_LINES + line], x, size, blurs);
        lips += lips_along(lines[y * COVERAGE_LINES + line], x, size, blurs);
    }
    rows[y * size + x] = outline * (1.0f / COVERAGE_LINES);
    rows[size * size + y * size + x] = lips * (1.0f / COVERAGE_LINES);
}

HD float outline_at(const float* rows, int size, const Blurs& blurs, int x, int y) {
    float sum = 0.0f;
    LOOP for (int tap = 0; tap <= 2 * blurs.fade_px; ++tap) {
        const int row = y + tap - blurs.fade_px;
        if (row >= 0 && row < size) sum += (blurs.fade[tap + 1] - blurs.fade[tap]) * rows[row * size + x];
    }
    return sum;
}

HD float lips_at(const float* rows, int size, const Blurs& blurs, int x, int y) {
    float sum = 0.0f;
    LOOP for (int tap = 0; tap <= 2 * blurs.reach_px; ++tap) {
        const int beyond = y + tap - blurs.reach_px;
        const int row = beyond < 0 ? -beyond : beyond >= size ? 2 * size - 2 - beyond : beyond;
        sum += (blurs.reach[tap + 1] - blurs.reach[tap]) * rows[row * size + x];
    }
    return sum;
}

// Writes one pixel of a face's two masks, float [size, size] in [0, 1].
HD void draw_masks_pixel(const float* rows, float* mask, float* resting, int size, const Blurs& blurs, int x, int y) {
    const float ramp = within(2.0f * outline_at(rows, size, blurs, x, y) - 1.0f, 0.0f, 1.0f);
    const bool border = x == 0 || y == 0 || x == size - 1 || y == size - 1;
    mask[y * size + x] = border ? 0.0f : ramp * ramp * (3.0f - 2.0f * ramp);
    const float lips = lips_at(rows + size * size, size, blurs, x, y);
    resting[y * size + x] = within(1.0f - 2.0f * lips, 0.0f, 1.0f);
}
