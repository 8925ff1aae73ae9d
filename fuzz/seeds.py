#!/usr/bin/env python3
"""Writes fuzz/seeds: small, well-formed inputs made for this purpose, from which fuzzing starts.

They are committed; run this again only to change them. Every fuzz function is given all of them.
"""

import struct
from pathlib import Path

HERE = Path(__file__).parent
SEEDS = HERE / "seeds"
PLATFORM, DOMAIN = "34020000002000000001", "3402000000"
DEVICE, CHANNEL = "34020000001180000001", "34020000001310000001"
SSRC = 100000001


def sip(start, headers, body=b"", kind=None):
    lines = [start, *headers]
    if kind:
        lines.append(f"Content-Type: {kind}")
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def headers(method, number, sender=DEVICE, receiver=PLATFORM, tag=None):
    to = f"<sip:{receiver}@{DOMAIN}>" + (f";tag={tag}" if tag else "")
    return [
        f"Via: SIP/2.0/UDP 192.0.2.20:5060;rport;branch=z9hG4bK{number}",
        f"From: <sip:{sender}@{DOMAIN}>;tag={number}7",
        f"To: {to}",
        f"Call-ID: {number}@192.0.2.20",
        f"CSeq: {number} {method}",
        "Max-Forwards: 70",
    ]


def message(number, text, charset, declared=None):
    body = f'<?xml version="1.0" encoding="{declared or charset}"?>\r\n{text}'.replace("\n", "\r\n").encode(charset)
    head = headers("MESSAGE", number)
    return sip(f"MESSAGE sip:{PLATFORM}@{DOMAIN} SIP/2.0", head, body, "Application/MANSCDP+xml"), body


