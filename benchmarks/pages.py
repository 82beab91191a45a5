"""A server that answers every listing with canned pages: what is measured is the client, not how a server finds its keys."""

from __future__ import annotations

import socket
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

ENTRY = (
    "<Contents><Key>listed/{0:09d}.json</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>{0}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bench</Name>'
    "<Prefix>listed/</Prefix><KeyCount>1000</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>{}</IsTruncated>{}"
)


def page(number: int, count: int) -> bytes:
    """One answer of a thousand keys, with its HTTP head."""
    is_last = number + 1 == count
    more = (
        ""
        if is_last
        else f"<NextContinuationToken>{number + 1}</NextContinuationToken><NextMarker>{number + 1}</NextMarker>"
    )
    entries = "".join(ENTRY.format(number * 1000 + at) for at in range(1000))
    body = (HEAD.format("false" if is_last else "true", more) + entries + "</ListBucketResult>").encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def serve(count: int, told: Any) -> None:
    """Serve ``count`` pages for good; the port is sent to ``told``. Those beyond the first thousand are made as they are asked for."""
    pages = [page(number, count) for number in range(min(count, 1000))]
    listener = socket.create_server(("127.0.0.1", 0))
    told.send(listener.getsockname()[1])

    def answer(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        incoming = connection.makefile("rb")
        while line := incoming.readline():
            while incoming.readline() not in (b"\r\n", b""):
                pass
            asked = parse_qs(urlsplit(line.split()[1].decode()).query)
            token = (asked.get("continuation-token") or asked.get("marker") or ["0"])[0]
            at = int(token) if token.isdigit() else int(token.partition("/")[2][:9] or 0) // 1000 + 1
            connection.sendall(pages[at] if at < len(pages) else page(at, count))

    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()
