#!/usr/bin/env python3
"""A soak test of the real binary: cameras that come and go, viewers, garbage at every port; memory is watched.

Needs nothing but Python. With aiortc (pip install aiortc) some viewers are real and count pictures; the others post
offers and never connect, which keeps streams running all the same.
"""

import argparse
import asyncio
import atexit
import http.client
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVER, DOMAIN, PASSWORD = "34020000002000000001", "3402000000", "12345678"
MEDIA_PORTS = (41000, 44999)
# How each fleet of cameras registers and misbehaves, and how it sends media.
FLEETS = [
    ("udp", "", "udp"),
    ("tcp", "", "tcp-passive"),
    ("udp", "loss,disorder", "udp"),
    ("udp", "utf8-as-gb,wrong-sumnum,reversed-pages,other-ssrc", "udp"),
    ("tcp", "utf8", "tcp-active"),
]
# An offer as of a browser; nobody ever proves that it is there, so the gateway drops the viewer after 15 s.
OFFER = "\r\n".join(
    ["v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "m=video 9 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 0.0.0.0"]
    + ["a=ice-ufrag:soak", "a=ice-pwd:012345678901234567890123", "a=fingerprint:sha-256 " + ":".join(["AB"] * 32)]
    + ["a=setup:actpass", "a=mid:0", "a=recvonly", "a=rtcp-mux", "a=rtpmap:96 H264/90000"]
    + ["a=fmtp:96 packetization-mode=1;profile-level-id=42e01f", ""]
)
OFFER_EVERY = 11


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command, log, **settings):
    """Starts a program that ends with this one at the latest."""
    with log.open("ab") as out:
        environment = {**os.environ, "RUST_LOG": "warn", **settings}
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    atexit.register(lambda: process.poll() is None and process.kill())
    return process


