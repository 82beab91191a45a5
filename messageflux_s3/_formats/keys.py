"""Bucket names and keys: validation, quoting for URLs, S3 URIs, globs, and the mapping of keys to file paths.

Keys are opaque. The library never normalises one: ``a//b``, ``/lead``, ``.`` and ``a/../b`` are four ordinary keys.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from ..errors import S3InvalidName

BUCKET_NAME_VALIDATOR = re.compile(r"^[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]\Z")
"""Pattern of a valid bucket name; messageflux's message stores call its ``.match``."""

MAX_KEY_BYTES = 1024

_OLD_BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_IP_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")


def check_bucket_name(name: str) -> str:
    """Return the name if it is a valid bucket name; raise S3InvalidName (or TypeError) otherwise."""
    if not isinstance(name, str):
        raise TypeError(f"bucket_name must be text, not {type(name).__name__}")
    if not BUCKET_NAME_VALIDATOR.match(name) or ".." in name or _IP_ADDRESS.fullmatch(name):
        shown = _without_query(name)
        raise S3InvalidName(
            f"{shown!r} is not a bucket name: a name has 3 to 63 lower-case letters, digits, '-' and single '.', "
            "begins and ends with a letter or digit, and is not an IP address",
            bucket=shown,
        )
    return name


def check_existing_bucket_name(name: str) -> str:
    """Return the name if an existing bucket may have it; raise S3InvalidName (or TypeError) otherwise.

    Buckets created before today's rules may have capitals, underscores or up to 255 characters. Such names are accepted where a server
    or an event gives them; boto3 can address these buckets.
    """
    return name if isinstance(name, str) and _OLD_BUCKET_NAME.fullmatch(name) else check_bucket_name(name)


