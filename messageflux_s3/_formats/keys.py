"""Keys: validation, quoting for URLs, S3 URIs, globs, and the mapping of keys to file paths.

Keys are opaque. The library never normalises one: ``a//b``, ``/lead``, ``.`` and ``a/../b`` are four ordinary keys.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import quote

from ..errors import S3InvalidName
from .bucket_names import check_bucket_name, split_path, without_secrets
from .plain import plain

MAX_KEY_BYTES = 1024
_SCHEMES = ("s3://", "mfs3://")
_NEEDS_NO_QUOTING = re.compile(r"[A-Za-z0-9\-._~/]*")


def check_key(key: str, *, bucket: str | None = None) -> str:
    """Return the key if it is valid in S3; raise S3InvalidName (or TypeError) otherwise."""
    if not isinstance(key, str):
        hint = ""
        if isinstance(getattr(key, "key", None), str):
            hint = ": pass its attribute key"
        elif isinstance(key, os.PathLike):
            hint = ": a Path has the separators of this machine, and drops // and ./ from a key; pass path.as_posix()"
        raise TypeError(f"key must be text, not {type(key).__name__}{hint}")
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
    return key if type(key) is str else plain(key)


def check_text(name: str, text: object) -> str:
    """Return text that can be a part of a key; raise TypeError or ValueError, which name the argument, otherwise."""
    if not isinstance(text, str):
        raise TypeError(f"{name} must be text, not {type(text).__name__}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} {text[:80]!r} cannot be written as UTF-8: {error.reason}") from None
    return plain(text)


def check_prefix_of_folder(prefix: str) -> None:
    """Raise S3InvalidName if the prefix looks like a URI, as the AWS CLI takes one.

    Objects below such a prefix are seldom meant: a sync would find none there, and delete every file of the folder.
    """
    if prefix.startswith(_SCHEMES):
        raise S3InvalidName(
            f"{without_secrets(prefix)!r} is a URI, not a prefix: the bucket is that of the handle, and the prefix the part of the URI "
            "after the bucket's name"
        )


def check_subscript(key: str, *, bucket: str) -> str:
    """Return the key in ``bucket[key]`` unless it looks like a URI; raise S3InvalidName if it does. :func:`check_key` checks the rest."""
    if isinstance(key, str) and key.startswith(_SCHEMES):
        raise S3InvalidName(
            f"{without_secrets(key)!r} is a URI, not a key: store.object(uri) takes a URI. "
            "If the object's key does begin in this way, use bucket.object(key)",
            bucket=bucket,
            key=key,
        )
    return key


def quote_key(key: str) -> str:
    """Quote a key for a URL's path as Signature Version 4 requires: everything but letters, digits and ``-._~/``."""
    return key if _NEEDS_NO_QUOTING.fullmatch(key) else quote(key, safe="-._~/")


def parse_uri(uri: str) -> tuple[str, str]:
    """Split ``s3://bucket/key`` into bucket and key. Nothing is unquoted: the key is everything after the first slash.

    The bucket may be the ARN of an access point, as in the AWS CLI:
    ``s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/key``.

    Raises:
        S3InvalidName: This is not an S3 URI, or its bucket or key is missing or invalid.
    """
    if not isinstance(uri, str):
        raise TypeError(f"uri must be text like 's3://bucket/key', not {type(uri).__name__}")
    scheme, _, rest = uri.partition("://")
    bucket, key = split_path(rest)
    if scheme != "s3" or not key:
        raise S3InvalidName(f"{without_secrets(uri)!r} is not of the form 's3://bucket/key'")
    return check_bucket_name(bucket), check_key(key, bucket=bucket)


def glob_to_pattern(glob: str) -> tuple[str, re.Pattern[str]]:
    """Compile a glob into a literal prefix and a pattern for the whole key.

    ``*`` and ``?`` stop at ``/``; ``**`` does not. ``**/`` matches any number of folders, also none. ``[abc]`` and ``[!abc]`` work as
    in the shell; ``[*]`` is a literal star.

    Args:
        glob: The glob; it must match the whole key.

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


def globs_to_pattern(globs: Iterable[str], prefix: str = "") -> tuple[str, re.Pattern[str]] | None:
    """Compile globs into the longest prefix to list with and a pattern for the whole key, which matches if any of the globs does.

    Args:
        globs: The globs.
        prefix: Prefix of the keys.

    Returns:
        The prefix and the pattern; None if no key with the prefix can match a glob.

    Example:
        >>> from messageflux_s3._formats.keys import globs_to_pattern
        >>> stem, pattern = globs_to_pattern(["2026/*.json", "2026/*.csv", "old/**"], "2026/")
        >>> stem, bool(pattern.fullmatch("2026/a.csv")), bool(pattern.fullmatch("2026/a.txt"))
        ('2026/', True, False)
    """
    compiled = map(glob_to_pattern, globs)
    possible = [(stem, pattern) for stem, pattern in compiled if stem.startswith(prefix) or prefix.startswith(stem)]
    if not possible:
        return None
    stems = sorted(max(stem, prefix, key=len) for stem, _ in possible)
    # A prefix that the first and the last of sorted texts share is shared by all of them.
    shared = next(
        (at for at, pair in enumerate(zip(stems[0], stems[-1], strict=False)) if len({*pair}) > 1), len(stems[0])
    )
    return stems[0][:shared], re.compile("|".join(f"(?:{pattern.pattern})" for _, pattern in possible), re.DOTALL)


# -- keys as files ------------------------------------------------------------------------------------------------------------------

MAX_FILE_NAME_BYTES = 255
OUR_OWN_FILES = (".mfs3-partial", ".mfs3-journal")
"""Suffixes of a download's partial file and of its journal. No key is mapped to a path that ends in one of them."""

_ESCAPE = re.compile(r"%([0-9A-F]{2})")
_WINDOWS_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?=[ .]|$)")
_FORBIDDEN = "\0/%"
_FORBIDDEN_ON_WINDOWS = _FORBIDDEN + '\\:*?"<>|' + "".join(map(chr, range(32)))
_CONTINUED = "%-"  # suffix of a folder's name: in the key, the next name follows without a slash


def key_to_path(key: str, *, windows: bool = os.name == "nt") -> str:
    """Return the relative path of the file that a key is downloaded to. It never leaves the folder, and no two keys have the same path.

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
        A name, or for a name longer than 255 bytes a relative path of several names.

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
    """Split a key at the slashes that separate two non-empty names. Any other slash stays in the next segment, or in the last one."""
    segments = [""]
    for at, character in enumerate(key):
        if character == "/" and segments[-1] and at < len(key) - 1:
            segments.append("")
        else:
            segments[-1] += character
    return segments


def _names(segment: str, windows: bool) -> list[str]:
    """Return the file names for one segment: a single name, or several if it would be too long.

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
    """Join the units of a name; escape the first or last one if the file system or this library would treat the name specially."""
    name = "".join(units)
    if name in (".", "..") or (windows and _WINDOWS_DEVICE.match(name)):
        name = _escape(name[0]) + name[1:]
    if windows and name.endswith((".", " ")):
        name = name[:-1] + _escape(name[-1])
    if name.lower().endswith(
        OUR_OWN_FILES
    ):  # unescaped, the name could be mistaken for the partial file or journal of another download
        name = name[:-1] + _escape(name[-1])
    return name


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _looks_escaped(name: str, at: int) -> bool:
    return _ESCAPE.match(name, at) is not None or name[at:] == _CONTINUED


def _escape(character: str) -> str:
    return f"%{ord(character):02X}"