class Gateway:
    def __init__(self, binary, folder):
        self.sip, self.http, self.webrtc = free_port(), free_port(), free_port()
        self.log = folder / "gateway.log"
        settings = {
            "SIP__UDP": f"127.0.0.1:{self.sip}",
            "SIP__TCP": f"127.0.0.1:{self.sip}",
            "SIP__PASSWORD": PASSWORD,
            "SIP__KEEPALIVE__INTERVAL": "5s",
            "MEDIA__PORTS": "-".join(map(str, MEDIA_PORTS)),
            "MEDIA__QUARANTINE": "5s",
            "WEBRTC__UDP": f"127.0.0.1:{self.webrtc}",
            "WEBRTC__TCP": f"127.0.0.1:{self.webrtc}",
            "HTTP__LISTEN": f"127.0.0.1:{self.http}",
            "REGISTRY__URL": f"embedded:{folder / 'registry'}",
        }
        settings = {f"GBGATE_{key}": value for key, value in settings.items()}
        self.process = start([binary, "serve"], self.log, **settings)

    def request(self, method, path, body=None, kind="application/sdp", timeout=20):
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=timeout)
        try:
            connection.request(method, path, body, {"Content-Type": kind} if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace"), answer.headers
        finally:
            connection.close()

    def metrics(self):
        text = self.request("GET", "/metrics")[1]
        return {name: float(value) for name, value in re.findall(r"^(gbgate_\S+?(?:\{.*?\})?) (\S+)$", text, re.M)}

    def memory(self):
        """Resident memory, MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Fleet:
    """A process with some cameras, one channel each."""

    def __init__(self, binary, gateway, folder, number, cameras):
        self.transport, self.quirks, self.media = FLEETS[number]
        first = f"3402000000132{number:02}00001"
        channel = f"3402000000131{number:02}00001"
        self.ids = [(str(int(first) + n), str(int(channel) + n)) for n in range(cameras)]
        self.command = [binary, "simulate", "--server", f"127.0.0.1:{gateway.sip}", "--server-id", SERVER]
        self.command += ["--domain", DOMAIN, "--password", PASSWORD, "--devices", str(cameras), "--keepalive", "5"]
        self.command += ["--first-id", first, "--first-channel", channel, "--transport", self.transport]
        self.command += ["--quirks", self.quirks] if self.quirks else []
        self.log = folder / f"fleet-{number}.log"
        self.start()

    def start(self):
        self.process = start(self.command, self.log)

    def kill(self):
        self.process.kill()
        self.process.wait()


class Soak:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.stop = threading.Event()
        self.plays, self.pictures, self.garbage, self.kills = Counter(), 0, 0, 0
        self.lock = threading.Lock()
        self.gateway = Gateway(options.binary, folder)
        self.wait("the gateway", lambda: self.gateway.request("GET", "/readyz")[0] == 200)
        each = -(-options.cameras // len(FLEETS))
        self.fleets = [Fleet(options.binary, self.gateway, folder, n, each) for n in range(len(FLEETS))]
        self.cameras = [ids for fleet in self.fleets for ids in fleet.ids]
        self.channels_known = lambda: len(self.online()) >= len(self.cameras)
        self.wait("all cameras to register", self.channels_known, 60)
        for fleet in self.fleets:
            for device, _ in fleet.ids:
                body = json.dumps({"media_transport": fleet.media})
                status, text, _ = self.gateway.request("PATCH", f"/api/v1/devices/{device}", body, "application/json")
                assert status == 200, f"PATCH of {device}: {status} {text}"

    def wait(self, what, condition, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if condition():
                    return
            except (OSError, http.client.HTTPException):
                pass
            if self.gateway.process.poll() is not None:
                break
            time.sleep(0.2)
        raise SystemExit(f"waited in vain for {what}; the log ends:\n" + self.gateway.log.read_text()[-2000:])

    def online(self):
        text = self.gateway.request("GET", "/api/v1/channels?status=online&limit=1000")[1]
        return json.loads(text)["items"]

    def watch(self, number):
        """Posts an offer for each of its cameras again and again."""
        mine = self.cameras[number :: self.options.watchers]
        while not self.stop.is_set():
            begin = time.monotonic()
            for device, channel in mine:
                try:
                    status, text, headers = self.gateway.request("POST", f"/whep/{device}/{channel}", OFFER)
                    outcome = "watched" if status == 201 else json.loads(text).get("code", str(status))
                    if status == 201 and random.random() < 0.05:
                        self.gateway.request("DELETE", headers["Location"])
                except (OSError, http.client.HTTPException, ValueError) as error:
                    outcome = f"error {type(error).__name__}"
                with self.lock:
                    self.plays[outcome] += 1
                if self.stop.is_set():
                    return
            self.stop.wait(max(0.5, OFFER_EVERY - (time.monotonic() - begin)))

    def look(self):
        """Real viewers, one after the other."""
        import aiortc
        from aiortc.contrib.media import MediaStreamError

        async def view():
            device, channel = random.choice(self.cameras)
            peer = aiortc.RTCPeerConnection()
            arrived = asyncio.Queue()
            peer.on("track", arrived.put_nowait)
            peer.addTransceiver("video", direction="recvonly")
            try:
                await peer.setLocalDescription(await peer.createOffer())
                post = asyncio.to_thread(
                    self.gateway.request, "POST", f"/whep/{device}/{channel}", peer.localDescription.sdp
                )
                status, text, _ = await post
                if status != 201:
                    return await asyncio.sleep(1)
                await peer.setRemoteDescription(aiortc.RTCSessionDescription(text, "answer"))
                track = await asyncio.wait_for(arrived.get(), 5)
                end = time.monotonic() + random.uniform(5, 20)
                while time.monotonic() < end and not self.stop.is_set():
                    await asyncio.wait_for(track.recv(), 10)
                    self.pictures += 1
            except (MediaStreamError, asyncio.TimeoutError, OSError, http.client.HTTPException, ConnectionError):
                pass
            finally:
                await peer.close()

        async def views():
            while not self.stop.is_set():
                await view()

        async def all_views():
            await asyncio.gather(*(views() for _ in range(self.options.viewers)))

        asyncio.run(all_views())

    def disturb(self):
        """Garbage at every port: noise, and well-formed input with some bytes changed."""
        seeds = [path.read_bytes() for path in (ROOT / "fuzz/seeds").glob("*") if path.suffix != ".py"]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stranger.bind(("127.0.0.2", 0))
        slow = []
        while not self.stop.wait(0.02):
            data = bytearray(random.choice(seeds) if random.random() < 0.7 else os.urandom(random.randrange(1, 1400)))
            for _ in range(random.randrange(6)):
                if data:
                    data[random.randrange(len(data))] = random.randrange(256)
            self.garbage += 1
            gateway = self.gateway
            try:
                match random.randrange(6):
                    case 0 | 1:
                        udp.sendto(data, ("127.0.0.1", random.choice([gateway.sip, gateway.webrtc])))
                    case 2 | 3:
                        sender = random.choice([udp, stranger])
                        sender.sendto(data, ("127.0.0.1", random.randrange(*MEDIA_PORTS, 2)))
                    case 4:
                        port = random.choice([gateway.sip, gateway.http, gateway.webrtc])
                        with socket.create_connection(("127.0.0.1", port), 1) as stream:
                            stream.sendall(bytes(data) * random.randrange(1, 40))
                    case _:
                        # Connections that send a byte now and then.
                        if len(slow) < 20:
                            slow.append(socket.create_connection(("127.0.0.1", random.choice([gateway.sip, gateway.http]))))
                        else:
                            slow[random.randrange(len(slow))].sendall(data[:1])
            except OSError:
                slow = [stream for stream in slow if stream.fileno() >= 0][1:]

    def come_and_go(self):
        """Kills a fleet now and then, and starts it again; none in the last part, so that all are back at the end."""
        seconds = self.options.seconds
        pause = max(8, min(60, seconds / 6))
        while not self.stop.wait(pause):
            if time.monotonic() > self.begin + seconds - 25:
                return
            fleet = random.choice(self.fleets)
            fleet.kill()
            self.kills += 1
            self.stop.wait(random.uniform(1, 4))
            fleet.start()

    def sample(self):
        values = self.gateway.metrics()
        total = lambda name: sum(value for key, value in values.items() if key.split("{")[0] == name)
        return {
            "RSS, MiB": round(self.gateway.memory(), 1),
            "open files": self.gateway.open_files(),
            "registrations": int(total("gbgate_registrations")),
            "streams": int(total("gbgate_streams")),
            "viewers": int(total("gbgate_viewers")),
            "RTP packets": int(total("gbgate_rtp_packets_total")),
            "RTP lost": int(total("gbgate_rtp_lost_total")),
        }

    def run(self):
        self.begin = time.monotonic()
        work = [lambda n=n: self.watch(n) for n in range(self.options.watchers)] + [self.disturb, self.come_and_go]
        try:
            import aiortc  # noqa: F401
        except ImportError:
            self.options.viewers = 0
        if self.options.viewers:
            work.append(self.look)
        threads = [threading.Thread(target=each, daemon=True) for each in work]
        for thread in threads:
            thread.start()
        samples = []
        while (passed := time.monotonic() - self.begin) < self.options.seconds:
            if self.gateway.process.poll() is not None:
                break
            samples.append((passed / self.options.seconds, self.sample()))
            time.sleep(min(2, self.options.seconds / 60))
        faults = self.judge(samples)
        values = self.gateway.metrics() if self.gateway.process.poll() is None else {}
        self.stop.set()
        for thread in threads:
            thread.join(25)
        faults += self.end()
        self.tell(samples, values)
        return faults

    def around(self, samples, point):
        """The sample at this part of the time, its memory the median of its neighbours."""
        near = [sample for at, sample in samples if abs(at - point) < 0.04] or [samples[-1][1]]
        return {**near[-1], "RSS, MiB": round(statistics.median(sample["RSS, MiB"] for sample in near), 1)}

    def judge(self, samples):
        faults = []
        if self.gateway.process.poll() is not None:
            return [f"the gateway ended with {self.gateway.process.returncode}"]
        middle, last = self.around(samples, 0.5), self.around(samples, 1.0)
        growth = last["RSS, MiB"] - middle["RSS, MiB"]
        bound = max(self.options.growth, middle["RSS, MiB"] * 0.1)
        if growth > bound:
            faults.append(f"memory grew by {growth:.1f} MiB in the second half; the bound is {bound:.1f}")
        self.growth = f"{growth:+.1f} MiB in the second half, the bound is {bound:.1f} (the larger of {self.options.growth} MiB and 10 %)"
        if self.gateway.request("GET", "/healthz")[0] != 200:
            faults.append("/healthz does not say 200")
        if last["registrations"] < len(self.cameras):
            faults.append(f"{last['registrations']} of {len(self.cameras)} cameras are registered at the end")
        if last["streams"] < len(self.cameras) * 0.8:
            faults.append(f"only {last['streams']} streams run at the end")
        return faults

    def end(self):
        """Everything ends when it is told to."""
        faults = []
        for fleet in self.fleets:
            fleet.kill()
        if self.gateway.process.poll() is None:
            self.gateway.process.send_signal(signal.SIGTERM)
            try:
                if code := self.gateway.process.wait(20):
                    faults.append(f"the gateway ended with {code} after SIGTERM")
            except subprocess.TimeoutExpired:
                self.gateway.process.kill()
                faults.append("the gateway did not end within 20 s after SIGTERM")
        log = self.gateway.log.read_text(errors="replace")
        faults += [f"in the log: {line}" for line in log.splitlines() if "panicked" in line][:5]
        return faults

    def tell(self, samples, values):
        rows = [self.around(samples, point) for point in (0.1, 0.5, 1.0)]
        print(f"\n{'':32}{'10 %':>12}{'50 %':>12}{'100 %':>12}")
        for name in rows[0]:
            print(f"{name:32}" + "".join(f"{row[name]:>12}" for row in rows))
        print(f"\nmemory: {getattr(self, 'growth', 'not judged')}")
        print(f"fleets killed and started again: {self.kills}; garbage sent: {self.garbage}")
        viewers = f"{self.options.viewers}, {self.pictures} pictures" if self.options.viewers else "none (no aiortc)"
        print(f"real viewers: {viewers}")
        print("plays: " + ", ".join(f"{outcome} {count}" for outcome, count in self.plays.most_common()))
        print("\ndropped, by reason")
        for name, value in sorted(values.items()):
            if "dropped" in name or "errors" in name or "failures" in name:
                print(f"  {name:70}{int(value):>10}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=float, nargs="?", default=600)
    parser.add_argument("--binary", default=str(ROOT / "target/release/gbgate"))
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--watchers", type=int, default=32, help="threads that post offers")
    parser.add_argument("--viewers", type=int, default=4, help="real viewers at once, where aiortc is installed")
    parser.add_argument("--growth", type=float, default=16, help="MiB that memory may grow in the second half")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gbgate-soak-", ignore_cleanup_errors=True) as folder:
        print(f"soak: {options.cameras} cameras for {options.seconds:.0f} s")
        faults = Soak(options, Path(folder)).run()
        if faults:
            kept = Path(tempfile.mkdtemp(prefix="gbgate-soak-logs-"))
            for log in Path(folder).glob("*.log"):
                log.rename(kept / log.name)
            print("\nFAILED\n" + "\n".join(f"  {fault}" for fault in faults) + f"\nlogs: {kept}")
        else:
            print("\npassed")
        return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