def check_key(key: str, *, bucket: str | None = None) -> str:
    """Return the key if it is valid in S3; raise S3InvalidName (or TypeError) otherwise."""
    if not isinstance(key, str):
        raise TypeError(f"key must be text, not {type(key).__name__}")
    if not key:
        raise S3InvalidName("key is empty; an object's key has at least one character", bucket=bucket, key=key)
    try:
        size = len(key.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise S3InvalidName(f"key {key!r} cannot be written as UTF-8: {error.reason}", bucket=bucket, key=key) from None
    if size > MAX_KEY_BYTES:
        raise S3InvalidName(
            f"key takes {size} bytes in UTF-8; S3 allows at most {MAX_KEY_BYTES}: {key[:40]!r}…",
            bucket=bucket,
            key=key,
        )
    return key


def _without_query(text: str) -> str:
    """Return the text without a URL's query, for error messages: a presigned URL passed by mistake has its signature there."""
    start, mark, _ = text.partition("?")
    return f"{start}?…" if mark and "://" in start else text


def quote_key(key: str) -> str:
    """Quote a key for a URL's path as Signature Version 4 requires: everything but letters, digits and ``-._~/``."""
    return quote(key, safe="-._~/")


def parse_uri(uri: str) -> tuple[str, str]:
    """Split ``s3://bucket/key`` into bucket and key. Nothing is unquoted: the key is everything after the first slash.

    Raises:
        S3InvalidName: This is not an S3 URI, or its bucket or key is missing or invalid.
    """
    if not isinstance(uri, str):
        raise TypeError(f"uri must be text like 's3://bucket/key', not {type(uri).__name__}")
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not key:
        raise S3InvalidName(f"{_without_query(uri)!r} is not of the form 's3://bucket/key'")
    return check_bucket_name(bucket), check_key(key, bucket=bucket)


def glob_to_pattern(glob: str) -> tuple[str, re.Pattern[str]]:
    """Compile a glob into a literal prefix and a pattern for the whole key.

    ``*`` and ``?`` stop at ``/``; ``**`` does not, and ``**/`` also matches no folder at all. ``[abc]`` and ``[!abc]`` work as
    in the shell; ``[*]`` is a literal star.

    Args:
        glob: The glob, for the whole key.

    Returns:
        The part before the first wildcard (a prefix to list with), and the pattern.

    Example:
        >>> from messageflux_s3._formats.keys import glob_to_pattern
        >>> stem, pattern = glob_to_pattern("2026/**/*.json")
        >>> stem, bool(pattern.fullmatch("2026/11/a.json")), bool(pattern.fullmatch("2026/a.json"))
        ('2026/', True, True)
    """
    if not isinstance(glob, str):
        raise TypeError(f"glob must be text, not {type(glob).__name__}")
    if not glob:
        raise ValueError("glob is empty; '**' matches every key")
    wildcard = re.search(r"[*?\[]", glob)
    stem = glob[: wildcard.start()] if wildcard else glob
    parts: list[str] = []
    at = 0
    while at < len(glob):
        if glob.startswith("**/", at) and (at == 0 or glob[at - 1] == "/"):
            parts.append("(?:.*/)?")
            at += 3
        elif glob.startswith("**", at):
            parts.append(".*")
            at += 2
        elif glob[at] == "*":
            parts.append("[^/]*")
            at += 1
        elif glob[at] == "?":
            parts.append("[^/]")
            at += 1
        elif glob[at] == "[" and (end := glob.find("]", at + 2 + glob.startswith("[!", at))) != -1:
            body = glob[at + 1 : end]
            negated = body.startswith("!")
            escaped = re.sub(r"([\\\]\[^&~|])", r"\\\1", body[1:] if negated else body)
            parts.append(f"(?!/)[{'^' if negated else ''}{escaped}]")
            at = end + 1
        else:
            parts.append(re.escape(glob[at]))
            at += 1
    try:
        pattern = re.compile("".join(parts), re.DOTALL)
    except re.error as error:
        raise ValueError(f"glob {glob!r} is not valid: {error}") from None
    return stem, pattern


# -- keys as files ------------------------------------------------------------------------------------------------------------------

MAX_FILE_NAME_BYTES = 255
OUR_OWN_FILES = (".mfs3-partial", ".mfs3-journal")
"""Suffixes of a download's partial file and of its journal. No key is mapped to a path that ends in one of them."""

_ESCAPE = re.compile(r"%([0-9A-F]{2})")
_WINDOWS_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?=[ .]|$)")
_FORBIDDEN = "\0/%"
_FORBIDDEN_ON_WINDOWS = _FORBIDDEN + '\\:*?"<>|' + "".join(map(chr, range(32)))
_CONTINUED = "%-"  # suffix of a folder's name: the key continues without a slash


def key_to_path(key: str, *, windows: bool = os.name == "nt") -> str:
    """Return the relative path of the file that a key is downloaded to. It never leaves the folder, and keys never share a path.

    Most keys are their own path. What a file system cannot represent is escaped as ``%XX``: NUL, the slashes of ``//``, ``/lead`` and
    ``trail/``, the names ``.`` and ``..``, names that end like the library's partial downloads, and on Windows its forbidden
    characters, device names and trailing dots and blanks. A ``%`` that could be mistaken for such an escape is escaped itself. A name
    longer than 255 bytes is split into folders.

    Args:
        key: The key, or the part of it after a prefix.
        windows: Whether the path is for Windows.

    Returns:
        A relative path with ``/`` between names. :func:`path_to_key` returns the key for it.

    Raises:
        S3InvalidName: The key is empty.

    Example:
        >>> from messageflux_s3._formats.keys import key_to_path
        >>> [key_to_path(key) for key in ("a/b.txt", "../up", "/etc/passwd", "a//b", "trail/", "100%")]
        ['a/b.txt', '%2E./up', '%2Fetc/passwd', 'a/%2Fb', 'trail%2F', '100%']
    """
    if not key:
        raise S3InvalidName("key is empty; an object's key has at least one character", key=key)
    return "/".join(name for segment in _segments(key) for name in _names(segment, windows))


