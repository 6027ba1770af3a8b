"""Where a store may be: the one parser of store URLs, and the rules for keys.

Whatever reaches a store's URL may come from a spec or a web form, so only two kinds of place exist: a folder and an
S3 prefix. Endpoints and credentials come from the environment, never from a URL.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from quantbot.errors import InputError

ACCEPTED = "a folder (/data/store or file:///data/store) or an S3 prefix (s3://bucket/prefix)"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY = re.compile(r"[A-Za-z0-9._=-]+(/[A-Za-z0-9._=-]+)*")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# S3 allows 1,024 bytes for prefix and key together, a file system 255 for one name.
_MAX_KEY_BYTES = 900
_MAX_NAME_BYTES = 250

# `list` is a store's method, so inside a store's class the builtin has this name.
Keys = list[str]

# Half-written files of a `FileStore` live in folders of this name; no key may.
TEMPORARY = ".tmp"


@dataclass(frozen=True)
class StoreUrl:
    """A parsed store URL.

    Attributes
    ----------
    bucket
        Empty for a folder.
    path
        The absolute folder, or the prefix inside the bucket without slashes at its ends (may be empty).
    """

    kind: Literal["file", "s3"]
    path: str
    bucket: str = ""

    def __str__(self) -> str:
        if self.kind == "file":
            return Path(self.path).as_uri()
        return f"s3://{self.bucket}/{self.path}".rstrip("/")


def parse_store_url(url: str | Path) -> StoreUrl:
    """Return what `url` names, or raise `InputError` saying which places are accepted.

    Parameters
    ----------
    url
        A folder as a plain path or a `file://` URL, or `s3://bucket/prefix`. Refused: every other scheme, chained
        URLs ("::"), user names, passwords and query strings, "..", control characters, an empty bucket.

    Examples
    --------
    >>> parse_store_url("s3://research/quantbot/")
    StoreUrl(kind='s3', path='quantbot', bucket='research')
    >>> str(parse_store_url("/data/store"))
    'file:///data/store'
    """
    text = os.fspath(url)
    if not text.strip():
        raise InputError(f"a store's URL is empty; accepted are {ACCEPTED}")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise _refused(text, "it has control characters")
    if "::" in text:
        raise _refused(text, 'chained URLs ("::") are not accepted')
    if ".." in re.split(r"[/\\]", unquote(text)):
        raise _refused(text, 'it has a ".." segment; write the place out')
    scheme = _SCHEME.match(text)
    if scheme is None:
        return StoreUrl("file", _folder(text))
    rest = text[scheme.end() :]
    if "?" in rest or "#" in rest:
        raise _refused(text, "query strings and fragments are not accepted; settings come from the environment")
    if scheme.group() == "file://":
        return StoreUrl("file", _file_url(text, rest))
    if scheme.group() == "s3://":
        return _s3_url(text, rest)
    raise _refused(text, f"{scheme.group()} is not accepted")


def check_key(key: str) -> str:
    """Return `key`, or raise `InputError`: letters, digits and "._=-" in segments joined by "/"."""
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise InputError(f"a key is letters, digits and ._=- in segments joined by /, was {key!r:.200}")
    if len(key) > _MAX_KEY_BYTES:
        raise InputError(f"a key has at most {_MAX_KEY_BYTES} bytes, this one has {len(key)}: {key:.60}...")
    for segment in key.split("/"):
        if segment in (".", "..", TEMPORARY):
            raise InputError(f"a key has no segment {segment!r}, was {key!r:.200}")
        if len(segment) > _MAX_NAME_BYTES:
            raise InputError(f"a segment of a key has at most {_MAX_NAME_BYTES} bytes, this one has {len(segment)}")
    return key


def check_prefix(prefix: str) -> str:
    """Return `prefix`, the start of a key, which may be empty or end with "/", or raise `InputError`."""
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix


def _folder(text: str) -> str:
    folder = os.path.abspath(os.path.expanduser(text))
    if folder == "/":
        raise _refused(text, "the root of the file system is no store")
    return folder


def _file_url(text: str, rest: str) -> str:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise _refused(text, "a file URL has three slashes and an absolute path (file:///data/store)")
    path = unquote(path)
    if "\0" in path or not path.strip("/"):
        raise _refused(text, "a file URL needs an absolute path (file:///data/store)")
    return _folder("/" + path)


def _s3_url(text: str, rest: str) -> StoreUrl:
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket or ":" in bucket:
        raise _refused(text, "user names, passwords and ports are not accepted; credentials come from the environment")
    if not _BUCKET.fullmatch(bucket):
        raise _refused(text, "a bucket has 3 to 63 of a-z, 0-9, dot and dash")
    prefix = prefix.strip("/")
    if prefix:
        try:
            check_key(prefix)
        except InputError:
            raise _refused(text, "a prefix is letters, digits and ._=- in segments joined by /") from None
    return StoreUrl("s3", prefix, bucket)


def _refused(text: str, reason: str) -> InputError:
    """Return the error; what may hold a credential is not repeated."""
    scheme = _SCHEME.match(text)
    shown = f"{scheme.group()}..." if scheme else repr(text[:200])
    if scheme is None and re.search(r"[@?]|::", text):
        shown = "this text"
    return InputError(f"{shown} is no place for a store: {reason}. Accepted are {ACCEPTED}")
