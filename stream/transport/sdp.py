"""Checks an offer before aiortc sees it, and dresses the answer.

aiortc fails on a bad offer with bare assertions and attribute errors; here
each becomes one line that names the field and what to do.
"""

import re

from aiortc import RTCIceCandidate
from aiortc.sdp import SessionDescription, candidate_from_sdp

_REQUIRED = {
    "ice-ufrag": "ICE user fragment",
    "ice-pwd": "ICE password",
    "fingerprint": "DTLS fingerprint",
    "setup": "DTLS role",
}
_MEDIA_LINE = re.compile(r"^m=(\S+) (\d+) ([A-Z/]+) (.+)$")


class OfferError(ValueError):
    """The offer cannot be answered; the message is one line for whoever sent it."""


def check_offer(offer_sdp: str) -> list[str]:
    """Kinds of its media sections that we can answer, in order.

    Raises:
        OfferError: It is no SDP, or lacks what a WebRTC offer must have (RFC 8829, 5.2).
    """
    lines = offer_sdp.splitlines()
    if not lines or lines[0].strip() != "v=0":
        found = lines[0].strip()[:40] if lines else "nothing"
        raise OfferError(f'the offer begins with "{found}", an SDP begins with "v=0". Send the SDP of createOffer()')
    session, sections = _split(lines)
    if not sections:
        raise OfferError('the offer has no "m=" line. Add an audio or a video track before createOffer()')
    for section in sections:
        _check_section(section, session)
    _check_names(_parse(offer_sdp))
    kinds = [section[0][2:].split(" ", 1)[0] for section in sections]
    if not {"audio", "video"} & set(kinds):
        raise OfferError(f"the offer has only {', '.join(kinds)}. Add an audio or a video track before createOffer()")
    return kinds


def _split(lines: list[str]) -> tuple[list[str], list[list[str]]]:
    session: list[str] = []
    sections: list[list[str]] = []
    for line in lines:
        if line.startswith("m="):
            sections.append([line])
        else:
            (sections[-1] if sections else session).append(line)
    return session, sections


def _check_section(section: list[str], session: list[str]) -> None:
    head = section[0].strip()
    if not _MEDIA_LINE.match(head):
        raise OfferError(f'the offer\'s line "{head[:60]}" is not "m=KIND PORT PROTOCOL FORMATS"')
    for attribute, meaning in _REQUIRED.items():
        if not any(line.startswith(f"a={attribute}:") for line in section + session):
            raise OfferError(f'the offer\'s section "{head[:40]}" has no "a={attribute}" ({meaning}). It is incomplete')
    if head.startswith(("m=audio", "m=video")) and not any(line.strip() == "a=rtcp-mux" for line in section):
        raise OfferError(f'the offer\'s section "{head[:40]}" has no "a=rtcp-mux". Use rtcpMuxPolicy "require"')


def _parse(offer_sdp: str) -> SessionDescription:
    """What aiortc will make of it, tried before anything depends on it."""
    try:
        return SessionDescription.parse(offer_sdp)
    except (AssertionError, AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else "a line that contradicts the others"
        raise OfferError(f"the offer is no valid SDP: {reason}. Send the SDP of createOffer() unchanged") from error


def _check_names(description: SessionDescription) -> None:
    """Bundled sections are connected through the first one named: aiortc breaks where that is not one section."""
    mids = [media.rtp.muxId for media in description.media]
    for mid in mids:
        if mids.count(mid) > 1:
            raise OfferError(f'the offer has {mids.count(mid)} sections with "a=mid:{mid}", each needs its own')
    for mid in (item for group in description.group if group.semantic == "BUNDLE" for item in group.items):
        if mid not in mids:
            raise OfferError(f'the offer bundles the section "{mid}", but no section has "a=mid:{mid}"')


def ask_for_bitrate(answer_sdp: str, start_bps: int, min_bps: int) -> str:
    """Let a browser start at `start_bps` instead of at 300 kbit/s, and so at 1280x720 instead of 640x360.

    Chromium reads `x-google-*` from the answer's fmtp lines of the video codecs. Its own maximum by
    resolution (1.7 Mbit/s at 640x480, 2.5 at 1280x720) is left alone: more only costs both sides time.
    """
    rates = {"start": start_bps, "min": min_bps}
    wish = ";".join(f"x-google-{name}-bitrate={rate // 1000}" for name, rate in rates.items())
    session, sections = _split(answer_sdp.splitlines())
    lines = list(session)
    for section in sections:
        lines += _with_wish(section, wish) if section[0].startswith("m=video") else section
    return "\r\n".join(lines) + "\r\n"


def _with_wish(section: list[str], wish: str) -> list[str]:
    described = {line.split()[0][7:] for line in section if line.startswith("a=fmtp:")}
    lines = []
    for line in section:
        if line.startswith("a=fmtp:") and "apt=" not in line:
            line += f";{wish}"
        lines.append(line)
        if line.startswith("a=rtpmap:"):
            payload_type, codec = line[9:].split(" ", 1)
            if payload_type not in described and not codec.lower().startswith("rtx"):
                lines.append(f"a=fmtp:{payload_type} {wish}")
    return lines


def take_out_hidden(offer_sdp: str) -> tuple[str, str]:
    """The offer without its mDNS candidates, and these as a fragment for `parse_candidates`.

    Browsers hide their addresses behind names in ".local" until a camera is allowed. Where nobody
    answers for such a name, asking takes a second, which would delay the answer; the browser's own
    checks find us meanwhile.
    """
    session, sections = _split(offer_sdp.splitlines())
    kept, fragment = list(session), []
    for section in sections:
        hidden = [line for line in section if line.startswith("a=candidate:") and is_hidden(line)]
        if hidden:
            fragment += [section[0], *(line for line in section if line.startswith("a=mid:")), *hidden]
            section = [line for line in section if line not in hidden and not line.startswith("a=end-of-candidates")]
        kept += section
    return "\r\n".join(kept) + "\r\n", "\r\n".join(fragment)


def is_hidden(candidate: str) -> bool:
    """Whether a candidate line, or an address, is a name of mDNS."""
    return any(word.lower().endswith(".local") for word in candidate.split())


def parse_candidates(fragment: str) -> tuple[list[RTCIceCandidate], bool]:
    """Candidates of a trickle-ice-sdpfrag (RFC 8840), or of bare candidate lines, and whether they are the last.

    Raises:
        OfferError: A candidate line is malformed.
    """
    candidates: list[RTCIceCandidate] = []
    mid, index, complete = None, -1, False
    for raw in fragment.splitlines():
        line = raw.strip().removeprefix("a=")
        if line.startswith("m="):
            index, mid = index + 1, None
        elif line.startswith("mid:"):
            mid = line[4:]
        elif line.startswith("end-of-candidates"):
            complete = True
        elif line.startswith("candidate:"):
            candidates.append(_candidate(line[10:], mid, max(index, 0)))
    return candidates, complete


def _candidate(text: str, mid: str | None, index: int) -> RTCIceCandidate:
    try:
        candidate = candidate_from_sdp(text)
    except (AssertionError, ValueError, IndexError) as error:
        raise OfferError(f'the candidate "{text[:60]}" is malformed (RFC 8839, 5.1)') from error
    candidate.sdpMid, candidate.sdpMLineIndex = mid, index
    return candidate