CATALOG = f"""<Response>
<CmdType>Catalog</CmdType>
<SN>1</SN>
<DeviceID>{DEVICE}</DeviceID>
<SumNum>2</SumNum>
<DeviceList Num="2">
<Item><DeviceID>{CHANNEL}</DeviceID><Name>村口 &amp; 北门</Name><Manufacturer>自制</Manufacturer><Owner>o</Owner>
<CivilCode>340200</CivilCode><Address>路</Address><Parental>0</Parental><ParentID>{DEVICE}</ParentID><SafetyWay>0</SafetyWay>
<RegisterWay>1</RegisterWay><Secrecy>0</Secrecy><Status>ON</Status><Longitude>117.25</Longitude><Latitude>31.8</Latitude>
<Info><PTZType>1</PTZType><Resolution>6/4</Resolution></Info></Item>
<Item><DeviceID>34020000002160000001</DeviceID><Name>组</Name><ParentID>{PLATFORM}/{DEVICE}</ParentID>
<BusinessGroupID>34020000002150000001</BusinessGroupID><Status>OFF</Status><Event>ADD</Event></Item>
</DeviceList>
</Response>
"""
NOTIFIES = {
    "keepalive": f"<Notify><CmdType>Keepalive</CmdType><SN>43</SN><DeviceID>{DEVICE}</DeviceID><Status>OK</Status>"
    f"<Info><DeviceID>{CHANNEL}</DeviceID></Info></Notify>",
    "alarm": f"<Notify><CmdType>Alarm</CmdType><SN>44</SN><DeviceID>{CHANNEL}</DeviceID><AlarmPriority>1</AlarmPriority>"
    "<AlarmMethod>5</AlarmMethod><AlarmTime>2024-05-01T08:00:00</AlarmTime><Info><AlarmType>2</AlarmType></Info></Notify>",
    "media-status": f"<Notify><CmdType>MediaStatus</CmdType><SN>45</SN><DeviceID>{CHANNEL}</DeviceID>"
    "<NotifyType>121</NotifyType></Notify>",
    "device-info": f"<Response><CmdType>DeviceInfo</CmdType><SN>2</SN><DeviceID>{DEVICE}</DeviceID><Result>OK</Result>"
    "<DeviceName>名</DeviceName><Manufacturer>m</Manufacturer><Model>x</Model><Firmware>1</Firmware><Channel>8</Channel></Response>",
}
OFFER = f"""v=0
o={CHANNEL} 0 0 IN IP4 192.0.2.1
s=Play
u={CHANNEL}:0
c=IN IP4 192.0.2.1
t=0 0
m=video 30000 TCP/RTP/AVP 96 98 97
a=recvonly
a=setup:passive
a=connection:new
a=rtpmap:96 PS/90000
a=rtpmap:98 H264/90000
a=rtpmap:97 MPEG4/90000
a=streamnumber:0
y=0{SSRC}
f=v/2/6/25/1/2048a/1/8/1
""".replace("\n", "\r\n").encode()
ANSWER = (
    OFFER.replace(b"recvonly", b"sendonly")
    .replace(b"passive", b"active")
    .replace(b"192.0.2.1\r", b"192.0.2.20\r")
    .replace(b" 96 98 97", b" 96")
)
WHEP = """v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=msid-semantic: WMS
m=video 9 UDP/TLS/RTP/SAVPF 96 97 98
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:abcd
a=ice-pwd:0123456789abcdef01234567
a=ice-options:trickle
a=fingerprint:sha-256 """ + ":".join(["AB"] * 32) + """
a=setup:actpass
a=mid:0
a=recvonly
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:96 H264/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtcp-fb:96 ccm fir
a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:98 VP8/90000
m=audio 9 UDP/TLS/RTP/SAVPF 111 8 0
c=IN IP4 0.0.0.0
a=mid:1
a=recvonly
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
"""
DIGEST = (
    f'Digest username="{DEVICE}",realm="{DOMAIN}",nonce="a1b2c3",uri="sip:{PLATFORM}@{DOMAIN}",'
    'response="0123456789abcdef0123456789abcdef",algorithm=MD5,qop=auth,nc=00000001,cnonce="xyz"'
)
CHALLENGE = f'Digest realm="{DOMAIN}",nonce="a\\"1",opaque="o",stale=true,algorithm=MD5,qop="auth,auth-int"'
CONFIG = """platform: { id: "34020000002000000001", name: 平安村, time_zone: "+08:00" }
sip:
  udp: 127.0.0.1:5060
  tcp: [127.0.0.1:5060, "[::1]:5060"]
  password: "12345678"
  advertise: [{ for: 10.0.0.0/8, address: 10.1.2.3 }, 203.0.113.5]
  keepalive: { interval: 1h30m, misses: 3 }
media: { ports: 30000-30999, default_transport: tcp-passive, dscp: 34 }
http: { listen: 127.0.0.1:8080, cors_origins: ["*"] }
registry: { url: "embedded:data" }
"""


