"""Tells from an RTP payload whether a keyframe starts in it, and from a whole access unit whether it is one."""

# NAL unit types, ITU-T H.264 table 7-1 and RFC 6184 table 1.
_SLICE, _IDR, _SPS, _STAP_A, _FU_A = 1, 5, 7, 24, 28
_START = b"\0\0\1"


def starts_keyframe(codec: str, payload: bytes) -> bool:
    """Whether `payload` is the first packet of a keyframe.

    Args:
        codec: "VP8" or "H264", as in the SDP's rtpmap.
        payload: The RTP payload, descriptor included.
    """
    try:
        return _vp8(payload) if codec.upper() == "VP8" else _h264(payload)
    except IndexError:
        return False


def is_keyframe(codec: str, data: bytes) -> bool:
    """Whether a decoder can begin with this access unit.

    Args:
        codec: "VP8" or "H264", as in the SDP's rtpmap.
        data: A VP8 frame (RFC 6386, 9.1: the lowest bit is clear), or H.264 with start codes (Annex B).
    """
    if codec.upper() == "VP8":
        return bool(data) and not data[0] & 0x01
    at = data.find(_START)
    while 0 <= at < len(data) - len(_START):
        kind = data[at + len(_START)] & 0x1F
        if kind in (_SLICE, _IDR):
            return kind == _IDR
        at = data.find(_START, at + len(_START))
    return False


def _vp8(payload: bytes) -> bool:
    """RFC 7741, 4.2 and 4.3: start of partition 0, inverse key frame flag clear."""
    first = payload[0]
    if not first & 0x10 or first & 0x07:
        return False
    at = 1
    if first & 0x80:
        extensions = payload[1]
        at = 2
        if extensions & 0x80:
            at += 2 if payload[at] & 0x80 else 1
        at += bool(extensions & 0x40) + bool(extensions & 0x30)
    return not payload[at] & 0x01


def _h264(payload: bytes) -> bool:
    """RFC 6184, 5.4: parameter sets or an IDR picture, alone, aggregated or fragmented."""
    kind = payload[0] & 0x1F
    if kind == _STAP_A:
        # The parameter sets come first where a keyframe is aggregated.
        return payload[3] & 0x1F in (_SPS, _IDR)
    if kind == _FU_A:
        return bool(payload[1] & 0x80) and payload[1] & 0x1F == _IDR
    return kind in (_SPS, _IDR)
