"""A real HTTP server over a folder, which answers Range requests and can be told to misbehave."""

import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Faults:
    """Each is a function of (path, number of the request for it, answer) -> what is done instead, or None."""

    def __init__(self):
        self.ranges = True
        self.cut = lambda path, number: False  # the link is cut after half of the answer
        self.status = lambda path, number: None
        self.change = lambda path, number, start, data: data  # other bytes
        self.bytes_per_second = None
        self.asked = []  # (path, first byte, bytes) of each answer
        self.counts = Counter()


@contextmanager
def serve(folder):
    """(address, faults) of a server that lives as long as the context."""
    faults, folder = Faults(), Path(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            path = folder / self.path.lstrip("/")
            faults.counts[path.name] += 1
            number = faults.counts[path.name]
            status = faults.status(path.name, number)
            if status or not path.is_file():
                self.send_response(status or 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data, start, status = path.read_bytes(), 0, 200
            if faults.ranges and (asked := self.headers.get("Range")):
                first, last = asked.removeprefix("bytes=").split("-")
                start, data, status = int(first), data[int(first) : int(last) + 1], 206
            data = faults.change(path.name, number, start, data)
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if not body:
                return
            faults.asked.append((path.name, start, len(data)))
            if faults.cut(path.name, number):
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                self.connection.close()
                self.close_connection = True
                return
            step = max(1, (faults.bytes_per_second or 20 * len(data)) // 20)
            for at in range(0, len(data), step):
                self.wfile.write(data[at : at + step])
                if faults.bytes_per_second:
                    time.sleep(0.05)

        def handle(self):
            with suppress(OSError, ValueError):  # the reader went away, or a link that was cut on purpose
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", faults
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
