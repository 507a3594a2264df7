"""What can be set about one peer, and what it reports about itself."""

from dataclasses import dataclass, field
from typing import Literal

from stream.stages import StageFigures

VideoCodec = Literal["auto", "h264", "vp8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfig:
    """Settings of one peer.

    Attributes:
        video_codec: "auto" takes H.264 where the other side has it, else VP8.
        start_bitrate_bps: Of both directions; 0 chooses by resolution for what we send
            and asks for enough for 1280x720 of what we receive.
        min_bitrate_bps: Never encode below this, nor let the sender be told so.
        max_bitrate_bps: Never encode above this.
        max_lateness_ms: A picture later than this is dropped; sound never is.
        egress_frames: Pictures that may wait for their time to leave.
        include_loopback: Offer 127.0.0.1 too, for tests and for machines without a network.
        ice_servers: STUN and TURN addresses; none by default, so that nobody else is asked.
        connect_timeout_s: A peer that is not connected by then is closed.
        silence_timeout_s: A peer that answers no ICE check for so long is gone (RFC 7675); it is
            noticed up to 0.9 s later.
    """

    video_codec: VideoCodec = "auto"
    start_bitrate_bps: int = 0
    min_bitrate_bps: int = 300_000
    max_bitrate_bps: int = 6_000_000
    max_lateness_ms: float = 100.0
    egress_frames: int = 48
    include_loopback: bool = False
    ice_servers: tuple[str, ...] = ()
    connect_timeout_s: float = 15.0
    silence_timeout_s: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.video_codec not in ("auto", "h264", "vp8"):
            raise ValueError(f'video_codec is "{self.video_codec}", it must be auto, h264 or vp8')
        if not 0 < self.min_bitrate_bps <= self.max_bitrate_bps:
            raise ValueError(
                f"min_bitrate_bps is {self.min_bitrate_bps} and max_bitrate_bps {self.max_bitrate_bps}, "
                "the first must be above 0 and not above the second"
            )


@dataclass(frozen=True, slots=True)
class Spread:
    """A signed quantity over its last samples, in milliseconds."""

    count: int = 0
    now_ms: float = 0.0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStats:
    """Counts since the start and percentiles of the last samples.

    Attributes:
        connection: "new", "connecting", "connected" or "closed".
        video_codec: What the negotiation gave, "" before it.
        decoder: FFmpeg's name of the decoder that runs, "" before the first picture; the card's say NVDEC.
        encoder: FFmpeg's name of the encoder that runs, "" before the first picture.
        codec_fallbacks: How often a codec of the card has failed and the processor's went on.
        from_card: Pictures that were encoded on the card that decoded them, without having crossed the bus for it.
        received: Pictures that came whole.
        decoded: Pictures that the decoder gave out.
        dropped: Pictures decoded and never read, or skipped before the decoder.
        sent: Pictures that left.
        late: Pictures dropped because they were later than `max_lateness_ms`.
        replaced: Pictures dropped at the exit because a newer one was there already.
        chunks_received: Chunks of sound, concealed ones included.
        chunks_sent: Chunks of sound that left.
        concealed_ms: Sound made up for lost packets.
        packets_lost: Missing packets, by kind, before repair.
        packets_repaired: Video packets that a NACK brought.
        nacks_sent: Requests for packets.
        keyframes_asked: Keyframes we asked for.
        keyframes_sent: Keyframes we encoded.
        jitter_depth: Packets held in the jitter buffers, by kind.
        aligned_by: What puts the picture on the sound's clock.
        lateness: Send time minus `epoch_ns + pts_ns + delay_ns`, by kind.
        av_offset: Lateness of the sound minus lateness of the picture, as they leave;
            positive = sound late. The viewer aligns both by our sender reports.
        bitrate_bps: What the video encoder is set to.
        round_trip_ms: From receiver reports; 0 before the first.
        stages: "decode_wait" (a picture's last packet to the start of its decoding), "decode",
            "encode", "send" (its first to its last packet), "audio_decode", "audio_encode".
    """

    connection: str
    video_codec: str
    received: int
    decoded: int
    dropped: int
    sent: int
    late: int
    replaced: int
    chunks_received: int
    chunks_sent: int
    concealed_ms: float
    packets_lost: dict[str, int]
    packets_repaired: int
    nacks_sent: int
    keyframes_asked: int
    keyframes_sent: int
    jitter_depth: dict[str, int]
    aligned_by: str
    lateness: dict[str, Spread]
    av_offset: Spread
    bitrate_bps: int
    round_trip_ms: float
    decoder: str = ""
    encoder: str = ""
    codec_fallbacks: int = 0
    from_card: int = 0
    stages: dict[str, StageFigures] = field(default_factory=dict)
