// `kernels.mel`: sound to mel columns. First what every bin of a column's spectrum holds, then the bands.
#pragma once

#include "portable.cuh"

constexpr int MEL_FRAME = 800, MEL_HOP = 200, MEL_BINS = 401, MEL_BANDS = 80;
// One thread adds up a bin of so many columns: what it looks up of the turns serves them all.
constexpr int MEL_TOGETHER = 4;
constexpr float MEL_PRE_EMPHASIS = 0.97f;
// 20 log10 of an amplitude, less 20 dB, from -100 dB to 0 dB scaled to -4..4.
constexpr float MEL_SCALE = 1.6f, MEL_OFFSET = 2.4f, MEL_MIN_AMPLITUDE = 1e-5f, MEL_MAX_ABS = 4.0f;

// A session's part of a launch. The layout is repeated in `kernels/cuda/mel_jobs.py`; a test compares the sizes.
struct MelJob {
    const float* samples;  // as they were heard; column k looks at 800 of them from 200 k on
    float* columns;        // [ring, 80]: column k is the one at (next + k) mod ring, its bands side by side
    int known;             // samples that there are; behind them the pre-emphasised sound is 0
    int count;             // columns, at most as many as the launch has room for; 0 for none
    int next, ring;
};

// Cosine and sine of a multiple of 1/800 of a turn.
struct alignas(8) Turn {
    float cosine, sine;
};

struct Band {
    int first, count, weights;  // bins, and where their weights begin
};

// Amplitudes of one bin in `MEL_TOGETHER` columns from `first` on, to spectrum [columns, 401] of this session.
//
// The window is symmetric, so two samples share a turn, and 0 at its first sample: that one needs no sample before it.
HD void mel_amplitudes(
    const MelJob& job, const Turn* turns, const float* window, float* spectrum, int first, int bin
) {
    float real[MEL_TOGETHER], imaginary[MEL_TOGETHER], early[MEL_TOGETHER], late[MEL_TOGETHER];
    for (int each = 0; each < MEL_TOGETHER; ++each) {
        const int start = (first + each) * MEL_HOP, middle = start + MEL_FRAME / 2;
        real[each] = imaginary[each] = 0.0f;
        early[each] = start < job.known ? job.samples[start] : 0.0f;
        late[each] = start + MEL_FRAME - 1 < job.known ? job.samples[start + MEL_FRAME - 1] : 0.0f;
        // The sample in the middle is half a turn per bin away, and the window is 1 there.
        if (middle < job.known)
            real[each] = (bin & 1 ? -1.0f : 1.0f) *
                         (job.samples[middle] - MEL_PRE_EMPHASIS * job.samples[middle - 1]);
    }
    int turned = 0;
    LOOP for (int n = 1; n < MEL_FRAME / 2; ++n) {
        turned += bin;
        if (turned >= MEL_FRAME) turned -= MEL_FRAME;
        const Turn turn = turns[turned];
        const float weight = window[n];
        for (int each = 0; each < MEL_TOGETHER; ++each) {
            // Samples n and 800 - n of the frame, and those before them; the nearer ones were read the last time.
            const int up = (first + each) * MEL_HOP + n, down = (first + each) * MEL_HOP + MEL_FRAME - n;
            const float rising = up < job.known ? job.samples[up] : 0.0f;
            const float falling = down - 1 < job.known ? job.samples[down - 1] : 0.0f;
            const float one = up < job.known ? weight * (rising - MEL_PRE_EMPHASIS * early[each]) : 0.0f;
            const float other = down < job.known ? weight * (late[each] - MEL_PRE_EMPHASIS * falling) : 0.0f;
            real[each] += (one + other) * turn.cosine;
            imaginary[each] += (one - other) * turn.sine;
            early[each] = rising;
            late[each] = falling;
        }
    }
    for (int each = 0; each < MEL_TOGETHER && first + each < job.count; ++each)
        spectrum[(first + each) * MEL_BINS + bin] = sqrtf(real[each] * real[each] + imaginary[each] * imaginary[each]);
}

// One band of one column.
HD void mel_band(
    const MelJob& job, const Band* bands, const float* weights, const float* spectrum, int column, int band
) {
    const Band of = bands[band];
    const float* amplitudes = spectrum + column * MEL_BINS + of.first;
    float sum = 0.0f;
    LOOP for (int bin = 0; bin < of.count; ++bin) sum += weights[of.weights + bin] * amplitudes[bin];
    const float level = MEL_SCALE * log10f(sum > MEL_MIN_AMPLITUDE ? sum : MEL_MIN_AMPLITUDE) + MEL_OFFSET;
    job.columns[(job.next + column) % job.ring * MEL_BANDS + band] = clamped(level, -MEL_MAX_ABS, MEL_MAX_ABS);
}