def file_name(key: str, *, windows: bool = os.name == "nt") -> str:
    """Return the file name for the last segment of a key: the last part of :func:`key_to_path`.

    Args:
        key: The key.
        windows: Whether the name is for Windows.

    Returns:
        A name; for one longer than 255 bytes a relative path of several.

    Raises:
        S3InvalidName: The key is empty.

    Example:
        >>> from messageflux_s3._formats.keys import file_name
        >>> [file_name(key) for key in ("a/b.txt", "a/..", "a/dir/")]
        ['b.txt', '%2E.', 'dir%2F']
    """
    if not key:
        raise S3InvalidName("key is empty; an object's key has at least one character", key=key)
    return "/".join(_names(_segments(key)[-1], windows))


def path_to_key(path: str, *, windows: bool = os.name == "nt") -> str:
    """Return the key of a file at a relative path: the inverse of :func:`key_to_path`.

    Args:
        path: Relative, with ``/`` between names.
        windows: Whether the path is from Windows.

    Returns:
        The key. A path that :func:`key_to_path` never returns (such as ``x%2Fy``) is itself the key.

    Example:
        >>> from messageflux_s3._formats.keys import path_to_key
        >>> [path_to_key(path) for path in ("a/b.txt", "%2E./up", "trail%2F")]
        ['a/b.txt', '../up', 'trail/']
    """
    key = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), path.replace(f"{_CONTINUED}/", ""))
    return key if key and key_to_path(key, windows=windows) == path else path


def _segments(key: str) -> list[str]:
    """Split a key at the slashes that separate two non-empty names. Any other slash stays in the segment after it, or in the last one."""
    segments = [""]
    for at, character in enumerate(key):
        if character == "/" and segments[-1] and at < len(key) - 1:
            segments.append("")
        else:
            segments[-1] += character
    return segments


def _names(segment: str, windows: bool) -> list[str]:
    """Return the file names of one segment: one, or several if one would be too long.

    The segment is escaped before it is split, so that the joined pieces are the escaped segment.
    """
    forbidden = _FORBIDDEN_ON_WINDOWS if windows else _FORBIDDEN
    units = [
        _escape(character)
        if character in forbidden and (character != "%" or _looks_escaped(segment, at))
        else character
        for at, character in enumerate(segment)
    ]
    whole = _named(units, windows)
    if len(_utf8(whole)) <= MAX_FILE_NAME_BYTES:
        return [whole]
    # _named may escape the first and the last character of a piece.
    piece_bytes = MAX_FILE_NAME_BYTES - len("%XX%XX") - len(_CONTINUED)
    pieces: list[list[str]] = [[]]
    used = 0
    for unit in units:
        size = len(_utf8(unit))
        if used + size > piece_bytes:
            pieces.append([])
            used = 0
        pieces[-1].append(unit)
        used += size
    return [_named(piece, windows) + _CONTINUED for piece in pieces[:-1]] + [_named(pieces[-1], windows)]


def _named(units: list[str], windows: bool) -> str:
    """Join a name, with its first or last character escaped if the file system or the library would treat the name specially."""
    name = "".join(units)
    if name in (".", "..") or (windows and _WINDOWS_DEVICE.match(name)):
        name = _escape(name[0]) + name[1:]
    if windows and name.endswith((".", " ")):
        name = name[:-1] + _escape(name[-1])
    if name.lower().endswith(
        OUR_OWN_FILES
    ):  # unescaped, it could be mistaken for the partial file or journal of another download
        name = name[:-1] + _escape(name[-1])
    return name


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _looks_escaped(name: str, at: int) -> bool:
    return _ESCAPE.match(name, at) is not None or name[at:] == _CONTINUED


def _escape(character: str) -> str:
    return f"%{ord(character):02X}"
