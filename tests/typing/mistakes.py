"""Mistakes that a caller's type checker must report. Never run: mypy and pyright check it strictly.

Each comment that ignores an error is itself an error where there is nothing to ignore, so a mistake that is no longer found is noticed.
"""
# mypy: warn-unused-ignores
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from io import StringIO
from pathlib import Path

import messageflux_s3 as s3

bucket = s3.connect("https://minio.example").bucket("scratch")
obj = bucket["k"]

# -- contents of another type

bucket.put_object("k", 42)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
bucket.put_object("k", None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
bucket.put_object("k", Path("a"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
bucket.put_object("k", {"a": 1})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
bucket.put_object("k", b"x", {"a": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
bucket.put_objects([("k", 42)])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
bucket.put_objects(["k"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
bucket.upload_object("k", 42)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
bucket.upload_object("k", [1, 2])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
bucket.upload_file(42, "k")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
bucket.download_object("k", StringIO())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
obj.put(42)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
obj.update(lambda body: 42)  # type: ignore[arg-type,return-value]  # pyright: ignore[reportArgumentType]

# -- further parameters

bucket.put_object("k", b"x", content_tpye="text/plain")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
bucket.put_object("k", b"x", ContentTpye="text/plain")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
bucket.put_object("k", b"x", content_type=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
bucket.put_object("k", b"x", ACL="public")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
bucket.put_object("k", b"x", IfMatch="etag")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
bucket.put_json("k", {}, content_tpye="text/plain")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
bucket.put_objects([], content_tpye="text/plain")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
bucket.upload_object("k", b"x", content_tpye="t/p")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
bucket.upload_file("a", "k", content_tpye="text/plain")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
bucket.upload_folder("a", "p", content_tpye="t/p")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
bucket.copy_object("a", "b", content_tpye="t/p")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
obj.put(b"x", content_tpye="text/plain")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
obj.copy_to("b", content_tpye="text/plain")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
obj.move_to("b", content_tpye="text/plain")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
wrong: s3.PutParameters = {"content_tpye": "t/p"}  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportAssignmentType]

# -- open()

obj.open("wb", content_tpye="text/plain")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
obj.open("w").write(b"x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
obj.open("wb").write("x")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]

# -- what is not there

iter(bucket)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
len(bucket.find())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def mistakes(a_bucket: s3.AsyncS3Bucket, an_obj: s3.AsyncS3Object) -> None:
    await a_bucket.put_object("k", 42)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a_bucket.put_object("k", b"x", content_tpye="t/p")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a_bucket.put_json("k", {}, content_tpye="t/p")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a_bucket.put_objects([("k", 42)])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await a_bucket.put_objects([], content_tpye="t/p")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a_bucket.upload_file("a", "k", content_tpye="t/p")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await an_obj.put(42)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await an_obj.put(b"x", content_tpye="t/p")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await an_obj.copy_to("b", content_tpye="t/p")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await an_obj.move_to("b", content_tpye="t/p")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    an_obj.size()  # type: ignore[operator]  # pyright: ignore[reportCallIssue]
