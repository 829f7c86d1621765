"""A web server on this machine that can misbehave as real ones do, for the tests of downloads."""

import http.server
import re
import threading
from types import TracebackType


class Server:
    """Serves `files` by name below `url`; `log` holds (path, Range header) of each request.

    Parameters
    ----------
    knows_ranges : bool
        Whether a request for a part gets the part.
    cut_after : int or None
        Close the connection after that many bytes of an answer, `cuts` times.
    """

    def __init__(self, files: dict[str, bytes], knows_ranges: bool = True, cut_after: int | None = None) -> None:
        self.files, self.knows_ranges, self.cut_after, self.cuts = files, knows_ranges, cut_after, 1
        self.log: list[tuple[str, str | None]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Send a file, part of it, or an error."""
        asked = request.headers.get("Range")
        self.log.append((request.path, asked))
        data = self.files.get(request.path.lstrip("/"))
        if data is None:
            request.send_error(404)
            return
        found = re.fullmatch(r"bytes=(\d+)-", asked or "") if self.knows_ranges else None
        start = int(found[1]) if found else 0
        if found and start >= len(data):
            request.send_error(416)
            return
        request.send_response(206 if found else 200)
        if found:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        body = data[start:]
        if self.cut_after is not None and self.cuts > 0:
            self.cuts -= 1
            body = body[: self.cut_after]
        request.wfile.write(body)

    def __enter__(self) -> "Server":
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
