"""Static files with Cache-Control."""

import re

from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

# vendor/plotly-3.1.0.min.js or vendor/plotly@3.1.0/…: the name changes with the content.
_VERSIONED = re.compile(r"vendor/.*\d+\.\d+")
IMMUTABLE = "public, max-age=31536000, immutable"


class CachedStatic(StaticFiles):
    """Static files: versioned URLs are immutable, others are revalidated by ETag."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file with its Cache-Control."""
        response = await super().get_response(path, scope)
        has_version = bool(QueryParams(scope["query_string"]).get("v"))
        if response.status_code < 400 and (has_version or _VERSIONED.match(path)):
            response.headers["Cache-Control"] = IMMUTABLE
        return response