def crc(data):
    """CRC-32/MPEG-2."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 1 << 31 else 0)) & 0xFFFFFFFF
    return struct.pack(">I", value)


def time(prefix, ticks):
    field = prefix << 36 | (ticks >> 30 & 7) << 33 | 1 << 32 | (ticks >> 15 & 0x7FFF) << 17 | 1 << 16
    return (field | (ticks & 0x7FFF) << 1 | 1).to_bytes(5, "big")


def pes(stream, ticks, payload):
    head = b"\x84\x80\x05" + time(2, ticks)
    return b"\x00\x00\x01" + bytes([stream]) + struct.pack(">H", len(head) + len(payload)) + head + payload


def pack(ticks, tables=False):
    clock = 1 << 46 | (ticks >> 30 & 7) << 43 | 1 << 42 | (ticks >> 15 & 0x7FFF) << 27 | 1 << 26 | (ticks & 0x7FFF) << 11
    data = b"\x00\x00\x01\xBA" + (clock | 1 << 10 | 1).to_bytes(6, "big") + b"\x03\x0D\x43\xF8"
    if tables:
        data += bytes.fromhex("000001bb000c 8186a1 04 217f e0e0e8 c0c020")
        entries = bytes.fromhex("1be00000 90c00000")
        map_ = b"\x00\x00\x01\xBC" + struct.pack(">H", 10 + len(entries)) + b"\xE1\xFF\x00\x00"
        map_ += struct.pack(">H", len(entries)) + entries
        data += map_ + crc(map_)
    return data


def rtp(sequence, ticks, payload, marker=False, ssrc=SSRC):
    return struct.pack(">BBHII", 0x80, (128 if marker else 0) | 96, sequence & 0xFFFF, ticks, ssrc) + payload


def in_packets(ps, ticks, sequence, size):
    pieces = [ps[at : at + size] for at in range(0, len(ps), size)]
    return [rtp(sequence + n, ticks, piece, n + 1 == len(pieces)) for n, piece in enumerate(pieces)]


def framed(packets, interleaved=False):
    prefix = b"$\x00" if interleaved else b""
    return b"".join(prefix + struct.pack(">H", len(packet)) + packet for packet in packets)


def sized(packets):
    """As the fuzz functions that read datagrams have them: a byte of time, a byte of length, the datagram."""
    return b"".join(bytes([20, len(packet)]) + packet for packet in packets)


def answer(root: str, command: str, inside: str) -> str:
    """A body of MANSCDP about the channel."""
    return (
        f'<?xml version="1.0" encoding="GB2312"?>\r\n<{root}><CmdType>{command}</CmdType><SN>21</SN>'
        f"<DeviceID>{CHANNEL}</DeviceID>{inside}</{root}>"
    )


ANSWERS = {
    "records": answer(
        "Response",
        "RecordInfo",
        f"<Name>Gate</Name><SumNum>1</SumNum><RecordList Num=\"1\"><Item><DeviceID>{CHANNEL}</DeviceID><Name>Gate</Name>"
        "<FilePath>rec/1</FilePath><StartTime>2024-05-01T08:00:00</StartTime><EndTime>2024-05-01T08:30:00</EndTime>"
        "<Secrecy>0</Secrecy><Type>time</Type><FileSize>1048576</FileSize></Item></RecordList>",
    ),
    "record-query": answer(
        "Query", "RecordInfo", "<StartTime>2024-05-01T08:00:00</StartTime><EndTime>2024-05-01T09:00:00</EndTime><Type>all</Type>"
    ),
    "presets": answer(
        "Response", "PresetQuery", '<PresetList Num="1"><Item><PresetID>1</PresetID><PresetName>door</PresetName></Item></PresetList>'
    ),
    "configuration": answer(
        "Response",
        "ConfigDownload",
        "<Result>OK</Result><BasicParam><Name>Gate</Name><Expiration>86400</Expiration><HeartBeatInterval>60</HeartBeatInterval>"
        "<HeartBeatCount>3</HeartBeatCount></BasicParam><PictureMask><On>1</On><SumNum>1</SumNum><RegionList Num=\"1\"><Item>"
        "<Seq>1</Seq><Point>20,30,50,60</Point></Item></RegionList></PictureMask><FrameMirror>3</FrameMirror>",
    ),
    "cards": answer(
        "Response",
        "SDCardStatus",
        '<SumNum>1</SumNum><SDCardStatusInfo Num="1"><Item><ID>1</ID><HddName>card1</HddName><Status>formatting</Status>'
        "<FormatProgress>40</FormatProgress><Capacity>61000</Capacity><FreeSpace>12000</FreeSpace></Item></SDCardStatusInfo>",
    ),
    "position": answer(
        "Notify",
        "MobilePosition",
        f'<Time>2024-05-01T08:00:05</Time><SumNum>1</SumNum><DeviceList Num="1"><Item><DeviceID>{CHANNEL}</DeviceID>'
        "<CaptureTime>2024-05-01T08:00:04</CaptureTime><Longitude>117.1</Longitude><Latitude>31.8</Latitude></Item></DeviceList>",
    ),
    "control": answer(
        "Control", "DeviceControl", "<PTZCmd>A50F01810005003B</PTZCmd><PTZCmdParams><PresetName>door</PresetName></PTZCmdParams>"
    ),
    "zoom": answer(
        "Control",
        "DeviceControl",
        "<DragZoomIn><Length>1920</Length><Width>1080</Width><MidPointX>960</MidPointX><MidPointY>540</MidPointY>"
        "<LengthX>300</LengthX><LengthY>200</LengthY></DragZoomIn>",
    ),
}


def main():
    clip = (HERE / "../src/simulator/clip/village.h264").read_bytes()
    nals = [nal.rstrip(b"\x00") for nal in clip[:40_000].split(b"\x00\x00\x01")[1:]]
    first = {kind: next(nal for nal in nals if nal[0] & 31 == kind) for kind in (7, 8, 5, 1)}
    key = b"".join(b"\x00\x00\x00\x01" + first[kind][:600] for kind in (7, 8, 5))
    slice_ = b"\x00\x00\x00\x01" + first[1][:200]
    sps265 = bytes.fromhex("42010101600000030090000003000003005da00280802d16595926")
    key265 = b"".join(b"\x00\x00\x01" + nal for nal in (b"\x40\x01\x0c\x01\xff", sps265, b"\x44\x01\xc1", b"\x26\x01" + bytes(60)))
    ps_key = pack(0, True) + pes(0xE0, 9000, key) + pes(0xC0, 9000, b"\xD5" * 320)
    ps_next = pack(3600) + pes(0xE0, 12600, slice_)
    packets = in_packets(ps_key, 9000, 65534, 200) + in_packets(ps_next, 12600, 65534 + 6, 200)
    report = struct.pack(">IBBHIIII", SSRC, 1, 0, 1, 65534, 3, 0x1234, 90)
    sr = struct.pack(">BBHIIIIII", 0x81, 200, 12, SSRC, 3_900_000_000, 0, 9000, 7, 1400) + report
    rr = struct.pack(">BBHI", 0x81, 201, 7, 1) + report
    sdes = struct.pack(">BBHIBB", 0x81, 202, 3, SSRC, 1, 2) + b"ab\x00\x00"
    pli = struct.pack(">BBHII", 0x81, 206, 2, 1, SSRC)
    fir = struct.pack(">BBHIIII", 0x84, 206, 4, 1, 0, SSRC, 0x01000000)
    nack = struct.pack(">BBHIIHH", 0x81, 205, 3, 1, SSRC, 65534, 0b101)
    bye = struct.pack(">BBHI", 0x81, 203, 1, SSRC)

    gb2312, gb_body = message(41, CATALOG, "gb2312")
    utf8, _ = message(42, CATALOG, "utf-8", "GB2312")
    register = headers("REGISTER", 1, receiver=DEVICE)
    register += [f"Contact: <sip:{DEVICE}@192.0.2.20:5060>", "Expires: 3600", "X-GB-Ver: 2.0"]
    start = f"REGISTER sip:{PLATFORM}@{DOMAIN} SIP/2.0"
    to_device = {"sender": PLATFORM, "receiver": CHANNEL}
    invite = headers("INVITE", 20, **to_device)
    invite += [f"Contact: <sip:{PLATFORM}@192.0.2.1:5060>", f"Subject: {CHANNEL}:0{SSRC},{PLATFORM}:0"]
    in_dialog = {**to_device, "tag": "88"}
    accepted = [*headers("INVITE", 20, **in_dialog), f"Contact: <sip:{CHANNEL}@192.0.2.20:5060>"]
    files = {
        "register.sip": sip(start, register),
        "register-digest.sip": sip(start, [*register, f"Authorization: {DIGEST}"]),
        "unauthorized.sip": sip(
            "SIP/2.0 401 Unauthorized", [*headers("REGISTER", 1, receiver=DEVICE, tag="9"), f"WWW-Authenticate: {CHALLENGE}"]
        ),
        "catalog-gb2312.sip": gb2312,
        "catalog-utf8-as-gb2312.sip": utf8,
        "catalog.xml": gb_body,
        "invite.sip": sip(f"INVITE sip:{CHANNEL}@192.0.2.20:5060 SIP/2.0", invite, OFFER, "application/sdp"),
        "invite-200.sip": sip("SIP/2.0 200 OK", accepted, ANSWER, "application/sdp"),
        "ok.sip": sip("SIP/2.0 200 OK", headers("MESSAGE", 3, **in_dialog)),
        "busy.sip": sip("SIP/2.0 486 Busy Here", headers("INVITE", 20, **in_dialog)),
        "bye.sip": sip(f"BYE sip:{PLATFORM}@192.0.2.1:5060 SIP/2.0", headers("BYE", 21, tag="88")),
        "compact.sip": (
            f"\r\n\r\nOPTIONS sip:{PLATFORM}@{DOMAIN} SIP/2.0\nv: SIP/2.0/TCP 192.0.2.20\nf: <sip:a@b>;tag=1\nt:\n <sip:c@d>\n"
            "i: 7\nCSeq : 7 OPTIONS\nl: 0\n\n"
        ).encode(),
        "offer.sdp": OFFER,
        "answer.sdp": ANSWER,
        "whep.sdp": WHEP.replace("\n", "\r\n").encode(),
        "authorization.txt": DIGEST.encode(),
        "challenge.txt": CHALLENGE.encode(),
        "ptz.txt": b"A50F01021F2000F6",
        "words.txt": f"{CHANNEL}:0{SSRC},{PLATFORM}:0\n2024-05-01T08:00:00.000\nWed, 01 May 2024 00:00:00 GMT\n+08:00".encode(),
        "config.yaml": CONFIG.encode(),
        "key-frame.h264": key,
        "key-frame.h265": key265,
        "key-frame.ps": b"\xC8" + ps_key,
        "pictures.ps": b"\x40" + ps_key + ps_next + pack(7200, True) + pes(0xE0, 16200, key),
        "packets.rtp": sized(packets),
        "packets-out-of-order.rtp": sized([packets[n] for n in (0, 2, 1, 1, 5, 3, 4)] + packets[6:]),
        "padded.rtp": sized([b"\xB1\x60\x00\x01" + bytes(8) + bytes(4) + b"\xBE\xDE\x00\x01" + bytes(4) + b"abc\x00\x00\x00\x04"]),
        "reports.rtcp": sr + sdes + bye,
        "feedback.rtcp": rr + pli + fir + nack,
        "rfc4571.tcp": b"\x09" + framed(packets[:4] + [sr]),
        "interleaved.tcp": b"\x64" + framed(packets[:4], True),
        "broken.tcp": b"\x40" + framed(packets[:2]) + framed(packets[2:3])[:90] + framed(packets[3:8]),
    }
    files["play.mansrtsp"] = b"PLAY RTSP/1.0\r\nCSeq: 4\r\nScale: 2.0\r\nRange: npt=100-\r\n\r\n"
    files["played.mansrtsp"] = (
        b"RTSP/1.0 200 OK\r\nCSeq: 4\r\nRange: npt=100-\r\nRTP-Info: seq=4711;rtptime=9000000\r\n\r\n"
    )
    datagrams = [files["register.sip"], *packets]
    capture = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    for number, datagram in enumerate(datagrams):
        udp = struct.pack(">HHHH", 15060, 30000, len(datagram) + 8, 0) + datagram
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, len(udp) + 20, 0, 0, 64, 17, 0, b"\xC0\x00\x02\x14", b"\xC0\x00\x02\x0A")
        capture += struct.pack("<IIII", 1_700_000_000, number * 40_000, len(ip + udp), len(ip + udp)) + ip + udp
    files["capture.pcap"] = capture
    for name, text in ANSWERS.items():
        files[f"{name}.xml"] = text.encode()
    for name, text in NOTIFIES.items():
        files[f"{name}.sip"], _ = message(50 + len(name), text, "gb2312")
    for old in SEEDS.glob("*"):
        # What fuzzing found is kept.
        if not old.name.startswith("found-"):
            old.unlink()
    for name, data in files.items():
        (SEEDS / name).write_bytes(data)


if __name__ == "__main__":
    main()
