"""What NVENC, the encoder of NVIDIA's cards, is asked for: names and options of FFmpeg's `h264_nvenc`.

Every name and value here is held against the installed FFmpeg's own list by the tests, which need no card.
"""

ENCODER = "h264_nvenc"

_PIXELS_OF_LEVEL_3_1 = 1280 * 720
_PIXELS_OF_LEVEL_4_2 = 2048 * 1088


def level_of(pixels: int) -> str:
    """The level that such pictures are sent at, as x264's are (ITU-T H.264, table A-1).

    Above level 4.2 NVENC chooses: it refuses one that is too low, where x264 only warns.
    """
    if pixels <= _PIXELS_OF_LEVEL_3_1:
        return "3.1"
    return "4.2" if pixels <= _PIXELS_OF_LEVEL_4_2 else "auto"


def live_options(bitrate_bps: int, pixels: int) -> dict[str, str]:
    """One picture in, one access unit out, decodable by whoever the SDP promised constrained baseline.

    Parameter sets stand before every IDR picture, because the encoder is opened without a global header
    (`nvenc_setup_h264_config` in FFmpeg's `nvenc.c`). A new bitrate is a new encoder, as for the processor's: FFmpeg
    can hand NVENC another rate while it runs, but resets it and forces an IDR picture with it (`reconfig_encoder` in
    the same file), so that nothing would be won.
    """
    return {
        "preset": "p4",
        "tune": "ull",
        "profile": "baseline",
        "level": level_of(pixels),
        "coder": "cavlc",
        "bf": "0",
        # No surface waits for the next one, and none for the one after it.
        "delay": "0",
        "zerolatency": "1",
        "rc-lookahead": "0",
        "no-scenecut": "1",
        # A keyframe that is asked for is one at which a decoder can begin.
        "forced-idr": "1",
        "rc": "cbr",
        "maxrate": str(bitrate_bps),
        # As x264's: no frame takes more than half a second on a path of this rate.
        "bufsize": str(bitrate_bps // 2),
    }


def file_options(quality: float) -> dict[str, str]:
    """A clip at constant quality.

    Args:
        quality: On x264's scale, 0 to 51; NVENC's `cq` has the same ends, not the same steps between them. 0 is
            the finest quantiser, which is nearly lossless, not lossless as x264's.
    """
    rate = {"rc": "vbr", "cq": f"{quality:g}"} if quality else {"rc": "constqp", "qp": "0"}
    return {"preset": "p5", "tune": "hq", "profile": "high", **rate}
