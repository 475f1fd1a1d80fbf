"""Downloads: responses that are streamed to a file."""

from os import PathLike
from pathlib import Path

from app.client.calls import Calls, Query
from app.client.tables import open_atomic
from app.client.transport import Transport
from app.client.types import Download


def download(transport: Transport, path: str, query: Query, file: str | PathLike[str]) -> Download:
    """Stream a response to a file, which appears when it is complete."""
    target = Path(file)
    with transport.stream(path, query, accept="*/*") as response, open_atomic(target) as part:
        for chunk in response.iter_bytes():
            part.write(chunk)
    return Download(str(target), "x-truncated" in response.headers)


class FileCalls(Calls):
    """Calls that can write files."""

    def _download(self, path: str, query: Query, file: str | PathLike[str]) -> Download:
        return download(self._transport, path, query, file)
