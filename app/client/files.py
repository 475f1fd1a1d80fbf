"""Downloads: answers that go to a file while they come."""

from os import PathLike
from pathlib import Path

from app.client.calls import Calls, Query
from app.client.tables import written_whole
from app.client.transport import Transport
from app.client.types import Download


def download(transport: Transport, path: str, query: Query, file: str | PathLike[str]) -> Download:
    """Write an answer to a file, which appears under its name once it is whole."""
    target = Path(file)
    with transport.stream(path, query, accept="*/*") as answer, written_whole(target) as part:
        for piece in answer.iter_bytes():
            part.write(piece)
    return Download(str(target), "x-truncated" in answer.headers)


class FileCalls(Calls):
    """Calls that can write files."""

    def _download(self, path: str, query: Query, file: str | PathLike[str]) -> Download:
        return download(self._transport, path, query, file)
