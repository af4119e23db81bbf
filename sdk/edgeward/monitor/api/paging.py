"""Pages of long answers: `limit` and `offset`, or `before` where rows only ever come to the front."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query, Request, Response

MOST = 1000

Limit = Annotated[int, Query(ge=1, le=MOST, description="At most so many")]
Offset = Annotated[int, Query(ge=0, le=10_000_000, description="Leave out so many at the start")]
Before = Annotated[int | None, Query(description="Only those before this id: the last one of the page before")]


def tell(request: Request, response: Response, total: int, limit: int, offset: int) -> None:
    """Say how many there are in all, and where the next page is (RFC 8288)."""
    response.headers["X-Total-Count"] = str(total)
    if offset + limit < total:
        query = urlencode({**request.query_params, "limit": limit, "offset": offset + limit})
        response.headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
