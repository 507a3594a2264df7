import pytest

from stream.transport.sdp import OfferError, ask_for_bitrate, check_offer, parse_candidates, take_out_hidden

pytestmark = pytest.mark.unit

HEAD = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0"]
SECURITY = ["a=ice-ufrag:abcd", "a=ice-pwd:0123456789abcdef012345", "a=fingerprint:sha-256 AA:BB", "a=setup:actpass"]
VIDEO = ["m=video 9 UDP/TLS/RTP/SAVPF 96 97 102", "a=mid:0", "a=rtcp-mux", *SECURITY]
ANSWER = [
    *HEAD,
    "m=audio 9 UDP/TLS/RTP/SAVPF 111",
    "a=rtpmap:111 opus/48000/2",
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102",
    "a=rtpmap:96 VP8/90000",
    "a=rtpmap:97 rtx/90000",
    "a=fmtp:97 apt=96",
    "a=rtpmap:102 H264/90000",
    "a=fmtp:102 packetization-mode=1;profile-level-id=42e01f",
]


def lines(*parts: str) -> str:
    return "\r\n".join(parts) + "\r\n"


def test_an_offer_names_its_kinds_in_order() -> None:
    audio = [VIDEO[0].replace("video", "audio"), "a=mid:1", *VIDEO[2:]]
    assert check_offer(lines(*HEAD, *audio, *VIDEO)) == ["audio", "video"]


def test_credentials_may_stand_once_for_the_whole_session() -> None:
    assert check_offer(lines(*HEAD, *SECURITY, *VIDEO[:3])) == ["video"]


@pytest.mark.parametrize(
    ("offer", "names"),
    [
        ("", "nothing"),
        ("hello", "hello"),
        ("{}", "v=0"),
        (lines(*HEAD), "m="),
        (lines(*HEAD, "m=video"), "m=video"),
        (lines(*HEAD, *VIDEO[:3], *SECURITY[1:]), "ice-ufrag"),
        (lines(*HEAD, *VIDEO[:3], *SECURITY[:1], *SECURITY[2:]), "ice-pwd"),
        (lines(*HEAD, *VIDEO[:3], *SECURITY[:2], SECURITY[3]), "fingerprint"),
        (lines(*HEAD, *VIDEO[:3], *SECURITY[:3]), "setup"),
        (lines(*HEAD, *VIDEO[:2], *SECURITY), "rtcp-mux"),
        (lines(*HEAD, "a=group:BUNDLE 7", *VIDEO), "7"),
        (lines(*HEAD, *VIDEO, *VIDEO), "a=mid:0"),
        (lines(*HEAD, *VIDEO, "a=fmtp:96 x=1"), "contradicts"),
        (lines(*HEAD, "m=application 9 UDP/DTLS/SCTP webrtc-datachannel", *SECURITY), "application"),
    ],
)
def test_a_bad_offer_is_refused_in_one_line_that_names_what_is_wrong(offer: str, names: str) -> None:
    with pytest.raises(OfferError) as refused:
        check_offer(offer)
    assert names in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_answer_asks_every_video_codec_for_a_bitrate_and_nothing_else() -> None:
    before = lines(*ANSWER)
    after = ask_for_bitrate(before, 2_500_000, 1_000_000).splitlines()
    wish = "x-google-start-bitrate=2500;x-google-min-bitrate=1000"

    assert f"a=fmtp:96 {wish}" in after
    assert f"a=fmtp:102 packetization-mode=1;profile-level-id=42e01f;{wish}" in after
    assert "a=fmtp:97 apt=96" in after
    assert after.index(f"a=fmtp:96 {wish}") > after.index("a=rtpmap:96 VP8/90000")
    changed = [line for line in after if "x-google" in line]
    assert len(changed) == 2
    assert [line for line in after if line not in changed] == [
        line for line in before.splitlines() if not line.startswith("a=fmtp:102")
    ]


def test_hidden_addresses_are_taken_out_of_an_offer_and_kept_with_their_section() -> None:
    hidden = "a=candidate:1 1 udp 5 8d6a.local 50000 typ host"
    shown = "a=candidate:2 1 udp 4 192.0.2.1 50000 typ host"
    audio = [VIDEO[0].replace("video", "audio"), "a=mid:1", *VIDEO[2:]]
    offer = lines(*HEAD, *VIDEO, shown, hidden, "a=end-of-candidates", *audio, shown)

    rest, fragment = take_out_hidden(offer)

    # The end of the candidates is not yet: the hidden ones are still to come.
    assert rest == lines(*HEAD, *VIDEO, shown, *audio, shown)
    (candidate,), complete = parse_candidates(fragment)
    assert (candidate.ip, candidate.sdpMid, complete) == ("8d6a.local", "0", False)


def test_an_offer_without_hidden_addresses_is_left_as_it_is() -> None:
    offer = lines(*HEAD, *VIDEO, "a=candidate:2 1 udp 4 192.0.2.1 50000 typ host", "a=end-of-candidates")
    assert take_out_hidden(offer) == (offer, "")


CANDIDATE = "candidate:1 1 udp 2130706431 127.0.0.1 50000 typ host"


@pytest.mark.parametrize("fragment", [CANDIDATE, f"a={CANDIDATE}", f"a=mid:0\r\na={CANDIDATE}\r\n"])
def test_candidates_come_bare_or_in_a_fragment(fragment: str) -> None:
    (candidate,), complete = parse_candidates(fragment)
    assert (candidate.ip, candidate.port, complete) == ("127.0.0.1", 50000, False)


def test_a_fragment_says_to_which_section_a_candidate_belongs_and_when_it_was_the_last() -> None:
    fragment = lines(
        "a=ice-ufrag:x", "m=audio 9 RTP/AVP 0", "a=mid:a", f"a={CANDIDATE}", "m=video 9 RTP/AVP 0", "a=mid:b"
    )
    candidates, complete = parse_candidates(fragment + lines(f"a={CANDIDATE}", "a=end-of-candidates"))
    assert [(c.sdpMid, c.sdpMLineIndex) for c in candidates] == [("a", 0), ("b", 1)]
    assert complete


@pytest.mark.parametrize("text", ["candidate:", "candidate:1 1 udp", "candidate:1 x udp 1 127.0.0.1 5 typ host"])
def test_a_malformed_candidate_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(OfferError, match="candidate"):
        parse_candidates(text)
