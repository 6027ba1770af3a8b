"""A store under an S3 prefix: conditional puts decide who wins.

A put whose answer was lost is repeated by layers below us (aiohttp does so in silence on a connection that it kept),
and then the first attempt looks like somebody else's object. So each conditional put carries a write id, and a refusal
is believed only after that id was read back. Waiting and repeating are otherwise done here, in `_request`, alone.

Nothing here caches a listing, and no client crosses a fork.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from datasets.store_urls import Keys, check_key, check_prefix
from datasets.traffic import count_bytes_read
from quantbot.errors import AccessError, FullError, NotFoundError, OutageError, StoreError

if TYPE_CHECKING:
    from datasets.store_zarr import ZarrStore

# How long a request is repeated, in seconds: a store that answers "later" usually recovers, and so does one that can't
# be reached but answered before. One that never did is usually a wrong address, and a person waits for the message.
_OUTAGE_SECONDS = 60.0
_UNREACHABLE_SECONDS = 8.0
_CONNECT_SECONDS = 4
_READ_SECONDS = 15  # without a byte; a body that comes slower than `_SLOWEST` bytes a second is given up too
_SLOWEST = 128 * 1024
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0

_WRITE_ID = "write-id"


class S3Store:
    """The store under `prefix` in `bucket`; endpoint and credentials come from each process's environment."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self._bucket = bucket
        self._prefix = prefix

    @property
    def url(self) -> str:
        """The prefix as an `s3://` URL."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object unless `key` exists; return whether this call wrote it."""
        write_id = uuid.uuid4().hex
        answer = self._call(
            "put_object", key, Body=bytes(data), IfNoneMatch="*", Metadata={_WRITE_ID: write_id}, refused_is_none=True
        )
        if answer is not None:
            return True
        try:
            return bool(self._call("head_object", key)["Metadata"].get(_WRITE_ID) == write_id)
        except NotFoundError:
            return False  # there was one, and somebody has deleted it since

    def put(self, key: str, data: bytes) -> None:
        """Write or replace an object, atomically."""
        self._call("put_object", key, Body=bytes(data))

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return an object's bytes `[start, start + length)`, cut at its end."""
        if length == 0:
            self.size(key)
            return b""
        if start == 0 and length is None:
            return count_bytes_read(bytes(self._call("get_object", key)["Body"]))
        last = "" if length is None else start + length - 1
        answer = self._call("get_object", key, Range=f"bytes={start}-{last}", beyond_is_none=True)
        return b"" if answer is None else count_bytes_read(bytes(answer["Body"]))

    def exists(self, key: str) -> bool:
        """Return whether there is an object under `key`."""
        try:
            self.size(key)
        except NotFoundError:
            return False
        return True

    def size(self, key: str) -> int:
        """Return an object's length in bytes."""
        return int(self._call("head_object", key)["ContentLength"])

    def list(self, prefix: str = "") -> Keys:
        """Return, sorted, every key that starts with `prefix`."""
        cut = len(self._prefix) + 1 if self._prefix else 0
        pages = self._pages(prefix)
        return sorted(item["Key"][cut:] for page in pages for item in page.get("Contents", ()))

    def folders(self, prefix: str = "") -> Keys:
        """Return, sorted, the names directly under the folder `prefix` that have keys below them."""
        folder = prefix if not prefix or prefix.endswith("/") else prefix + "/"
        pages = self._pages(folder, Delimiter="/")
        return sorted(
            item["Prefix"].rstrip("/").rpartition("/")[2] for p in pages for item in p.get("CommonPrefixes", ())
        )

    def delete(self, key: str) -> None:
        """Remove an object; one that isn't there is no error."""
        self._call("delete_object", key)

    def modified_ns(self, key: str) -> int:
        """Return when the object was written, by the server's clock, in whole seconds."""
        written = self._call("head_object", key)["LastModified"]
        return int(written.timestamp()) * 1_000_000_000

    def now_ns(self) -> int:
        """Return the server's clock, in whole seconds."""
        answer = self._request("list_objects_v2", "", Prefix=self._absolute(""), MaxKeys=1)
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        if date is None:
            raise StoreError(f"the server behind {self.url} sends no Date header, so its clock can't be read")
        return int(parsedate_to_datetime(date).timestamp()) * 1_000_000_000

    def free_bytes(self) -> int | None:
        """Return None: a bucket has no end that one can ask for."""
        return None

    def temporaries(self, before_ns: int) -> Keys:
        """Return nothing: an object is put in one request, which leaves nothing half written."""
        return []

    def discard_temporary(self, name: str) -> None:
        """Do nothing: there are none."""

    def child(self, prefix: str) -> S3Store:
        """Return the store under the folder `prefix` of this one."""
        below = prefix.strip("/")
        return S3Store(self._bucket, f"{self._prefix}/{check_key(below)}".strip("/")) if below else self

    def zarr(self, prefix: str = "", read_only: bool = False) -> ZarrStore:
        """Return the folder `prefix` as a store that zarr and xarray take."""
        from datasets.store_zarr import ZarrStore

        return ZarrStore(self.child(prefix), read_only=read_only)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3Store) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __repr__(self) -> str:
        return f"S3Store({self.url!r})"

    def __reduce__(self) -> tuple[type[S3Store], tuple[str, str]]:
        return type(self), (self._bucket, self._prefix)

    def _absolute(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _call(self, method: str, key: str, **arguments: Any) -> Any:
        return self._request(method, key, Key=self._absolute(check_key(key)), **arguments)

    def _pages(self, prefix: str, **arguments: Any) -> Iterator[Any]:
        more: dict[str, Any] = {}
        check_prefix(prefix)
        while True:
            page = self._request("list_objects_v2", prefix, Prefix=self._absolute(prefix), **arguments, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _request(
        self, method: str, key: str, *, refused_is_none: bool = False, beyond_is_none: bool = False, **arguments: Any
    ) -> Any:
        """Send one request, repeating it while that can help.

        Returns None where a flag allows it: for a conditional put that was refused, for a range beyond the end.
        """
        client = _client()
        began = time.monotonic()
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = client.call(method, Bucket=self._bucket, **arguments)
                client.answered = True
                return answer
            except Exception as error:
                fault = _fault(error)
                client.answered |= fault.kind not in ("unreachable", "lost", "no credentials")
                if (fault.kind == "refused" and refused_is_none) or (fault.kind == "beyond" and beyond_is_none):
                    return None
                away = _OUTAGE_SECONDS if client.answered else _UNREACHABLE_SECONDS
                patience = {"later": _OUTAGE_SECONDS, "lost": _OUTAGE_SECONDS, "unreachable": away}
                if time.monotonic() - began + pause > patience.get(fault.kind, 0.0):
                    raise self._error(fault, method, key, client.endpoint) from error
                # Full jitter: a hundred workers that met one outage don't come back at one moment.
                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _error(self, fault: _Fault, method: str, key: str, endpoint: str) -> Exception:
        action = f"{method} {self.url}/{key}"
        if fault.kind == "missing" and method not in ("list_objects_v2", "put_object"):
            return NotFoundError(f"no object {key!r} in {self.url}")
        if fault.kind in ("no bucket", "missing"):
            return StoreError(f"there is no bucket {self._bucket!r} at {endpoint}; make it, or check the name")
        if fault.kind == "denied":
            return AccessError(
                f"access denied ({fault.code}): {action} at {endpoint}. Check AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY, and that they may do this; the role also needs s3:ListBucket on the prefix, "
                f"or a missing object can't be told from a forbidden one"
            )
        if fault.kind == "no credentials":
            return AccessError(
                f"no S3 credentials for {self.url}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and "
                f"AWS_ENDPOINT_URL_S3 for a server that is not Amazon's), or use the platform's files"
            )
        if fault.kind == "unreachable":
            return OutageError(f"{endpoint} can't be reached ({fault.code}): {action}. Is AWS_ENDPOINT_URL_S3 right?")
        if fault.kind == "full":
            return FullError(f"{endpoint} has no space left ({fault.code}): {action}; free some space")
        kind = OutageError if fault.kind in ("later", "lost") else StoreError
        return kind(f"{endpoint} failed ({fault.code}): {action}")


@dataclass(frozen=True)
class _Fault:
    """Why a request failed, as far as we act on it."""

    kind: str
    code: str


_BY_STATUS = {
    403: "denied",
    401: "denied",
    404: "missing",
    412: "refused",
    416: "beyond",
    409: "later",
    429: "later",
    507: "full",
}
_BY_CODE = {
    "NoSuchBucket": "no bucket",
    "AccessDenied": "denied",
    "ExpiredToken": "denied",
    "InvalidToken": "denied",
    "InvalidAccessKeyId": "denied",
    "RequestTimeout": "later",
    "SlowDown": "later",
    "InvalidRange": "beyond",
    "PreconditionFailed": "refused",
    "QuotaExceeded": "full",
    "XMinioStorageFull": "full",
    "InsufficientStorage": "full",
}


def _fault(error: BaseException) -> _Fault:
    """Say what `error`, from botocore, aiohttp or s3fs's translation of them, means."""
    import aiohttp
    from botocore import exceptions as boto

    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    if isinstance(response, Mapping):
        code = str(response.get("Error", {}).get("Code", ""))
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or ("later" if status >= 500 else "failed")
        return _Fault(kind, " ".join(dict.fromkeys([str(status), code])))
    name = type(error).__name__
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return _Fault("no credentials", name)
    if isinstance(error, (boto.ConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError)):
        return _Fault("unreachable", name)
    # A body that contradicts the server's own checksum was changed on its way.
    changed = (boto.IncompleteReadError, boto.FlexibleChecksumError)
    lost = (boto.HTTPClientError, boto.ResponseStreamingError, aiohttp.ClientError, *changed)
    if isinstance(error, (*lost, TimeoutError, asyncio.TimeoutError, ConnectionError)):
        return _Fault("lost", name)
    if isinstance(error, (boto.BotoCoreError, OSError, ValueError)):
        return _Fault("failed", f"{name}: {error}" if isinstance(error, boto.BotoCoreError) else name)
    raise error


class _Client:
    """The connection of one process to one endpoint."""

    def __init__(self) -> None:
        import s3fs

        self.answered = False  # whether there ever was a server at this address

        config: dict[str, Any] = {
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _READ_SECONDS,
            "max_pool_connections": 32,
            "retries": {"total_max_attempts": 1},
        }
        if os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
            # Only Amazon resolves bucket.host: other servers are spoken to by path.
            config["s3"] = {"addressing_style": "path"}
        self._fs = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False, config_kwargs=config)
        self._fs.retries = 1

    @property
    def endpoint(self) -> str:
        """The address that requests go to, for messages."""
        client = getattr(self._fs, "_s3", None)
        found = client.meta.endpoint_url if client is not None else os.environ.get("AWS_ENDPOINT_URL_S3", "S3")
        # An endpoint with a password in it must not reach a message.
        scheme, separator, rest = str(found).rpartition("://")
        return scheme + separator + rest.rpartition("@")[2]

    def call(self, method: str, **arguments: Any) -> Any:
        """Send one request once; a body is read to its end and its length checked."""
        from fsspec.asyn import sync

        return sync(self._fs.loop, partial(self._send, method, arguments), timeout=_OUTAGE_SECONDS * 5)

    async def _send(self, method: str, arguments: dict[str, Any]) -> Any:
        async with asyncio.timeout(_CONNECT_SECONDS + _READ_SECONDS + len(arguments.get("Body", b"")) / _SLOWEST):
            answer = await self._fs._call_s3(method, **arguments)
        if method != "get_object":
            return answer
        async with asyncio.timeout(_READ_SECONDS + answer["ContentLength"] / _SLOWEST), answer["Body"] as stream:
            body = await stream.read()
        if len(body) != answer["ContentLength"]:
            raise ConnectionError(f"{len(body)} of {answer['ContentLength']} bytes came")
        return {**answer, "Body": body}


_CLIENTS: dict[tuple[int, str], _Client] = {}


def _client() -> _Client:
    """Return this process's client for the environment as it is now."""
    settings = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
    key = (os.getpid(), hashlib.sha256(repr(settings).encode()).hexdigest())
    if key not in _CLIENTS:
        _CLIENTS[key] = _Client()
    return _CLIENTS[key]
