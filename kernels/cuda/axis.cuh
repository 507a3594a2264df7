// How `kernels.frame_tensor` resamples: each axis by itself, over blocks and their neighbours where it shrinks.
#pragma once

#include "warp.cuh"

// Result i lies at scale i + offset of the source; whole numbers are the centres of samples. The source is averaged over
// `block` of its samples, neighbouring blocks weighing `beside`. Between samples: a cubic curve, or a straight line.
struct Axis {
    float scale, offset;
    int block;
    float beside;
    int cubic;
};

// OpenCV's cubic curve, a = -3/4, at distances up to 1 and from 1 to 2.
HD float cubic_inner(float x) { return (1.25f * x - 2.25f) * x * x + 1.0f; }
HD float cubic_outer(float x) { return ((-0.75f * x + 3.75f) * x - 6.0f) * x + 3.0f; }

// Four neighbours of `at` along an axis of `count` of them. An axis that is cubic does not shrink.
HD Taps taps_along(const Axis& axis, int result, int count) {
    const float scale = 1.0f / static_cast<float>(axis.block);
    const float at = (axis.scale * result + axis.offset + 0.5f) * scale - 0.5f;
    if (!axis.cubic) return taps(at, axis.beside, count);
    const float low = floorf(clamped(at, -2.0f, count + 1.0f));
    const float far = clamped(at - low, 0.0f, 1.0f), near = 1.0f - far;
    return {
        cubic_outer(1.0f + far), cubic_inner(far), cubic_inner(near), cubic_outer(1.0f + near),
        static_cast<int>(low) - 1
    };
}

// Taps at the ends that weigh nothing.
HD int margin_of(const Axis& axis) { return axis.cubic || axis.beside != 0.0f ? 0 : 1; }
